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
) -> None:
    """Train a byte-level BPE on the documents, or extend a given vocabulary.

    Args:
        documents: documents to learn from.
        output: the tokenizer's files.
        metrics: vocabulary size and bytes per token.
        summary: fertility by language.
        config: TokenizerConfig as JSON.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed or spark.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "tokenizer",
        {"documents": documents},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        {"data_root": data_root, "workers": workers, "threads": threads, "engine": engine},
    )
