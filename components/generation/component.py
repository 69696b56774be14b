"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="train-cpu")
def generation(
    model: dsl.Input[dsl.Model],
    tokens: dsl.Input[dsl.Dataset],
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
    """Sample completions of benchmark problems, and continuations of held-out code.

    Args:
        model: trained model with its tokenizer.
        tokens: token shards whose validation split gives the held-out code.
        config: GenerationConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "generation",
        {"model": model, "tokens": tokens},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        locals(),
    )
