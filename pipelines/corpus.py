"""The corpus: from public source code to token shards. Read it from top to bottom."""

from typing import NamedTuple

from kfp import dsl, kubernetes

from components.clean.component import clean
from components.crawl.component import crawl
from components.crawl.tokens import TOKENS_VARIABLE
from components.decontamination.component import decontamination
from components.dedup.component import dedup
from components.packing.component import packing
from components.stage.kubeflow import execution_arguments
from components.tokenizer.component import tokenizer

TOKENS_SECRET = "codekiln-github"
TOKENS_KEYS = {"token": TOKENS_VARIABLE}
"""The Secret of GitHub's tokens in the run's namespace, and which key becomes which variable."""


class Corpus(NamedTuple):
    """The artifacts of the corpus, by step."""

    crawl: dsl.Dataset
    clean: dsl.Dataset
    dedup: dsl.Dataset
    decontamination: dsl.Dataset
    tokenizer: dsl.Artifact
    tokens: dsl.Dataset


@dsl.pipeline(name="corpus", description="From public source code to token shards")
def corpus(
    crawl_config: dict,
    clean_config: dict,
    dedup_config: dict,
    decontamination_config: dict,
    tokenizer_config: dict,
    packing_config: dict,
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
) -> Corpus:
    """From public source code to token shards."""
    where = execution_arguments(locals())

    # Step 1: source files with provenance. A network's tokens come from a Secret, if there is one.
    crawled = crawl(config=crawl_config, **where)
    kubernetes.use_secret_as_env(crawled, TOKENS_SECRET, TOKENS_KEYS, optional=True)
    # Step 2: rules drop what does not read like code that a person wrote.
    cleaned = clean(documents=crawled.outputs["output"], config=clean_config, **where)
    # Step 3: of equal and nearly equal files the best copy stays.
    deduped = dedup(documents=cleaned.outputs["output"], config=dedup_config, **where)
    # Step 4: files that hold a benchmark's problems go.
    unseen = decontamination(
        documents=deduped.outputs["output"], config=decontamination_config, **where
    )
    # Step 5: a vocabulary of this corpus.
    vocabulary = tokenizer(documents=unseen.outputs["output"], config=tokenizer_config, **where)
    # Step 6: ids in shards, whole repositories held out for validation.
    packed = packing(
        documents=unseen.outputs["output"],
        tokenizer=vocabulary.outputs["output"],
        config=packing_config,
        **where,
    )
    for task in (crawled, cleaned, deduped, unseen, vocabulary, packed):
        task.set_caching_options(False)  # keys do the work; Kubeflow's cache does not see the code
    return Corpus(
        crawl=crawled.outputs["output"],
        clean=cleaned.outputs["output"],
        dedup=deduped.outputs["output"],
        decontamination=unseen.outputs["output"],
        tokenizer=vocabulary.outputs["output"],
        tokens=packed.outputs["output"],
    )
