"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def packing(
    documents: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
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
) -> None:
    """Encode documents as token shards, and hold out whole repositories.

    Args:
        documents: documents to pack.
        tokenizer: the tokenizer to encode with.
        output: token shards, training and validation.
        metrics: tokens and bytes per token.
        summary: the splits.
        config: PackingConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    inputs = {"documents": documents, "tokenizer": tokenizer}
    outputs = {"output": output, "metrics": metrics, "summary": summary}
    execution = locals()
    run_component("packing", inputs, outputs, config, execution)
