"""The packing step: measure repositories, hold some out, encode every shard."""

import os
from collections.abc import Mapping
from functools import partial

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.artifacts.tokens import MAX_VOCABULARY, SPLITS
from components.model.encoding import BatchEncoder
from components.model.text import FIM_TOKENS, TextCodec
from components.packing.config import PackingConfig
from components.packing.encoding import SLOWLY, encode_shard
from components.packing.holdout import Holdout, add_up, hold_out
from components.packing.infilling import Infilling
from components.stage.engine import Engine, map_shards
from components.stage.step import Report

ADDED = ("repeated", "functions")
"""Training documents beside the corpus's own, as the counts name them."""

MAX_LISTED = 20
"""Held-out repositories that the summary names."""


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: PackingConfig, engine: Engine
) -> Report:
    """Pack documents as tokens."""
    documents, tokenizer = inputs["documents"], inputs["tokenizer"]
    codec = TextCodec.from_artifact(tokenizer)
    _check_vocabulary(codec, tokenizer)
    infilling = Infilling.of(config, codec)
    entries = documents.part(DOCUMENTS)
    sizes = add_up(engine.map(partial(_repository_sizes, documents), entries, "measuring"))
    if not sizes:
        raise ArtifactError(
            f"expected documents to pack, got none in {documents.storage.uri}: "
            "look at the summary of the step before for what it dropped"
        )
    holdout = hold_out(sizes, config)
    _share_cores(min(engine.workers, len(entries)))
    held_out = frozenset(holdout.repositories)
    work = partial(encode_shard, documents, tokenizer, held_out, config, infilling)
    BatchEncoder(codec)  # a refusal is logged here: a worker's log goes to no file
    tally = map_shards(engine, output, work, entries, "packing")
    _check_splits(tally, tokenizer)
    return Report(tally=tally, measures=_measure(tally), markdown=_describe(tally, holdout, config))


def _share_cores(num_processes: int) -> None:
    """Use either several processes or the encoder's threads; both at once cost a quarter."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if num_processes > 1 else "true")
    if num_processes > 1:
        os.environ.setdefault("RAYON_NUM_THREADS", "1")  # of the fast encoder, in the workers


def _check_vocabulary(codec: TextCodec, tokenizer: Artifact) -> None:
    size = codec.vocabulary_size
    if size > MAX_VOCABULARY:
        raise ConfigError(
            f"expected a vocabulary of at most {MAX_VOCABULARY:,} for 16-bit tokens, got {size:,} "
            f"in {tokenizer.storage.uri}: extend a smaller base, or train one with method 'bpe'"
        )


def _repository_sizes(documents: Artifact, entry: FileEntry) -> dict[str, int]:
    table = read_documents(documents, entry, ["repo", "size"])
    pairs = zip(table["repo"].to_pylist(), table["size"].to_pylist(), strict=True)
    return add_up({repo: size} for repo, size in pairs)


def _check_splits(tally: Tally, tokenizer: Artifact) -> None:
    for split in SPLITS:
        if not tally.counts.get(f"tokens_{split}"):
            raise ArtifactError(
                f"expected tokens for {split}, got none: all of its documents were dropped "
                f"({dict(tally.drops)}) with the tokenizer in {tokenizer.storage.uri}; "
                "give one without a normaliser"
            )


def _measure(tally: Tally) -> dict[str, float]:
    """`bytes_per_token` counts no special token, so that it compares with the tokenizer's own."""
    counts = tally.counts
    kinds = (*SPLITS, *ADDED)
    size = sum(counts.get(f"bytes_{kind}", 0) for kind in kinds)
    documents = sum(counts.get(f"documents_{kind}", 0) for kind in kinds)
    tokens = sum(counts[f"tokens_{split}"] for split in SPLITS) - counts.get("tokens_padding", 0)
    tokens -= len(FIM_TOKENS) * counts.get("documents_infilled", 0)
    added = {
        f"tokens_{kind}": float(counts[f"tokens_{kind}"])
        for kind in (*ADDED, "padding")
        if f"tokens_{kind}" in counts
    }
    return {
        "tokens_training": counts["tokens_training"],
        "tokens_validation": counts["tokens_validation"],
        "bytes_per_token": size / max(tokens - documents, 1),
        "fast_encoder": float(counts.get(SLOWLY, 0) < counts["files"]),
        **added,
    }


def _describe(tally: Tally, holdout: Holdout, config: PackingConfig) -> str:
    """The splits as a table, and who is held out."""
    repositories = (holdout.training_repositories, len(holdout.repositories))
    lines = ["| split | repositories | documents | MB | tokens |", "|---|---|---|---|---|"]
    lines += [
        f"| {split} | {num_repositories:,} | {tally.counts[f'documents_{split}']:,} "
        f"| {tally.counts[f'bytes_{split}'] / 1e6:.2f} | {tally.counts[f'tokens_{split}']:,} |"
        for split, num_repositories in zip(SPLITS, repositories, strict=True)
    ]
    lines += _describe_added(tally, config)
    names = [f"{repo} ({size / 1e6:.2f} MB)" for repo, size in holdout.repositories.items()]
    more = f", and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    lines += ["", f"Held out: {', '.join(names[:MAX_LISTED])}{more}."]
    infilled = tally.counts.get("documents_infilled", 0)
    if infilled:
        lines += ["", f"Rearranged for fill-in-the-middle: {infilled:,} training documents."]
    slowly = tally.counts.get(SLOWLY, 0)
    if slowly:
        lines += ["", f"{slowly:,} texts were encoded by Hugging Face: the log says why."]
    absent = sorted({*config.always_validation} - holdout.repositories.keys())
    if absent:
        lines += ["", f"Not in the corpus, and so not held out: {', '.join(absent)}."]
    return "\n".join(lines)


def _describe_added(tally: Tally, config: PackingConfig) -> list[str]:
    """What stands among the training tokens beside the corpus's documents; nothing by default."""
    counts = tally.counts
    lines = []
    for kind, what in zip(ADDED, ("repeated by stars", "short functions"), strict=True):
        if f"tokens_{kind}" in counts:
            share = counts[f"tokens_{kind}"] / counts["tokens_training"]
            number = counts[f"documents_{kind}"]
            lines.append(f"{number:,} documents {what}: {share:.1%} of the training tokens.")
    if config.packing == "best_fit":
        share = counts["tokens_padding"] / counts["tokens_training"]
        lines.append(
            f"Blocks of {config.block_length} tokens by best fit: {share:.2%} padding, "
            f"{counts['documents_cut']:,} documents longer than a block cut."
        )
    return ["", *lines] if lines else []
