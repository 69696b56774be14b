"""What the README and the architecture page say holds."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmarks import scale
from components.stage.step import step_names
from pipelines.recipes import recipe_names

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text):
    return re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)


def commands():
    lines = [line for block in blocks(README) for line in block.splitlines()]
    return [re.split(r"\s{2,}", line)[0] for line in lines if line.startswith("codekiln ")]


def test_the_first_command_stands_before_line_25():
    first = next(n for n, line in enumerate(README.splitlines(), 1) if "make run" in line)
    assert first < 25


@pytest.mark.parametrize("command", commands())
def test_every_flag_of_every_command_in_the_readme_exists(command):
    _, name, *rest = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", name, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for flag in (part for part in rest if part.startswith("--")):
        assert flag in done.stdout, flag


def test_every_recipe_is_in_the_readme():
    for name in recipe_names():
        assert f"`{name}`" in README


def test_the_tree_in_the_readme_is_the_tree():
    (tree,) = (block for block in blocks(README) if block.startswith("components/ "))
    named = set(re.findall(r"^\s*((?:[\w.]+/ ?)+|[\w/]+\.md)", tree, flags=re.MULTILINE))
    rooms = {room.strip("/") for group in named for room in group.split()}
    for room in rooms:
        assert (ROOT / room).exists() or (ROOT / "components" / room).exists(), room
    packages = {path.parent.name for path in (ROOT / "components").glob("*/__init__.py")}
    assert packages <= rooms


def test_every_room_has_a_readme_with_its_parameters():
    for name in step_names():
        text = (ROOT / "components" / name / "README.md").read_text()
        assert "| parameter | type | default | meaning |" in text, name


def test_no_other_distribution_brings_packages_of_our_names():
    """An editable install of ours is not listed; any other would be."""
    for package in ("components", "pipelines"):
        assert set(packages_distributions().get(package, ())) <= {"codekiln"}


def test_nothing_tracked_names_a_registry_or_a_path_of_one_machine():
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    forbidden = ("://py" + "pi.org", "files.python" + "hosted", f"{ROOT}/")
    for name in names:
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        for text in forbidden:
            assert text.encode() not in data, (name, text)


def test_the_tables_of_the_scale_page_are_those_of_its_program():
    text = (ROOT / "docs" / "scale.md").read_text()
    for table in (scale.page(), scale.breaking()):
        assert table in text, "run python -m benchmarks.scale --write"
