"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def clean(
    documents: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
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
    """Drop documents that break a rule, each counted with its reason.

    Args:
        documents: documents to clean.
        output: the documents that are kept.
        metrics: counts.
        summary: the rules and the funnel.
        config: CleanConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "clean",
        {"documents": documents},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        locals(),
    )
