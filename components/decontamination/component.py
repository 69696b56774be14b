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
):
    """Drop documents that hold a benchmark's problems, and say where.

    Args:
        documents: documents to look through.
        output: the documents that are kept, and the spans found.
        metrics: counts.
        summary: the funnel.
        config: DecontaminationConfig as JSON.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed or spark.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "decontamination",
        {"documents": documents},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        {"data_root": data_root, "workers": workers, "threads": threads, "engine": engine},
    )
