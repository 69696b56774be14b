"""The dedup step: what is dropped, what is kept, and that no cut or worker count changes it."""

import itertools
import random
import re
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from components.dedup import shingles
from components.dedup.config import DedupConfig
from components.dedup.spill import HASHES, KEYS, OFFSETS


def kept_paths(artifact: Artifact) -> list[str]:
    return [
        path
        for entry in artifact.part(DOCUMENTS)
        for path in read_documents(artifact, entry, ["path"])["path"].to_pylist()
    ]


def program(seed: int, words: int = 200) -> list[str]:
    shuffle = random.Random(seed)
    return [f"name_{shuffle.randrange(400)}" for _ in range(words)]


def changed(words: list[str], seed: int, changes: int) -> list[str]:
    shuffle = random.Random(seed)
    words = list(words)
    for place in shuffle.sample(range(len(words)), changes):
        words[place] = f"other_{shuffle.randrange(10_000)}"
    return words


def similarity(left: str, right: str) -> float:
    first, second = (
        {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
        for words in (re.findall(r"[A-Za-z0-9_]+", text) for text in (left, right))
    )
    return len(first & second) / len(first | second) if first | second else 0.0


@pytest.fixture
def corpus(document: Any) -> list[dict[str, Any]]:
    """60 programs, each with an exact copy, near copies of several degrees, and short files."""
    rows = []
    for number in range(20):
        base = program(number)
        rows.append(document(f"{number:02d}/base.py", " ".join(base)))
        if number % 4 == 0:
            rows.append(document(f"{number:02d}/copy.py", " ".join(base)))
        for changes in (1, 4, 8, 12, 30):
            text = " ".join(changed(base, number + changes, changes))
            rows.append(document(f"{number:02d}/changed{changes}.py", text))
    rows += [document(f"short/{i}.py", text) for i, text in enumerate(["a", "b", "a", "", "()"])]
    return rows


def brute_force_kept(rows: list[dict[str, Any]], threshold: float) -> set[str]:
    """Exact duplicates first, then components over all pairs; the first path stays."""
    rows = sorted(rows, key=lambda row: row["path"])
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["content"], row)
    left = list(unique.values())
    lowest = list(range(len(left)))
    pairs = [
        pair
        for pair in itertools.combinations(range(len(left)), 2)
        if similarity(left[pair[0]]["content"], left[pair[1]]["content"]) >= threshold
    ]
    for _ in left:
        for first, second in pairs:
            lowest[first] = lowest[second] = min(lowest[first], lowest[second])
    return {row["path"] for number, row in enumerate(left) if lowest[number] == number}


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.85])
def test_what_is_kept_is_what_brute_force_keeps(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]], threshold: float
):
    made = make_step("dedup", {"documents": documents_of(corpus)}, threshold=threshold)
    assert set(kept_paths(made.artifact)) == brute_force_kept(corpus, threshold)
    counts = made.artifact.manifest.tally
    assert counts.counts["files_in"] == len(corpus)
    assert set(counts.drops) == {"exact_duplicate", "near_duplicate"}


