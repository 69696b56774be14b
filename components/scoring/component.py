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
):
    """Score verdicts: pass@k with bootstrap intervals, verdict classes, lines that parse.

    Args:
        samples: samples that the verdicts are of.
        verdicts: verdicts of the sandbox, with its self-check.
        decontamination: documents whose part on problems says which ones the corpus held.
        config: ScoringConfig as JSON.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed or spark.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "scoring",
        {"samples": samples, "verdicts": verdicts, "decontamination": decontamination},
        {"output": output, "metrics": metrics, "summary": summary, "page": page},
        config,
        {"data_root": data_root, "workers": workers, "threads": threads, "engine": engine},
    )
