"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def decontamination(
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
    """Drop documents that hold a benchmark's problems, and say where.

    Args:
        documents: documents to look through.
        output: the documents that are kept, and the spans found.
        metrics: counts.
        summary: the funnel.
        config: DecontaminationConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "decontamination",
        {"documents": documents},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        locals(),
    )
