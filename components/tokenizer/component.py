"""The Kubeflow component of this step."""

from kfp import dsl

from components.stage.kubeflow import step_component


@step_component(image="data")
def tokenizer(
    documents: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Artifact],
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
    """Train a byte-level BPE on the documents, or extend a given vocabulary.

    Args:
        documents: documents to learn from.
        output: the tokenizer's files.
        metrics: vocabulary size and bytes per token.
        summary: fertility by language.
        config: TokenizerConfig as JSON.
        data_root: and what follows: where and how fast, see Execution.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "tokenizer",
        {"documents": documents},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        locals(),
    )
