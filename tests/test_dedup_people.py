"""What people see of dedup: the page of real pairs, and the answers of `codekiln dedup-query`."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.errors import ConfigError
from components.dedup.config import DedupConfig
from components.dedup.query import Corpus
from pipelines.cli import main
from tests.page_elements import Elements


def program(seed: int, lines: int = 60) -> list[str]:
    shuffle = random.Random(seed)
    return [f"value_{i} = call_{shuffle.randrange(900)}(item_{i})" for i in range(lines)]


@pytest.fixture
def near(document: Any, documents_of: Any) -> Any:
    """Three pairs of near duplicates with markup in names and contents, and two other files."""
    rows = []
    for number in range(3):
        lines = program(number)
        rows.append(document(f"{number}/a.py", "\n".join(lines), repo="a/<b>kept</b>"))
        lines[30] = "changed = '<script>alert(1)</script>\u202e'"
        rows.append(document(f"{number}/b.py", "\n".join(lines), repo="b/went"))
    rows += [document(f"{seed}.py", "\n".join(program(seed))) for seed in (8, 9)]
    return documents_of(rows[:4], rows[4:])


def test_the_page_shows_real_pairs_side_by_side_and_runs_nothing_of_theirs(
    make_step: Any, near: Any
):
    outcome = make_step("dedup", {"documents": near})
    page = outcome.artifact.storage.read("page.html").decode()
    seen = Elements(page)
    tags = [tag for tag, _ in seen.found]
    assert "script" not in tags
    assert "b" not in tags
    assert tags.count("table") == 3
    assert "changed = '<script>alert(1)</script><U+202E>'" in seen.text
    assert "a/<b>kept</b>: 0/a.py" in seen.text
    assert "equal lines" in seen.text
    assert "http" not in page


def test_the_page_of_a_corpus_without_near_duplicates_says_so(
    make_step: Any, documents_of: Any, document: Any
):
    outcome = make_step("dedup", {"documents": documents_of([document("a.py", "x = 1")])})
    assert "0 files went as near duplicates" in outcome.artifact.storage.read("page.html").decode()


def ask(capsys: Any, *arguments: object) -> tuple[int, str, str]:
    code = main(["dedup-query", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_query_finds_the_kept_copy_of_a_changed_file(
    make_step: Any, near: Any, tmp_path: Path, capsys: Any
):
    artifact = make_step("dedup", {"documents": near}).artifact
    lines = program(1)
    lines[3] = "something = different"
    asked = tmp_path / "asked.py"
    asked.write_text("\n".join(lines))
    other = tmp_path / "other.py"
    other.write_text("\n".join(program(77)))
    code, out, _ = ask(capsys, asked, other, "--documents", artifact.storage.uri)
    assert code == 0
    first, match, second = out.splitlines()
    assert first == f"{asked}: 1 of similarity 0.7 or more"
    assert re.fullmatch(r"  0\.9\d\d  a/<b>kept</b> 1\.0  1/a\.py  MIT", match)
    assert second == f"{other}: 0 of similarity 0.7 or more"


def test_a_query_reaches_every_document_that_near_dedup_would_join(near: Any):
    corpus = Corpus(near, DedupConfig())
    for number in range(3):
        found = corpus.find_matches("\n".join(program(number)).encode(), 0.7)
        assert [match.path for match in found] == [f"{number}/a.py", f"{number}/b.py"]
        assert found[0].similarity == 1.0 > found[1].similarity > 0.7
    assert corpus.find_matches(b"too short", 0.7) == []


def test_a_query_finds_the_exact_copy_of_a_text_too_short_for_ngrams(
    documents_of: Any, document: Any
):
    corpus = Corpus(
        documents_of([document("a.py", "import os"), document("b.py", "")]), DedupConfig()
    )
    (match,) = corpus.find_matches(b"import os", 0.7)
    assert (match.path, match.similarity) == ("a.py", 1.0)
    assert corpus.find_matches(b"import  os", 0.7) == []


def test_a_query_says_in_one_line_what_is_wrong(near: Any, tmp_path: Path, capsys: Any):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    documents = ("--documents", near.storage.uri)
    for arguments, expected in (
        ((binary, *documents), "UTF-8 text file"),
        ((tmp_path / "none.py", *documents), "FileNotFoundError"),
        ((binary, "--documents", tmp_path), "finished artifact"),
        ((binary, *documents, "--threshold", "nine"), "--threshold above 0 and at most 1"),
        ((binary, *documents, "--limit", "0"), "--limit of at least 1"),
    ):
        code, out, err = ask(capsys, *arguments)
        assert code != 0
        assert out == ""
        assert expected in err
        assert err.count("\n") == 1


def test_extremes_keep_what_is_like_none_that_is_kept(
    make_step: Any, documents_of: Any, document: Any
):
    """A chain: each is like the next one, the first and the last are not alike."""
    lines = program(5, 100)
    rows = [document("0.py", "\n".join(lines))]
    for step in range(1, 6):
        lines[step * 15 : step * 15 + 8] = program(50 + step, 8)
        rows.append(document(f"{step}.py", "\n".join(lines)))
    documents = documents_of(rows)
    best = make_step("dedup", {"documents": documents}).artifact.manifest
    extremes = make_step("dedup", {"documents": documents}, keep="extremes").artifact.manifest
    assert best.tally.counts["files"] == 1
    assert best.measures["below_threshold"] > 0
    assert 1 < extremes.tally.counts["files"] < 6
    assert extremes.measures["below_threshold"] == 0


def test_what_is_kept_of_a_cluster_is_best_or_extremes():
    with pytest.raises(ConfigError, match="extremes"):
        DedupConfig.from_json({"keep": "all"})
