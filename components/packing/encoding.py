"""Documents of one shard as tokens: encoded, split, repeated, and laid out."""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from components.artifacts.artifact import Artifact, Draft
from components.artifacts.canonical import sha256_hex
from components.artifacts.documents import read_documents
from components.artifacts.manifest import FileEntry
from components.artifacts.tally import Tally
from components.artifacts.tokens import SOURCE_COLUMNS, SPLITS, draft_tokens
from components.model.encoding import BatchEncoder
from components.model.text import TextCodec
from components.packing.config import PackingConfig
from components.packing.functions import extract_functions
from components.packing.infilling import Infilling
from components.packing.layout import Encoded, lay_out_blocks, lay_out_stream
from components.packing.weighting import copies_of

TRAINING, VALIDATION = SPLITS

BATCH_BYTES = 2_000_000
"""Text that is encoded at once: enough for every thread, and the ids of a batch stay small."""

SLOWLY = "texts_encoded_slowly"
"""The count of texts that Hugging Face encoded because the fast encoder was refused or failed."""

LOSSY = "lossy_tokens"
"""The reason of a document whose tokens do not spell its text: a base with a normaliser."""

FUNCTION_LANGUAGE = "Python"
"""The language that functions are taken from."""

Row = dict[str, Any]


def encode_shard(
    documents: Artifact,
    tokenizer: Artifact,
    held_out: frozenset[str],
    config: PackingConfig,
    infilling: Infilling | None,
    entry: FileEntry,
) -> tuple[list[Draft], Tally]:
    """Encode one shard of documents.

    Text that spells a special token is text. Each document is decoded again: one that does not
    come back is dropped and counted. Training documents are then repeated by stars, and joined by
    functions; validation holds each document once, as a stream.

    Args:
        documents: the corpus.
        tokenizer: the artifact with `tokenizer.json`.
        held_out: the repositories of the validation split.
        config: what is repeated and added, and how training tokens are laid out.
        infilling: how documents of the training split are rearranged; None for not at all.
        entry: the shard.
    """
    codec = TextCodec.from_artifact(tokenizer)
    table = read_documents(documents, entry, [*SOURCE_COLUMNS, "stars", "content"])
    encoder = BatchEncoder(codec, table["content"])
    tally = Tally()
    splits: dict[str, list[Encoded]] = {split: [] for split in SPLITS}
    copies: list[Encoded] = []
    functions: dict[str, Row] = {}
    for batch in _batches(table):
        texts = [row.pop("content") for row in batch]
        for row, text, whole in zip(batch, texts, encoder.encode(texts), strict=True):
            stars = row.pop("stars")
            tally.take_in(row["size"])
            split = VALIDATION if row["repo"] in held_out else TRAINING
            cut = infilling.cut(text, row["sha256"]) if infilling and split == TRAINING else None
            parts = encoder.encode(cut.parts) if cut else [whole]
            if not all(map(codec.spells, parts, cut.parts if cut else (text,))):
                tally.drop(LOSSY, row["size"])
                continue
            ids = infilling.arrange(cut, parts) if infilling and cut else whole
            encoded = Encoded.of(ids, codec.eos_id, row)
            splits[split].append(encoded)
            _count_kept(tally, split, encoded)
            if cut:
                tally.count("documents_infilled")
            if split == TRAINING:
                copies += [encoded] * (copies_of(stars, row["sha256"], config.star_weight) - 1)
                if config.function_share and row["language"] == FUNCTION_LANGUAGE:
                    _collect_functions(functions, text, row, config.function_max_lines)
    splits[TRAINING] += _count_added(tally, "repeated", copies)
    if functions:
        share = config.function_share
        wanted = int(tally.counts[f"tokens_{TRAINING}"] * share / (1 - share))
        chosen = _encode_functions(encoder, functions, wanted, tally)
        chosen = repeat_up_to(chosen, wanted, config.function_max_copies)
        splits[TRAINING] += _count_added(tally, "functions", chosen)
    if encoder.num_slow:
        tally.count(SLOWLY, encoder.num_slow)
    index = {
        "eos_id": codec.eos_id,
        "tokenizer_digest": tokenizer.manifest.digest,
        "vocabulary_size": codec.vocabulary_size,
    }
    return _drafts(splits, index, config, tally), tally


