"""One million synthetic documents through the join of dedup: time, and memory of its process.

`python -m benchmarks.clusters` draws n-gram sets by seed (a tenth are near copies of an earlier
one), spills them as the step does, and joins them in a child process: its peak is the join's own.
The child counts pages of the spills that are mapped, which the system could take back at any time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measuring import measure, peak_rss_mb, print_result, print_table
from components.dedup.bands import band_keys
from components.dedup.clusters import Join
from components.dedup.config import DedupConfig
from components.dedup.shingles import GramSets, Hashes
from components.dedup.signatures import sign
from components.dedup.spill import (
    HASHES,
    KEYS,
    OFFSETS,
    Spill,
    SpilledSets,
    spilled_bands,
)

HASHES_OF_A_SET = (60, 140)
"""About 100, what a file of 1.5 kB has."""

COPY_SHARE = 0.1
COPY_CHANGES = 0.11
"""Of a copy's hashes, drawn anew: 0.89 / (2 - 0.89) = 0.8 is the Jaccard similarity."""

SHARD_DOCUMENTS = 50_000
MAX_RSS_MB = 3000


def draw_sets(count: int, seed: int) -> Iterator[tuple[GramSets, int]]:
    """Shards of sets, and how many of each are copies. Originals lie in the same shard."""
    draw = np.random.default_rng(seed)
    for start in range(0, count, SHARD_DOCUMENTS):
        size = min(SHARD_DOCUMENTS, count - start)
        sizes = draw.integers(*HASHES_OF_A_SET, size)
        is_copy = (draw.random(size) < COPY_SHARE) & (np.arange(size) > 0)
        copies = np.flatnonzero(is_copy)
        originals = _originals(draw, is_copy, copies)
        sizes[copies] = sizes[originals]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        hashes = draw.integers(1, 2**64, offsets[-1], dtype=np.uint64)
        for copy, original in zip(copies.tolist(), originals.tolist(), strict=True):
            changed = hashes[offsets[original] : offsets[original + 1]].copy()
            places = draw.random(len(changed)) < COPY_CHANGES
            changed[places] = draw.integers(1, 2**64, int(places.sum()), dtype=np.uint64)
            hashes[offsets[copy] : offsets[copy + 1]] = changed
        yield GramSets(offsets, hashes), len(copies)


def _originals(draw: np.random.Generator, is_copy: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """For each copy an earlier document that is none."""
    fresh = np.flatnonzero(~is_copy)
    before = np.searchsorted(fresh, copies)
    return fresh[(draw.random(len(copies)) * before).astype(np.int64)]


def write_spill(sets: GramSets, config: DedupConfig, folder: Path) -> None:
    """The files of `spill_shard`, without the documents."""
    folder.mkdir()
    keys: Hashes = band_keys(
        sign(sets, config.num_permutations, config.seed), config.bands, config.rows
    )
    sets.hashes.tofile(folder / HASHES)
    np.save(folder / OFFSETS, sets.offsets)
    np.save(folder / KEYS, keys)


def join_spills(folder: Path, count: int) -> dict[str, float]:
    """Join all spills of a folder; what it found and what it cost this process."""
    config = DedupConfig()
    spills = [Spill(path) for path in sorted(folder.iterdir())]
    ranks = np.split(np.arange(count), range(SHARD_DOCUMENTS, count, SHARD_DOCUMENTS))
    join = Join(SpilledSets(spills, ranks, count), config.threshold, config.max_comparisons)
    cost = measure(lambda: join.join_bands(spilled_bands(spills, ranks, config.bands)))
    roots = join.forest.roots()
    return {
        "removed": int(np.count_nonzero(roots != np.arange(count))),
        "pairs_compared": join.num_compared,
        "cpu_s": cost.cpu_s,
        "wall_s": cost.wall_s,
        "peak_rss_mb": peak_rss_mb(),
    }


def main() -> None:
    """Draw, spill, and join in a child; `--documents` and `--seed`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--join", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.join:
        print(json.dumps(join_spills(arguments.join, arguments.documents)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, copies = Path(name), 0
        for number, (sets, planted) in enumerate(draw_sets(arguments.documents, arguments.seed)):
            write_spill(sets, DedupConfig(), folder / f"{number:05d}")
            copies += planted
        spilled = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        command = [sys.executable, "-m", "benchmarks.clusters", "--join", name]
        command += ["--documents", str(arguments.documents)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    rows = [("documents", float(arguments.documents)), ("planted copies", float(copies))]
    rows += [("spilled MB", spilled / 1e6), *((key, float(found[key])) for key in found)]
    print_table([f"join of seed {arguments.seed}", "value"], rows)
    print_result(
        {
            "clusters_documents": arguments.documents,
            "clusters_planted": copies,
            "clusters_removed": found["removed"],
            "clusters_cpu_s": round(found["cpu_s"], 2),
            "clusters_peak_rss_mb": round(found["peak_rss_mb"], 1),
        }
    )
    if found["peak_rss_mb"] >= MAX_RSS_MB:
        sys.exit(f"expected a peak below {MAX_RSS_MB} MB, got {found['peak_rss_mb']:.0f}")


if __name__ == "__main__":
    main()
