"""Near-dedup against datasketch and rensa: signatures, clustering, recall, the whole command.

`python -m benchmarks.dedup` takes the real code of `benchmarks.corpus` (at least 300 MB here).
Peers get the same word 5-grams as sets of strings; that they have to be made in Python is part of
what using them costs, and their time without it stands beside.
"""

import argparse
import itertools
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash

from benchmarks.corpus import SourceFile, draw, megabytes, read_corpus, read_folders
from benchmarks.dedup_command import run_command
from benchmarks.documents import write_documents
from benchmarks.measuring import measure_in_turn, peak_rss_mb, print_result, print_table
from components.artifacts.artifact import Artifact
from components.artifacts.rows import read_rows
from components.dedup.bands import band_keys, buckets_of
from components.dedup.clusters import Forest, Join
from components.dedup.config import DedupConfig
from components.dedup.shingles import GramSets, Texts, gram_sets, hash_slabs
from components.dedup.signatures import Signatures, sign
from components.dedup.verification import HeldSets, jaccard

NUM_PERMUTATIONS = 256
"""For signatures side by side; the step's own default is 42 x 6 = 252."""

WORD = re.compile(r"[A-Za-z0-9_]+")


def sign_all(texts: Texts, num_permutations: int) -> Signatures:
    """Bytes to signatures of all documents, slab by slab as the step does it."""
    config = DedupConfig()
    documents = np.arange(len(texts.offsets) - 1)
    slabs = hash_slabs(texts, documents, config.ngram_words, config.splitter)
    return np.concatenate([sign(sets, num_permutations, config.seed) for sets in slabs])


def gram_strings(content: str) -> set[str]:
    """Word 5-grams as peers take them."""
    words = WORD.findall(content)
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)}


def sign_datasketch(contents: Sequence[str], num_permutations: int) -> list[MinHash]:
    """Peer datasketch 2 at its defaults: affine32 over sha1."""
    signed = []
    for content in contents:
        minhash = MinHash(num_perm=num_permutations)
        minhash.update_batch([gram.encode() for gram in gram_strings(content)])
        signed.append(minhash)
    return signed


def sign_rensa(contents: Sequence[str], num_permutations: int) -> list[Any]:
    """Peer rensa's R-MinHash, at its fastest call over Python tokens."""
    if hasattr(RMinHash, "digest_matrix_from_token_sets"):
        tokens = [list(gram_strings(content)) for content in contents]
        return [RMinHash.digest_matrix_from_token_sets(tokens, num_permutations, 1)]
    signed = []
    for content in contents:
        minhash = RMinHash(num_perm=num_permutations, seed=1)
        minhash.update(list(gram_strings(content)))
        signed.append(minhash)
    return signed


def compare_signatures(
    files: Sequence[SourceFile], sample: Sequence[SourceFile]
) -> dict[str, float]:
    """Ours on the whole corpus; ours, datasketch and rensa in turn on a sample."""
    whole = Texts.of_contents([file.content for file in files])
    part = Texts.of_contents([file.content for file in sample])
    contents = [file.content.decode() for file in sample]
    sign_all(Texts.of_contents([b"compile the loops first"]), NUM_PERMUTATIONS)
    costs = measure_in_turn(
        {
            "codekiln, whole corpus": lambda: sign_all(whole, NUM_PERMUTATIONS),
            "codekiln": lambda: sign_all(part, NUM_PERMUTATIONS),
            "rensa": lambda: sign_rensa(contents, NUM_PERMUTATIONS),
            "datasketch": lambda: sign_datasketch(contents, NUM_PERMUTATIONS),
            "5-grams as Python strings alone": lambda: [gram_strings(text) for text in contents],
        },
        rounds=3,
    )
    speeds = {
        name: megabytes(files if "whole" in name else sample) / cost.cpu_s
        for name, cost in costs.items()
    }
    print_table(
        ["signatures, K 256", "MB", "CPU s", "MB per CPU s", "codekiln is"],
        [
            (
                name,
                megabytes(files if "whole" in name else sample),
                cost.cpu_s,
                speeds[name],
                f"{speeds['codekiln'] / speeds[name]:.1f} x",
            )
            for name, cost in costs.items()
        ],
    )
    return {
        "signature_mb_per_cpu_s": speeds["codekiln, whole corpus"],
        "ratio_datasketch": speeds["codekiln"] / speeds["datasketch"],
        "ratio_rensa": speeds["codekiln"] / speeds["rensa"],
    }


def compare_cores(files: Sequence[SourceFile]) -> float:
    """Wall time of one thread over that of two; the kernels do not hold the interpreter's lock."""
    halves = [Texts.of_contents([file.content for file in files[start::2]]) for start in (0, 1)]

    def work(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda texts: sign_all(texts, NUM_PERMUTATIONS), halves))

    costs = measure_in_turn({"one": lambda: work(1), "two": lambda: work(2)}, rounds=3)
    ratio = costs["one"].wall_s / costs["two"].wall_s
    print_table(
        ["threads", "wall s", "MB per s"],
        [(name, cost.wall_s, megabytes(files) / cost.wall_s) for name, cost in costs.items()],
    )
    print(f"two cores are {ratio:.2f} x one\n")
    return ratio


