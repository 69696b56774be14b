"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def sandbox(
    samples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    config: dict,
    data_root: str,
    workers: int,
    threads: int,
    engine: str,
):
    """Run every sample against its problem's tests and give it a verdict.

    Args:
        samples: samples to run.
        config: SandboxConfig as JSON.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed or spark.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "sandbox",
        {"samples": samples},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        {"data_root": data_root, "workers": workers, "threads": threads, "engine": engine},
    )