def test_any_cut_and_any_workers_give_the_same(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]]
):
    results = []
    for shards, workers in ((1, 1), (2, 2), (7, 1)):
        cuts = [
            corpus[len(corpus) * i // shards : len(corpus) * (i + 1) // shards]
            for i in range(shards)
        ]
        made = make_step("dedup", {"documents": documents_of(*cuts)}, workers=workers)
        assert len(made.artifact.part(DOCUMENTS)) == shards
        results.append(
            (
                kept_paths(made.artifact),
                read_rows(made.artifact, "clusters"),
                made.artifact.manifest.measures,
            )
        )
    assert results[0] == results[1] == results[2]


def test_a_shard_of_many_slabs_gives_what_one_of_one_slab_does(
    make_step: Any,
    documents_of: Any,
    corpus: list[dict[str, Any]],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    documents = documents_of(corpus)
    digests = []
    for slab_bytes in (shingles.SLAB_BYTES, 5_000):
        monkeypatch.setattr(shingles, "SLAB_BYTES", slab_bytes)
        root = str(tmp_path / str(slab_bytes))
        made = make_step("dedup", {"documents": documents}, workers=1, data_root=root)
        digests.append(made.artifact.manifest.digest)
    assert digests[0] == digests[1]


def test_worker_counts_give_the_same_digest(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]], tmp_path: Any
):
    documents = documents_of(corpus[:50], corpus[50:])
    digests = {
        make_step(
            "dedup",
            {"documents": documents},
            workers=workers,
            data_root=str(tmp_path / str(workers)),
        ).artifact.manifest.digest
        for workers in (1, 2)
    }
    assert len(digests) == 1


def test_the_clusters_name_every_dropped_document_once(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]]
):
    made = make_step("dedup", {"documents": documents_of(corpus)})
    rows = read_rows(made.artifact, "clusters")
    by_path = {row["path"]: row["content"] for row in corpus}
    kept = set(kept_paths(made.artifact))
    dropped = [each["path"] for row in rows for each in row["dropped"]]
    assert sorted(dropped) == sorted(set(by_path) - kept)
    assert [row["cluster"] for row in rows] == list(range(len(rows)))
    for row in rows:
        assert row["kept"]["path"] in kept
        for each in row["dropped"]:
            exact = similarity(by_path[row["kept"]["path"]], by_path[each["path"]])
            if by_path[each["path"]] == by_path[row["kept"]["path"]]:
                exact = 1.0
            assert each["jaccard"] == pytest.approx(exact, abs=1e-6)


def test_an_exact_copy_of_a_dropped_near_copy_is_in_the_same_cluster(
    make_step: Any, documents_of: Any, document: Any
):
    base = program(1)
    near = " ".join(changed(base, 2, 2))
    rows = [document("a.py", " ".join(base)), document("b.py", near), document("c.py", near)]
    made = make_step("dedup", {"documents": documents_of(rows)})
    [cluster] = read_rows(made.artifact, "clusters")
    assert cluster["kept"]["path"] == "a.py"
    assert [(each["path"], each["reason"]) for each in cluster["dropped"]] == [
        ("b.py", "near_duplicate"),
        ("c.py", "exact_duplicate"),
    ]
    assert cluster["dropped"][0]["jaccard"] == cluster["dropped"][1]["jaccard"] > 0.7


def test_the_best_copy_has_most_stars_then_the_first_repository_and_path(
    make_step: Any, documents_of: Any, document: Any
):
    text = " ".join(program(3))
    rows = [
        document("a.py", text, repo="z/z", stars=7),
        document("b.py", text, repo="a/a", stars=1),
        document("z.py", " ".join(changed(program(3), 1, 1)), repo="y/y", stars=9),
        document("y.py", text, repo="y/y", stars=9),
    ]
    for order in (rows, rows[::-1], rows[2:] + rows[:2], [rows[i] for i in (1, 3, 0, 2)]):
        made = make_step("dedup", {"documents": documents_of(order)})
        assert kept_paths(made.artifact) == ["y.py"]


def test_pairs_below_the_threshold_never_chain_a_cluster(
    make_step: Any, documents_of: Any, document: Any
):
    # Neighbours share about half of their n-grams: candidates in most bands, similar in none.
    words = program(5, 2000)
    rows = [document(f"{i:03d}.py", " ".join(words[i * 60 : i * 60 + 200])) for i in range(30)]
    made = make_step("dedup", {"documents": documents_of(rows)})
    assert made.artifact.manifest.measures["pairs_compared"] > 10
    assert made.artifact.manifest.measures["near_duplicates"] == 0
    assert len(kept_paths(made.artifact)) == 30


