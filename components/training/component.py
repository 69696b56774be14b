"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="train-cpu")
def training(
    tokens: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
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
    """Train a GPT-Neo on token shards and measure it on held-out documents.

    Args:
        tokens: token shards to learn from.
        tokenizer: the tokenizer that the shards were packed with.
        page: the loss curve and the results.
        config: TrainingConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "training",
        {"tokens": tokens, "tokenizer": tokenizer},
        {"output": output, "metrics": metrics, "summary": summary, "page": page},
        config,
        locals(),
    )