def cluster_candidates(signatures: Signatures, config: DedupConfig) -> Forest:
    """Unite all documents that share a band, unverified: what LSH alone would do."""
    forest = Forest(len(signatures))
    for keys in band_keys(signatures, config.bands, config.rows):
        found = buckets_of(keys, np.arange(len(keys)))
        together = found.buckets[1:] == found.buckets[:-1]
        forest.union(found.members[:-1][together], found.members[1:][together])
    return forest


def cluster_verified(sets: HeldSets, signatures: Signatures, config: DedupConfig) -> Join:
    """Unite the verified pairs, as the step does."""
    join = Join(sets, config.threshold, config.max_comparisons)
    documents = np.flatnonzero(sets.sizes > 0)
    keys = band_keys(signatures[documents], config.bands, config.rows)
    join.join_bands(buckets_of(band, documents) for band in keys)
    return join


def cluster_datasketch(signed: Sequence[MinHash], config: DedupConfig) -> dict[int, int]:
    """Peer datasketch's LSH and a dict union-find over what its queries return."""
    index = MinHashLSH(num_perm=config.num_permutations, params=(config.bands, config.rows))
    parents = {number: number for number in range(len(signed))}

    def find(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for number, minhash in enumerate(signed):
        for other in index.query(minhash):
            left, right = sorted((find(number), find(other)))
            parents[right] = left
        index.insert(number, minhash)
    return {number: find(number) for number in parents}


def compare_clustering(sets: HeldSets, signatures: Signatures) -> dict[str, float]:
    """Clustering without and with verification, and datasketch's, over the same signatures."""
    config = DedupConfig()
    signed = [
        MinHash(num_perm=config.num_permutations, hashvalues=row, scheme="affine32")
        for row in signatures
    ]
    cluster_candidates(signatures[:100], config)  # compile the loops first
    cluster_verified(sets, signatures, config)
    costs = measure_in_turn(
        {
            "codekiln, candidates": lambda: cluster_candidates(signatures, config),
            "codekiln, verified": lambda: cluster_verified(sets, signatures, config),
            "datasketch LSH, candidates": lambda: cluster_datasketch(signed, config),
        },
        rounds=3,
    )
    ours = cluster_candidates(signatures, config).roots()
    theirs = cluster_datasketch(signed, config)
    assert ours.tolist() == list(theirs.values()), "both unite what shares a band"
    fast = costs["codekiln, candidates"]
    print_table(
        [f"clustering of {len(signatures):,} documents", "CPU s", "codekiln is"],
        [(name, cost.cpu_s, f"{cost.cpu_s / fast.cpu_s:.1f} x") for name, cost in costs.items()],
    )
    join = cluster_verified(sets, signatures, config)
    united = len(signatures) - len(np.unique(join.forest.roots()))
    print(
        f"pairs compared {join.num_compared:,}, similar {join.num_similar:,}; files that go: "
        f"{united:,} verified, {len(signatures) - len(np.unique(ours)):,} unverified\n"
    )
    return {
        "cluster_ratio_datasketch": costs["datasketch LSH, candidates"].cpu_s / fast.cpu_s,
        "cluster_verified_cpu_s": costs["codekiln, verified"].cpu_s,
    }


def compare_brute_force(files: Sequence[SourceFile], count: int, seed: int) -> dict[str, float]:
    """Pairs found and pairs there are, over all pairs of some files, by sets of tuples of words."""
    sample = draw(files, count, seed)
    vocabulary: dict[tuple[str, ...], int] = {}
    rows = []
    for file in sample:
        words = WORD.findall(file.content.decode())
        grams = {tuple(words[start : start + 5]) for start in range(len(words) - 4)}
        rows.append(sorted(vocabulary.setdefault(gram, len(vocabulary)) for gram in grams))
    ends = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.fromiter(itertools.chain.from_iterable(rows), np.int64, ends[-1])
    incidence = scipy.sparse.csr_matrix(
        (np.ones(len(columns), np.int32), columns, ends), (len(rows), max(1, len(vocabulary)))
    )
    common = scipy.sparse.triu(incidence @ incidence.T, k=1).tocoo()
    sizes = np.diff(ends)
    similarity = common.data / (sizes[common.row] + sizes[common.col] - common.data)
    config = DedupConfig()
    contents = [file.content for file in sample]
    sets = gram_sets(contents, config.ngram_words, config.splitter)
    signatures = sign(sets, config.num_permutations, config.seed)
    keys = band_keys(signatures, config.bands, config.rows)
    proposed = (keys[:, common.row] == keys[:, common.col]).any(axis=0)
    result: dict[str, float] = {}
    table = []
    for threshold in (0.7, 0.85):
        true = similarity >= threshold
        join = Join(HeldSets(sets), threshold, config.max_comparisons)
        documents = np.flatnonzero(sizes > 0)
        join.join_bands(buckets_of(band[documents], documents) for band in keys)
        roots = join.forest.roots()
        found = true & proposed
        joined = join.num_similar
        # Every union was of a pair at or above the threshold: count them against all pairs.
        right = int((roots[common.row] == roots[common.col])[true].sum())
        dropped = np.flatnonzero(roots != np.arange(len(sample)))
        own = _similarity_to_kept(incidence, sizes, dropped, roots)
        recall = float(found.sum() / max(1, true.sum()))
        name = f"{threshold:g}".replace(".", "")
        result[f"recall_{name}"] = recall
        result[f"below_threshold_{name}"] = float((own < threshold).mean()) if len(own) else 0.0
        table.append(
            (
                threshold,
                int(true.sum()),
                int(found.sum()),
                recall,
                right,
                joined,
                len(dropped),
                result[f"below_threshold_{name}"],
            )
        )
    result["precision"] = _precision(sets, keys, common, similarity)
    print_table(
        [
            f"brute force, {len(sample):,} files, seed {seed}: threshold",
            "true pairs",
            "proposed",
            "recall",
            "of them in one cluster",
            "joins",
            "files dropped",
            "below threshold to own kept",
        ],
        table,
    )
    print()
    return result


def _similarity_to_kept(incidence: Any, sizes: Any, dropped: Any, roots: Any) -> Any:
    common = np.asarray(incidence[dropped].multiply(incidence[roots[dropped]]).sum(axis=1)).ravel()
    return common / (sizes[dropped] + sizes[roots[dropped]] - common)


def _precision(sets: GramSets, keys: Any, common: Any, similarity: Any) -> float:
    """Share of the pairs that verification accepts, of all proposed ones, that are similar."""
    proposed = (keys[:, common.row] == keys[:, common.col]).any(axis=0)
    left, right = common.row[proposed].astype(np.int64), common.col[proposed].astype(np.int64)
    accepted = jaccard(HeldSets(sets), left, right) >= DedupConfig().threshold
    true = similarity[proposed] >= DedupConfig().threshold
    return float((accepted & true).sum() / max(1, accepted.sum()))


def measure_command(files: Sequence[SourceFile], suffix: str = "") -> dict[str, float]:
    """The whole command, in rounds of their own folders, against the kernels inside it."""
    print(f"the whole command on {len(files):,} files, {megabytes(files):,.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        documents = write_documents(files, Path(folder) / "documents")
        run_command(documents, Path(folder) / "warm")
        runs = [run_command(documents, Path(folder) / str(number)) for number in range(3)]
        run = sorted(runs, key=lambda run: run.whole.cpu_s)[1]
        removed = len(read_rows(Artifact.open(str(Path(folder) / "1" / "out")), "clusters"))
    own, whole = sum(run.kernels_cpu_s.values()), run.whole.cpu_s
    print_table(
        ["codekiln dedup, median of 3", "CPU s", "MB per CPU s"],
        [(f"kernel {name}", cpu_s, "") for name, cpu_s in run.kernels_cpu_s.items()]
        + [
            ("all kernels", own, megabytes(files) / own),
            ("the whole command", whole, megabytes(files) / whole),
        ],
    )
    print(f"{removed:,} clusters; the command takes {whole / own:.2f} x its kernels\n")
    return {
        f"command_cpu_s{suffix}": whole,
        f"kernels_cpu_s{suffix}": own,
        f"command_ratio_kernels{suffix}": whole / own,
    }


def main() -> None:
    """Run all parts; `--sample` files for the peers' signatures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=600, help="files for the peers' signatures")
    parser.add_argument("--pairs", type=int, default=3000, help="files for brute force")
    parser.add_argument("--seed", type=int, default=1, help="of both draws")
    parser.add_argument(
        "--more", type=Path, nargs="+", help="folders of code to measure the command on, too"
    )
    arguments = parser.parse_args()
    more = read_folders(arguments.more or [])
    files = read_corpus()
    print(f"corpus: {len(files):,} files, {megabytes(files):,.1f} MB of installed code\n")
    result = compare_signatures(files, draw(files, arguments.sample, arguments.seed))
    print()
    result["two_cores_ratio"] = compare_cores(files)
    config = DedupConfig()
    sets = gram_sets([file.content for file in files], config.ngram_words, config.splitter)
    signatures = sign(sets, config.num_permutations, config.seed)
    clustering = compare_clustering(HeldSets(sets), signatures)
    result |= clustering
    result |= compare_brute_force(files, arguments.pairs, arguments.seed)
    result |= measure_command(files)
    if more:
        result |= measure_command([*files, *more], "_more")
    result |= {"peak_rss_mb": peak_rss_mb()}
    print_result({name: round(value, 4) for name, value in result.items()})


if __name__ == "__main__":
    main()
