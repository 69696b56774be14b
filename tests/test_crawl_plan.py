"""The plan of a crawl, the table of languages, and declared licences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.tally import Tally
from components.crawl.languages import GPT_CC, LANGUAGES, NAMES, PYTHON, language_of
from components.crawl.licenses import declared_license
from components.crawl.plan import Caps, cut_shards, select
from components.crawl.source import Candidate, Repository


def candidate(repo: int, path: str, size: int) -> Candidate:
    repository = Repository("test", f"id{repo}", f"r{repo}", "1", "MIT", "test")
    return Candidate(repository, path, size, "0" * 64, "Python", "nowhere")


sizes = st.lists(st.lists(st.integers(1, 50), max_size=8), max_size=6)


def listed(of_repositories: list[list[int]]) -> list[Candidate]:
    return [
        candidate(repo, f"f{index}.py", size)
        for repo, files in enumerate(of_repositories)
        for index, size in enumerate(files)
    ]


@given(sizes, st.integers(0, 60), st.integers(0, 100), st.integers(0, 200))
def test_caps_hold_and_every_candidate_is_taken_or_counted(
    of_repositories: list[list[int]], file: int, distribution: int, total: int
) -> None:
    candidates, tally = listed(of_repositories), Tally()
    caps = Caps(file=file, distribution=distribution, total=total, uncapped=frozenset({"id0"}))
    selection = select(candidates, caps, tally)
    dropped = sum(files for files, _ in tally.drops.values())
    assert len(selection.taken) + dropped == len(candidates)
    assert tally.counts.get("files_in", 0) == dropped
    assert not file or all(one.size <= file for one in selection.taken)
    assert not total or sum(one.size for one in selection.taken) <= total
    for repository, (files, size) in selection.by_repository.items():
        mine = [one for one in selection.taken if one.repository == repository]
        assert (files, size) == (len(mine), sum(one.size for one in mine))
        assert not distribution or size <= distribution or repository.repo_id == "id0"


def test_a_cap_takes_a_prefix_and_not_what_happens_to_be_small() -> None:
    candidates = [candidate(0, "a.py", 6), candidate(0, "b.py", 9), candidate(0, "c.py", 1)]
    selection = select(candidates, Caps(file=0, distribution=10, total=0), Tally())
    assert [one.path for one in selection.taken] == ["a.py"]
    selection = select(candidates, Caps(file=0, distribution=0, total=10), Tally())
    assert [one.path for one in selection.taken] == ["a.py"]


@given(sizes, st.integers(1, 120), st.randoms(use_true_random=False))
def test_shards_hold_every_file_once_in_order_whatever_order_came(
    of_repositories: list[list[int]], shard_bytes: int, random: object
) -> None:
    candidates = listed(of_repositories)
    shards = list(cut_shards(candidates, shard_bytes))
    random.shuffle(candidates)  # type: ignore[attr-defined]
    assert list(cut_shards(candidates, shard_bytes)) == shards
    flat = [(one.repository.repo_id, one.path) for shard in shards for one in shard]
    assert flat == sorted(flat)
    assert len(flat) == len(candidates)
    assert all(len(s) == 1 or sum(one.size for one in s) <= shard_bytes for s in shards)


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "Python"),
        ("a/B.PY", "Python"),
        ("stub.pyi", None),
        ("x.c", "C"),
        ("x.C", "C++"),
        ("src/Makefile", "Makefile"),
        ("CMakeLists.txt", "CMake"),
        ("notes.txt", None),
        ("Dockerfile", "Dockerfile"),
        (".py", None),
        ("py", None),
        ("folder.py/data", None),
        ("analysis.R", "R"),
    ],
)
def test_a_file_name_decides_the_language(path: str, language: str | None) -> None:
    assert language_of(path) == language


def test_the_table_is_unambiguous_and_holds_the_presets() -> None:
    keys = [key for one in LANGUAGES for key in (*one.extensions, *one.file_names)]
    assert len(keys) == len(set(keys))
    assert set(GPT_CC) | set(PYTHON) <= NAMES
    assert len(NAMES) >= 30


APACHE = "License :: OSI Approved :: Apache Software License"
MIT = "License :: OSI Approved :: MIT License"


@pytest.mark.parametrize(
    ("expression", "field", "classifiers", "expected"),
    [
        ("MIT  OR Apache-2.0", "BSD", (), ("MIT OR Apache-2.0", "License-Expression")),
        (None, "Apache 2.0", (), ("Apache-2.0", "License")),
        (None, "MPL-2.0 AND mit license", (), ("MPL-2.0 AND MIT", "License")),
        (None, "MPL-2.0 AND Secret", (MIT,), ("MIT", "Classifier")),
        (None, "Copyright (c) 2001 Somebody.\nAll rights.", (MIT,), ("MIT", "Classifier")),
        (None, None, (APACHE, "License :: DFSG approved"), ("Apache-2.0", "Classifier")),
        (None, None, (APACHE, MIT), ("unknown", "unknown")),
        (None, "BSD", (), ("LicenseRef-BSD", "License")),
        ("", "", (), ("unknown", "unknown")),
    ],
)
def test_a_declared_licence_becomes_spdx_with_its_evidence(
    expression: str | None,
    field: str | None,
    classifiers: tuple[str, ...],
    expected: tuple[str, str],
) -> None:
    assert declared_license(expression, field, classifiers) == expected