def _count_kept(tally: Tally, split: str, encoded: Encoded) -> None:
    source = encoded.source
    tally.keep(source["size"], source["license"], source["language"])
    tally.count(f"documents_{split}")
    tally.count(f"bytes_{split}", source["size"])
    tally.count(f"tokens_{split}", len(encoded.ids))


def _collect_functions(functions: dict[str, Row], text: str, row: Row, max_lines: int) -> None:
    """Add a document's functions by the sha256 of their text: equal ones are one."""
    for name, function in extract_functions(text, max_lines):
        data = function.encode()
        sha256 = sha256_hex(data)
        source = {
            **row,
            "path": f"{row['path']}::{name}",
            "sha256": sha256,
            "size": len(data),
            "text": function,
        }
        functions.setdefault(sha256, source)


def _encode_functions(
    encoder: BatchEncoder, functions: dict[str, Row], wanted: int, tally: Tally
) -> list[Encoded]:
    """Functions in the order of their hashes, until there are `wanted` tokens of them."""
    tally.count("functions_found", len(functions))
    chosen: list[Encoded] = []
    tokens = 0
    ordered = [functions[sha256] for sha256 in sorted(functions)]
    table = pa.table({"number": range(len(ordered)), "size": [row["size"] for row in ordered]})
    for batch in _batches(table):
        if tokens >= wanted:
            break
        rows = [ordered[one["number"]] for one in batch]
        texts = [row.pop("text") for row in rows]
        for row, text, ids in zip(rows, texts, encoder.encode(texts), strict=True):
            if tokens >= wanted:
                break
            if not encoder.codec.spells(ids, text):
                tally.count("functions_lossy")
                continue
            chosen.append(Encoded.of(ids, encoder.codec.eos_id, row))
            tokens += len(chosen[-1].ids)
    return chosen


def repeat_up_to(chosen: Sequence[Encoded], wanted: int, max_copies: int) -> list[Encoded]:
    """Documents round after round, until there are `wanted` tokens or `max_copies` rounds."""
    taken: list[Encoded] = []
    tokens = 0
    for encoded in chain.from_iterable(repeat(chosen, max_copies)):
        if tokens >= wanted:
            break
        taken.append(encoded)
        tokens += len(encoded.ids)
    return taken


def _count_added(tally: Tally, name: str, added: Sequence[Encoded]) -> Sequence[Encoded]:
    """Count training documents that stand beside the corpus's own."""
    if added:
        tokens = sum(len(encoded.ids) for encoded in added)
        tally.count(f"documents_{name}", len(added))
        tally.count(f"bytes_{name}", sum(encoded.source["size"] for encoded in added))
        tally.count(f"tokens_{name}", tokens)
        tally.count(f"tokens_{TRAINING}", tokens)
    return added


def _drafts(
    splits: dict[str, list[Encoded]], index: dict[str, Any], config: PackingConfig, tally: Tally
) -> list[Draft]:
    """The files of the splits that have documents in this shard."""
    drafts: list[Draft] = []
    for split, encoded in splits.items():
        if not encoded:
            continue
        sources = [one.source for one in encoded]
        if split == TRAINING and config.packing == "best_fit":
            ids, blocks = lay_out_blocks(encoded, config.block_length, index["eos_id"])
            padding = len(ids) - int(blocks.lengths.sum())
            tally.count("tokens_padding", padding)
            tally.count(f"tokens_{split}", padding)
            tally.count("documents_cut", len({*blocks.documents[blocks.starts > 0].tolist()}))
            drafts += draft_tokens(split, ids, blocks, sources, index)
        else:
            stream, offsets = lay_out_stream(encoded)
            drafts += draft_tokens(split, stream, offsets, sources, index)
    return drafts


def _batches(table: pa.Table) -> Iterator[list[Row]]:
    """Rows in order, about BATCH_BYTES of text at a time."""
    start, size = 0, 0
    for end, document_size in enumerate(table["size"].to_pylist(), start=1):
        size += document_size
        if size >= BATCH_BYTES or end == table.num_rows:
            yield table.slice(start, end - start).to_pylist()
            start, size = end, 0