def test_one_file_many_times_leaves_one(make_step: Any, documents_of: Any, document: Any):
    rows = [document(f"{i:03d}.py", "import os\nprint(os.name, os.sep)\n") for i in range(300)]
    made = make_step("dedup", {"documents": documents_of(rows[:100], rows[100:])})
    assert kept_paths(made.artifact) == ["000.py"]
    assert made.artifact.manifest.tally.drops["exact_duplicate"][0] == 299
    assert len(made.artifact.part(DOCUMENTS)) == 2


def test_files_with_fewer_words_than_an_ngram_are_compared_exactly_only(
    make_step: Any, documents_of: Any, document: Any
):
    texts = ["", "\n", "a b c d", "a b c  d", "a b c d", "x = 1", "x = 2"]
    rows = [document(f"{i}.py", text) for i, text in enumerate(texts)]
    made = make_step("dedup", {"documents": documents_of(rows)})
    assert kept_paths(made.artifact) == ["0.py", "1.py", "2.py", "3.py", "5.py", "6.py"]
    assert made.artifact.manifest.measures["pairs_compared"] == 0


@pytest.mark.parametrize("shards", [[], [[]], [[], []]], ids=["no shard", "one", "two"])
def test_an_empty_corpus_gives_an_empty_artifact(make_step: Any, documents_of: Any, shards: Any):
    made = make_step("dedup", {"documents": documents_of(*shards)})
    assert kept_paths(made.artifact) == []
    assert read_rows(made.artifact, "clusters") == []


def test_near_off_drops_exact_copies_only(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]]
):
    made = make_step("dedup", {"documents": documents_of(corpus)}, near=False)
    assert set(made.artifact.manifest.tally.drops) == {"exact_duplicate"}
    assert len(kept_paths(made.artifact)) == len({row["content"] for row in corpus})


def test_gpt_ccs_key_drops_what_differs_and_sha256_does_not(
    make_step: Any, documents_of: Any, document: Any
):
    rows = [document("a.py", "a = b + c"), document("b.py", "a = b - c")]
    documents = documents_of(rows)
    assert kept_paths(make_step("dedup", {"documents": documents}).artifact) == ["a.py", "b.py"]
    lossy = make_step("dedup", {"documents": documents}, exact_key="gpt_cc")
    assert kept_paths(lossy.artifact) == ["a.py"]


def test_a_second_run_after_a_loss_of_the_last_place_gives_the_same_bytes(
    make_step: Any, documents_of: Any, corpus: list[dict[str, Any]]
):
    documents = documents_of(corpus)
    first = make_step("dedup", {"documents": documents}).artifact
    storage, manifest = first.storage, first.manifest
    for name in ("manifest.json", "records/00001.json"):
        storage.remove(name)
    scratch = storage.scratch() / "00000"
    scratch.mkdir()
    for name in (HASHES, OFFSETS, KEYS):
        (scratch / name).write_bytes(b"cut off")
    second = make_step("dedup", {"documents": documents}).artifact
    assert second.manifest == manifest


def test_the_default_recall_is_above_99_percent_by_formula():
    assert DedupConfig().recall >= 0.99
    assert DedupConfig().num_permutations == 252


def test_signatures_that_are_too_long_are_refused():
    with pytest.raises(ConfigError, match="bands x rows at most"):
        DedupConfig(bands=512, rows=64)


def test_a_shard_of_which_nothing_is_left_does_no_harm(make_step, documents_of, document):
    text = "def add(a, b):\n    return a + b\n" * 9
    first, copy = document("a.py", text, repo="a/a"), document("b.py", text, repo="b/b")
    other = document("c.py", text.replace("add", "sub") * 2, repo="c/c")
    artifact = documents_of([first, other], [copy])
    tally = make_step("dedup", {"documents": artifact}).artifact.manifest.tally
    assert tally.drops["exact_duplicate"][0] == 1
    assert tally.counts["files"] == 2
