"""The commands of docs/evaluation.md run, on a small model and a small samples file."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.problems.benchmark import load_benchmark
from pipelines.cli import main
from pipelines.evaluate import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "evaluation.md").read_text()


def commands() -> list[str]:
    fenced = re.findall(r"^```\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [line for block in fenced for line in block.splitlines()]


@pytest.fixture
def model(make_step: Callable[..., Any], documents_of: Any, document: Any, tmp_path: Path) -> Path:
    """The folder of a model of two steps."""
    rows = [document(f"{n}.py", f"value_{n} = [{n}]\n" * 40, repo=f"me/r{n}") for n in range(20)]
    documents = documents_of(rows)
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=300).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    tokens = make_step("packing", inputs, validation_fraction=0.4).artifact
    shape = {"num_layers": 1, "num_heads": 2, "hidden_size": 16, "context_length": 256}
    trained = make_step(
        "training",
        {"tokens": tokens, "tokenizer": tokenizer},
        max_steps=2,
        batch_size=2,
        model=shape,
    ).artifact
    folder = tmp_path / "model"
    folder.mkdir()
    for entry in trained.part("model"):
        (folder / Path(entry.name).name).write_bytes(trained.read(entry))
    return folder


def test_every_command_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    rows = [
        {"task_id": problem.task_id, "completion": problem.canonical_solution}
        for problem in load_benchmark("easy").problems
    ]
    samples = tmp_path / "theirs.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(commands()) == 8
    for command in commands():
        text = command.replace("$MODEL", str(model)).replace("$SAMPLES", str(samples))
        name, *arguments = shlex.split(text)
        assert name == "codekiln"
        where = ["--workers", "1"] if arguments[0] == "evaluate" else []  # processes cost seconds
        assert main([*arguments, *where]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "easy" in printed
    assert len(list(Path("evaluations").glob("*/report.html"))) == 6
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_presets_is_that_of_the_recipes(name: str) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    recipe = PRESETS[name]()
    generation = recipe.generation
    assert cells[1:7] == [
        str(generation.samples_per_problem[0]),
        f"{generation.temperatures[0]:g}",
        "off" if generation.top_p == 1 else f"{generation.top_p:g}",
        str(generation.max_new_tokens[0]),
        generation.prompt,
        ", ".join(map(str, recipe.scoring.k)),
    ]
