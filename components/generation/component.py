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
):
    """Sample completions of benchmark problems, and continuations of held-out code.

    Args:
        model: trained model with its tokenizer.
        tokens: token shards whose validation split gives the held-out code.
        config: GenerationConfig as JSON.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed or spark.
    """
    from components.stage.kubeflow import run_component

    run_component(
        "generation",
        {"model": model, "tokens": tokens},
        {"output": output, "metrics": metrics, "summary": summary},
        config,
        {"data_root": data_root, "workers": workers, "threads": threads, "engine": engine},
    )
