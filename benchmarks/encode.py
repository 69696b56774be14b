"""Encoding a corpus: fastokens as codekiln uses it, against Hugging Face tokenizers.

The recipe's own tokenizer (32,768 tokens, trained here on a part of the corpus) encodes other
files. Each side runs in a process of its own for each round, so that no cache is warm, with two
threads, and only the call is measured: the first row of a side ends in what it returns, the second
in the uint16 arrays that packing writes. Last line: one JSON object.

`encode_ratio_hf` is CPU seconds of `encode_batch` over those of codekiln, ids in both cases what
each returns.
"""

import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import SourceFile, draw, megabytes, read_corpus
from benchmarks.measuring import measure, peak_rss_mb, print_result, print_table

SEED = 0
TRAINING_MB, NUM_FILES, NUM_ROUNDS, NUM_THREADS = 40.0, 1_500, 3, 2
SIDES = ("codekiln", "encode_batch", "encode_batch_fast")
BATCH_BYTES = 2_000_000
"""Text at once, as in packing; no side was faster with all files in one batch."""


def main() -> None:
    """Train, measure every side in turn, compare and print."""
    training, others = _split(read_corpus())
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder), training, others)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(NUM_ROUNDS):
            for side in SIDES:
                runs[side].append(_run(side, folder))
        ids = {side: pickle.loads((Path(folder) / side).read_bytes()) for side in SIDES}
    size = megabytes(others)
    print(
        f"seed {SEED}: trained on {megabytes(training):.1f} MB, encodes {len(others):,} other "
        f"files, {size:.1f} MB; {NUM_THREADS} threads, medians of {NUM_ROUNDS} rounds"
    )
    _print_rows(runs, size)
    equal = sum(
        all(np.array_equal(ids["codekiln"][place], ids[side][place]) for side in SIDES)
        for place in range(len(others))
    )
    ours = runs["codekiln"]
    refusal = ours[0]["refusal"]
    print(
        f"equal ids: {equal:,} of {len(others):,} files; refused: {refusal or 'no'}; "
        f"codekiln's fixed cost a process, loading and probing: {_median(ours, 'fixed_s'):.2f} "
        f"CPU s; its control that tokens spell the text: {_median(ours, 'control_s'):.2f} CPU s"
    )
    print_result(
        {
            "encode_ratio_hf": _ratio(runs, "encode_batch", "returned", "cpu_s"),
            "encode_ratio_hf_wall": _ratio(runs, "encode_batch", "returned", "wall_s"),
            "encode_ratio_hf_fast": _ratio(runs, "encode_batch_fast", "returned", "cpu_s"),
            "encode_ratio_hf_arrays": _ratio(runs, "encode_batch", "arrays", "cpu_s"),
            "mb_per_cpu_s": round(size / _median(ours, "returned_cpu_s"), 1),
            "files_equal": equal,
            "files": len(others),
            "fast_encoder": int(not refusal),
            "peak_rss_mb": round(peak_rss_mb()),
        }
    )


def _split(files: Sequence[SourceFile]) -> tuple[list[SourceFile], list[SourceFile]]:
    """Files to learn from, and files to encode, which share none."""
    chosen = draw(files, len(files), SEED)
    order = np.random.default_rng(SEED).permutation(len(chosen))
    ends = np.cumsum([len(chosen[place].content) for place in order])
    count = int(np.searchsorted(ends, TRAINING_MB * 1e6)) + 1
    learnt, rest = order[:count], order[count : count + NUM_FILES]
    return [chosen[place] for place in learnt], [chosen[place] for place in rest]


def _prepare(folder: Path, training: Sequence[SourceFile], others: Sequence[SourceFile]) -> None:
    from components.tokenizer.bpe import train_bpe
    from components.tokenizer.config import TokenizerConfig

    trained = train_bpe([file.content.decode() for file in training], TokenizerConfig())
    (folder / "tokenizer.json").write_text(trained.to_str())
    (folder / "texts").write_bytes(pickle.dumps([file.content.decode() for file in others]))


def _run(side: str, folder: str) -> dict[str, Any]:
    threads = {"RAYON_NUM_THREADS": str(NUM_THREADS), "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.encode", side, folder],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _print_rows(runs: dict[str, list[dict[str, Any]]], size: float) -> None:
    rows = []
    for side in SIDES:
        for what in ("returned", "arrays"):
            cpu_s, wall_s = (
                _median(runs[side], f"{what}_{clock}") for clock in ("cpu_s", "wall_s")
            )
            ratio = _ratio(runs, "encode_batch", what, "cpu_s", side)
            rows.append([side, what, cpu_s, wall_s, size / cpu_s, size / wall_s, ratio])
    print_table(
        ["side", "ends in", "CPU s", "wall s", "MB/CPU s", "MB/s wall", "x encode_batch"], rows
    )


def _median(seen: Sequence[dict[str, Any]], name: str) -> float:
    return float(statistics.median(run[name] for run in seen))


def _ratio(
    runs: dict[str, list[dict[str, Any]]], peer: str, what: str, clock: str, side: str = "codekiln"
) -> float:
    name = f"{what}_{clock}"
    return round(_median(runs[peer], name) / _median(runs[side], name), 2)


def measure_side(side: str, folder: Path) -> None:
    """One round of one side in this process: encode twice from a cold start, print, store ids.

    Each call gets a tokenizer of its own: what one learnt from the texts is no help to the next.
    """
    texts: list[str] = pickle.loads((folder / "texts").read_bytes())
    batches = list(_batches(texts))
    data = (folder / "tokenizer.json").read_bytes()
    result: dict[str, Any] = {}
    arrays: list[Any] = []
    for what in ("returned", "arrays"):
        encode = _encoder(side, data, texts, result)

        def work(encode: Callable[[list[str]], Any] = encode, what: str = what) -> None:
            for batch in batches:
                found = encode(batch)
                if what == "arrays":
                    arrays.extend(_as_array(side, ids) for ids in found)

        cost = measure(work)
        result |= {f"{what}_cpu_s": cost.cpu_s, f"{what}_wall_s": cost.wall_s}
    if side == "codekiln":
        from components.model.text import TextCodec

        codec = TextCodec.from_bytes(data)
        control = measure(lambda: [*map(codec.spells, arrays, texts)])
        result["control_s"] = control.cpu_s
    (folder / side).write_bytes(pickle.dumps(arrays))
    print(json.dumps(result))


def _encoder(
    side: str, data: bytes, texts: list[str], result: dict[str, Any]
) -> Callable[[list[str]], Any]:
    from components.model import encoding
    from components.model.text import TextCodec

    codec = TextCodec.from_bytes(data)
    if side != "codekiln":
        encode = getattr(codec.tokenizer, side)
        return lambda batch: encode(batch, add_special_tokens=False)
    encoding._load.cache_clear()
    made: list[encoding.BatchEncoder] = []
    cost = measure(lambda: made.append(encoding.BatchEncoder(codec, texts)))
    result |= {"fixed_s": cost.cpu_s, "refusal": made[0].refusal}
    return made[0].encode


def _as_array(side: str, ids: Any) -> Any:
    return np.array(ids if side == "codekiln" else ids.ids, np.uint16)


def _batches(texts: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for text in texts:
        batches[-1].append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            batches.append([])
            size = 0
    return [batch for batch in batches if batch]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure_side(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
