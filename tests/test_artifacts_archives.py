"""GPT-Code-Clippy's jsonl.zst is written and read, and what is no such file is named by line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts import archives
from components.artifacts.archives import read_archive, spell_archive
from components.artifacts.errors import CorruptArtifactError


def zstd(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    packed: bytes = buffer.getvalue().to_pybytes()
    return packed


def line(**changes: Any) -> bytes:
    """A line as GPT-Code-Clippy's crawler wrote them: stars are the text of a CSV."""
    meta = {
        "repo_name": "me/mine",
        "stars": "12",
        "repo_language": "Python",
        "file_name": "a.py",
        "mime_type": "text/x-python",
    }
    row = {"text": "x = 1\n", "meta": {**meta, **changes}}
    return json.dumps(row).encode() + b"\n"


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=8))
def test_what_is_written_reads_back(tmp_path_factory: Any, texts: list[str]) -> None:
    rows = [
        {
            "repo": "me/mine",
            "path": f"{n}.py",
            "stars": n,
            "language": "Python",
            "content": text,
            "commit": "c0ffee",
            "license": "MIT",
            "sha256": "ab" * 32,
        }
        for n, text in enumerate([*texts, "last\u2028one"])
    ]
    path = tmp_path_factory.mktemp("archive") / "0.jsonl.zst"
    path.write_bytes(spell_archive(rows))
    for row, file in zip(rows, read_archive(path), strict=True):
        assert file.text == row["content"]
        assert (file.repo_name, file.file_name, file.stars) == (
            "me/mine",
            row["path"],
            row["stars"],
        )
        assert (file.repo_language, file.mime_type) == ("Python", "text/x-python")
        assert (file.commit, file.license, file.sha256) == ("c0ffee", "MIT", "ab" * 32)


def test_a_line_has_the_published_keys_and_every_file_its_own_name(tmp_path: Path) -> None:
    """Defect C1: one `meta` a repository, mutated, gave every file the last one's name."""
    row = {"repo": "r", "stars": 1, "language": "Zig", "commit": "c", "license": "MIT"}
    rows = [{**row, "path": path, "content": "x", "sha256": ""} for path in ("a.zig", "b.zig")]
    with pa.CompressedInputStream(pa.BufferReader(spell_archive(rows)), "zstd") as stream:
        lines = [json.loads(text) for text in stream.read().split(b"\n")[:-1]]
    for made, path in zip(lines, ("a.zig", "b.zig"), strict=True):
        assert list(made) == ["text", "meta"]
        keys = ["repo_name", "stars", "repo_language", "file_name", "mime_type"]
        assert list(made["meta"])[:5] == keys
        assert (made["meta"]["file_name"], made["meta"]["mime_type"]) == (path, "text/plain")


def test_the_published_shape_is_read_and_what_it_lacks_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "data_0.jsonl.zst"
    path.write_bytes(zstd(line() + b"\n" + line(stars=None, repo_language=None)[:-1]))
    first, second = read_archive(path)
    assert (first.stars, first.commit, first.license) == (12, "", "")
    assert (second.stars, second.repo_language) == (0, "")


def test_frames_after_each_other_and_lines_across_chunks_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "CHUNK_BYTES", 7)
    path = tmp_path / "two.jsonl.zst"
    path.write_bytes(zstd(line()) + zstd(line(file_name="b.py")))
    assert [file.file_name for file in read_archive(path)] == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got nothing in"),
        (b"not zstd at all", "in zstd, got .* after 0 bytes"),
        (zstd(line() * 3)[:-1], "Truncated compressed stream after"),
        (zstd(line() + b"{\n"), "line 2 of"),
        (zstd(line() + line() + b"\xff\xfe\n"), "line 3 of"),
        (zstd(b"[" * 100_000), "line 1 of"),
        (zstd(b"[1]\n"), "line 1 of"),
        (zstd(b'{"text": "x"}\n'), "line 1 of"),
        (zstd(b'{"text": "x", "meta": {}}\n'), "got repo_name None in line 1 of"),
        (zstd(b'{"meta": {"repo_name": "r", "file_name": "f"}}\n'), "got text None in line 1"),
        (zstd(line(file_name=3)), "got file_name 3 in line 1"),
        (zstd(line(stars="many")), "got stars 'many' in line 1"),
        (zstd(line(stars=[1])), r"got stars \[1\] in line 1"),
        (zstd(line().replace(b"x = 1", b"\\ud800")), "no Unicode .* in line 1"),
    ],
)
def test_what_is_no_archive_is_one_line_that_names_file_and_line(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "bad.jsonl.zst"
    path.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=message) as caught:
        list(read_archive(path))
    assert "\n" not in str(caught.value)
    assert "bad.jsonl.zst" in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_the_lines_before_a_cut_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.zst"
    lines = b"".join(line(file_name=f"{n}.py") for n in range(100_000))
    path.write_bytes(zstd(lines)[:-5])
    files = read_archive(path)
    assert next(files).file_name == "0.py"
    with pytest.raises(CorruptArtifactError, match="Truncated"):
        list(files)


def test_a_line_without_end_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(archives, "CHUNK_BYTES", 100)
    path = tmp_path / "long.jsonl.zst"
    path.write_bytes(zstd(line() + b'{"text": "' + b"x" * 5000))
    with pytest.raises(CorruptArtifactError, match=r"at most 1,000 bytes.* line 2 of"):
        list(read_archive(path))
