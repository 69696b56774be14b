"""What images are made of is pinned, linted, and refused where a release could not be repeated."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from components.stage.images import image_families, image_name, image_tag

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "images"
CONTAINERFILE = (IMAGES / "Containerfile").read_text()
LOCKS = ("build", "data", "train-cpu", "train-gpu", "train-tpu")
EXTRAS = {
    "data": ("data", "kfp"),
    "train-cpu": ("torch", "kfp"),
    "train-gpu": ("torch", "kfp"),
    "train-tpu": ("tpu", "kfp"),
}
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {normal(name): version for name, version in PIN.findall(text)}


def hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    beside = Path(sys.executable).parent / "hadolint"
    tool = str(beside) if beside.exists() else shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed")
    return subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)


def test_the_containerfile_is_clean() -> None:
    done = hadolint(IMAGES / "Containerfile")
    assert done.returncode == 0, done.stdout


def test_a_fault_of_a_containerfile_is_found(tmp_path: Path) -> None:
    path = tmp_path / "Containerfile"
    path.write_text("FROM python:latest\nRUN pip install numpy\n")
    assert {"DL3007", "DL3013"} <= set(re.findall(r"DL\d+", hadolint(path).stdout))


def test_targets_are_the_families_of_images() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert set(image_families()) <= set(stages)
    assert {f for f in image_families() if "/" in image_name(f)} == set(image_families())


def test_the_base_has_no_default_and_nothing_else_is_fetched() -> None:
    assert "\nARG BASE_IMAGE\n" in CONTAINERFILE
    bases = set(re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE))
    stages = set(re.findall(r" AS (\S+)$", CONTAINERFILE, re.MULTILINE))
    assert bases - stages == {"${BASE_IMAGE}", "scratch"}
    assert "://" not in re.sub(r"^#.*$", "", CONTAINERFILE, flags=re.MULTILINE)
    assert not re.search(r"^(ADD|ONBUILD) ", CONTAINERFILE, re.MULTILINE)


def test_every_target_ends_unprivileged() -> None:
    stages = re.split(r"^FROM ", CONTAINERFILE, flags=re.MULTILINE)[1:]
    users = {}
    for stage in stages:
        base, _, name = stage.splitlines()[0].partition(" AS ")
        found = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)
        users[name] = found[-1] if found else users.get(base, "root")
    assert {users[family] for family in image_families()} == {"65532:65532"}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_every_package_and_the_versions_of_the_environment(name: str) -> None:
    text = (IMAGES / "locks" / f"{name}.txt").read_text()
    constraints = pins((ROOT / "constraints.txt").read_text())
    locked = pins(text)
    assert len(locked) >= 5
    for block in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
    wrong = {n: v for n, v in locked.items() if constraints.get(n, v) != v}
    assert wrong == {}, "run `make locks`"


@pytest.mark.parametrize("family", EXTRAS)
def test_a_lock_holds_what_the_family_depends_on(family: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS[family]:
        wanted += project["optional-dependencies"][extra]
    names = {normal(re.split(r"[^A-Za-z0-9._-]", text)[0]) for text in wanted}
    if family == "train-cpu":
        names.remove("torch")  # from an index of its own: the Containerfile pins it
    locked = pins((IMAGES / "locks" / f"{family}.txt").read_text())
    assert names <= set(locked), "run `make locks`"


def test_the_processors_image_has_no_cuda_and_the_same_torch() -> None:
    cpu, gpu = (pins((IMAGES / "locks" / f"train-{n}.txt").read_text()) for n in ("cpu", "gpu"))
    assert not [n for n in cpu if n.startswith(("nvidia", "cuda", "triton", "torch"))]
    assert f"torch=={gpu['torch']}" in CONTAINERFILE
    assert set(cpu) <= set(gpu)


def test_the_context_of_a_build_is_named_entry_by_entry() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if line and line[0] != "#") == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = set(
        re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    )
    for source in " ".join(copied).split():
        assert source.split("/")[0] in let_in, source
    assert not let_in & {"tests", "docs", "k8s", ".git", ".venv", "runs"}


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_posix_shell_and_stop_at_an_error(path: Path) -> None:
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    assert "\nset -eu\n" in path.read_text()


def run_script(name: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run(
        ["sh", str(IMAGES / name), "data"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("base", ["", "python:3.12-slim", "python@sha256"])
def test_a_release_needs_the_digest_of_its_base(base: str) -> None:
    done = run_script("build.sh", RELEASE="1", BASE_IMAGE=base)
    assert done.returncode == 2
    assert f"expected BASE_IMAGE with a digest (name@sha256:...) for a release, got '{base}'" in (
        done.stderr
    )


def test_a_release_needs_a_tree_whose_state_git_says(tmp_path: Path) -> None:
    """As root in another user's checkout git says nothing and fails."""
    (tmp_path / "git").write_text("#!/bin/sh\nexit 128\n")
    (tmp_path / "git").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    base = "localhost/base@sha256:" + "0" * 64
    assert run_script("build.sh", RELEASE="1", BASE_IMAGE=base, PATH=path).returncode == 128


def test_nothing_is_pushed_to_a_placeholder() -> None:
    done = run_script("push.sh")
    assert done.returncode == 2
    assert "expected your registry in images/locations.json" in done.stderr


def test_the_tag_changes_with_code_and_with_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.stage.images.ROOT", tmp_path)
    tags = set()
    for name in ("components/a.py", "pipelines/b.py", "images/locks/data.txt", "images/README.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        image_tag.cache_clear()
        tags.add(image_tag())
    image_tag.cache_clear()
    assert len(tags) == 3, "what is not in an image changed its tag, or what is did not"
