"""The whole graph: corpus, then pretraining, then publishing. There is no second definition of it.

A recipe fills every parameter when the graph is compiled, so a run starts by pressing Start.
"""

from kfp import dsl

from components.publishing.component import publishing
from components.stage.kubeflow import execution_arguments
from pipelines.corpus import corpus
from pipelines.pretraining import pretraining

CORPUS = ("crawl", "clean", "dedup", "decontamination", "tokenizer", "tokens")
PRETRAINED = ("model", "samples", "verdicts", "scores")
"""What the two halves of the graph hand to publishing, by the names of its inputs."""


@dsl.pipeline(
    name="codekiln",
    description="Public source code in, a trained and measured code language model out",
)
def full(
    crawl_config: dict,
    clean_config: dict,
    dedup_config: dict,
    decontamination_config: dict,
    tokenizer_config: dict,
    packing_config: dict,
    training_config: dict,
    generation_config: dict,
    sandbox_config: dict,
    scoring_config: dict,
    publishing_config: dict,
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
    """Public source code in, a trained and measured code language model out.

    Args:
        crawl_config: what is crawled.
        clean_config: which rules drop a file.
        dedup_config: what counts as a duplicate.
        decontamination_config: which benchmarks must not be in the corpus.
        tokenizer_config: the vocabulary.
        packing_config: which repositories are held out.
        training_config: model, optimizer and schedule.
        generation_config: which problems, how many samples, at which temperature.
        sandbox_config: limits of a program.
        scoring_config: k, intervals.
        publishing_config: the model's name, allowed licences.
        data_root: where artifacts live.
        workers: processes at once, 0 for every core.
        threads: threads of a step that computes in one process, 0 for every core.
        engine: who does the work: local, indexed, cluster or spark.
        accelerator: gpu-l4, gpu-h100, gpu-h200, tpu-v5e or tpu-v6e for training; empty: CPUs.
        accelerators: GPUs or TPU chips of training in all, 0 for one machine's.
        queue: Kueue's LocalQueue that launched Jobs wait in; empty for none.
        spot: whether launched pods run on Spot machines.
        max_hours: hours after which Kubernetes ends what was launched.
        node_selector: nodes of launched pods: label=value,label=value.
        tolerations: taints that launched pods put up with: key=value:Effect,key:Effect.
    """
    where = execution_arguments(locals())

    data = corpus(
        crawl_config=crawl_config,
        clean_config=clean_config,
        dedup_config=dedup_config,
        decontamination_config=decontamination_config,
        tokenizer_config=tokenizer_config,
        packing_config=packing_config,
        **where,
    )
    trained = pretraining(
        tokens=data.outputs["tokens"],
        tokenizer=data.outputs["tokenizer"],
        decontamination=data.outputs["decontamination"],
        training_config=training_config,
        generation_config=generation_config,
        sandbox_config=sandbox_config,
        scoring_config=scoring_config,
        **where,
    )
    # Step 11: the model folder with its cards, and the report.
    published = publishing(
        **{name: data.outputs[name] for name in CORPUS},
        **{name: trained.outputs[name] for name in PRETRAINED},
        config=publishing_config,
        **where,
    )
    published.set_caching_options(False)
