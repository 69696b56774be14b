"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def scoring(
    samples: dsl.Input[dsl.Dataset],
    verdicts: dsl.Input[dsl.Dataset],
    decontamination: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    config: dict,
    data_root: str,
    workers: int,
    threads: int,
    engine: str,
    accelerator: str,
    accelerators: int,
    queue: str,
    spot: bool,
    max_hours: float,
    node_selector: str,
    tolerations: str,
):
    """Score verdicts: pass@k with bootstrap intervals, verdict classes, lines that parse.

    Args:
        samples: samples that the verdicts are of.
        verdicts: verdicts of the sandbox, with its self-check.
        decontamination: documents whose part on problems says which ones the corpus held.
        config: ScoringConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "scoring",
        {"samples": samples, "verdicts": verdicts, "decontamination": decontamination},
        {"output": output, "metrics": metrics, "summary": summary, "page": page},
        config,
        locals(),
    )
