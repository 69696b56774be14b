"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def publishing(
    crawl: dsl.Input[dsl.Dataset],
    clean: dsl.Input[dsl.Dataset],
    dedup: dsl.Input[dsl.Dataset],
    decontamination: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    tokens: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    samples: dsl.Input[dsl.Dataset],
    verdicts: dsl.Input[dsl.Dataset],
    scores: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Model],
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
    """Make the model folder with its cards and provenance, and the report."""
    from components.stage.kubeflow import run_component

    names = "crawl clean dedup decontamination tokenizer tokens model samples verdicts scores"
    given = locals()
    run_component(
        "publishing",
        {name: given[name] for name in names.split()},
        {"output": output, "metrics": metrics, "summary": summary, "page": page},
        config,
        locals(),
    )
