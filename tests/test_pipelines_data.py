"""`codekiln data` lists, shows, checks and explains what lies in a data root."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.tokens import read_tokens
from components.model.text import TextCodec
from pipelines.cli import main

BLOCK = 64


@pytest.fixture
def made(make_step: Any, documents_of: Any, document: Any) -> dict[str, Artifact]:
    """A tokenizer, and tokens packed both ways."""
    rows = [
        document(
            f"{n}.py",
            f"name_{n} = {n}\n" * (3 + 5 * n),
            repo=f"me/r{n % 9}",
            license="ISC",
            commit=f"c{n}",
        )
        for n in range(27)
    ]
    documents = documents_of(rows[:15], rows[15:])
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=280).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    stream = make_step("packing", inputs, validation_fraction=0.3)
    packed = make_step(
        "packing", inputs, validation_fraction=0.3, packing="best_fit", block_length=BLOCK
    )
    return {
        "documents": documents,
        "tokenizer": tokenizer,
        "stream": stream.artifact,
        "best_fit": packed.artifact,
    }


def explained(capsys: Any, artifact: Artifact, *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["data", "explain", artifact.storage.uri, *arguments]) == 0
    lines: list[str] = capsys.readouterr().out.splitlines()
    return lines


@pytest.mark.parametrize("packing", ["stream", "best_fit"])
def test_a_block_is_explained_by_the_documents_in_it(
    capsys: Any, made: dict[str, Artifact], packing: str
) -> None:
    shards = read_tokens(made[packing], "training")
    codec = TextCodec.from_artifact(made["tokenizer"])
    ids = [token for shard in shards for token in shard.ids.tolist()]
    length = [] if packing == "best_fit" else ["--length", str(BLOCK)]
    seen = 0
    for block in range(len(ids) // BLOCK):
        first, *lines = explained(capsys, made[packing], "--block", str(block), *length)
        low, high = block * BLOCK, block * BLOCK + BLOCK - 1
        assert first == f"training tokens {low:,} to {high:,}:"
        for line in lines:
            start, stop = (
                int(text.replace(",", ""))
                for text in re.findall(r"^  ([\d,]+) to ([\d,]+)", line)[0]
            )
            text = codec.decode([token for token in ids[start : stop + 1] if token != codec.eos_id])
            seen += stop + 1 - start
            if line.endswith("padding"):
                assert text == ""
                continue
            repo, path, license_name = line.split("  ")[2:5]
            number = path.removesuffix(".py")
            assert repo == f"me/r{int(number) % 9}@c{number}"
            assert license_name == "ISC"
            assert text in f"name_{number} = {number}\n" * (3 + 5 * int(number))
    assert seen == len(ids) // BLOCK * BLOCK


def test_a_token_and_the_validation_split_are_explained(
    capsys: Any, made: dict[str, Artifact]
) -> None:
    _, line = explained(capsys, made["stream"], "--split", "validation", "--token", "3")
    assert "its tokens 3 to 3 of" in line


@pytest.mark.parametrize(
    ("which", "arguments", "message"),
    [
        ("stream", ["--block", "0"], "expected --length N with --block"),
        ("best_fit", ["--block", "0", "--length", "32"], "expected --length 64, as packed"),
        ("best_fit", ["--block", "999999"], "expected a token from 0 to"),
        ("stream", ["--token", "-1"], "expected a token from 0 to"),
        ("stream", [], "one of the arguments --block --token is required"),
        ("documents", ["--token", "0"], "expected an artifact of kind 'tokens'"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    capsys: Any, made: dict[str, Artifact], which: str, arguments: list[str], message: str
) -> None:
    capsys.readouterr()
    assert main(["data", "explain", made[which].storage.uri, *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_artifacts_are_listed_and_shown(
    capsys: Any, made: dict[str, Artifact], tmp_path: Path
) -> None:
    (tmp_path / "data" / ".packing.scratch" / "x").mkdir(parents=True)
    (tmp_path / "data" / ".packing.scratch" / "x" / "manifest.json").write_text("{}")
    capsys.readouterr()
    assert main(["data", "ls", "--data-root", str(tmp_path / "data")]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[:3] for line in lines]
    manifests = [made[name].manifest for name in ("stream", "best_fit", "tokenizer")]
    assert sorted(listed) == sorted([m.step, m.key, m.digest[:16]] for m in manifests)
    assert main(["data", "show", made["best_fit"].storage.uri]) == 0
    shown = capsys.readouterr().out
    for text in (made["best_fit"].manifest.digest, "training_ids: 2 files", "tokens_padding"):
        assert text in shown
    assert main(["data", "ls", "--data-root", str(tmp_path / "none")]) == 0
    assert "no artifacts in" in capsys.readouterr().out


def test_damage_is_found_file_by_file(capsys: Any, made: dict[str, Artifact]) -> None:
    uri = made["stream"].storage.uri
    whole = made["documents"].storage.uri
    assert main(["data", "verify", uri, whole]) == 0
    entries = made["stream"].manifest.files
    altered, cut, gone = (Path(uri) / entry.name for entry in entries[:3])
    altered.write_bytes(altered.read_bytes()[:-1] + b"\xff")
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    capsys.readouterr()
    assert main(["data", "verify", uri, str(Path(uri).parent), whole]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    for line, entry, what in zip(lines, entries, ("sha256", "bytes", "found none"), strict=False):
        assert line.startswith("damaged: ")
        assert entry.name in line
        assert what in line
    assert lines[3].startswith("damaged: expected a finished artifact")
    assert lines[4].startswith("whole: ")


def test_a_manifest_that_lists_other_files_is_damage(
    capsys: Any, made: dict[str, Artifact]
) -> None:
    path = Path(made["stream"].storage.uri) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = manifest["files"][1:]
    path.write_text(json.dumps(manifest))
    assert main(["data", "verify", str(path.parent)]) == 1
    assert "expected digest" in capsys.readouterr().out


def test_an_export_is_never_mixed_with_what_lies_there(
    capsys: Any, made: dict[str, Artifact], tmp_path: Path
) -> None:
    arguments = ["data", "export", made["documents"].storage.uri, "--format", "jsonl-zst", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "out")]) == 2
    assert "expected an empty folder for --out, got '00000.jsonl.zst'" in capsys.readouterr().err


def test_a_misspelt_command_names_the_nearest(capsys: Any) -> None:
    assert main(["data", "explian"]) == 2
    assert "did you mean 'explain'?" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_a_listing_well():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "recipes"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
