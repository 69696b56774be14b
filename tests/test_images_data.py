"""The image `data` is built and runs a step as a pod does: same digest as outside."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.stage.execution import LOCAL_ONLY, Execution
from components.stage.images import image_tag, image_uri
from pipelines.compiling import read_ir
from pipelines.recipes import find_recipe
from tests.conftest import DocumentsOf, MakeStep
from tests.github_repositories import MIT, commit_files
from tests.image_bills import check_bill
from tests.image_builds import image, manifest_of, run, runs, shared, size_bytes, volumes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_BYTES = 1_100_000_000
"""Arrow, LLVM and SciPy are half of it; what is more came in by mistake."""


@pytest.fixture(scope="module")
def data() -> str:
    name = image("data")
    runs("runc", name)
    return name


@pytest.fixture
def documents(document: Callable[..., dict[str, Any]], documents_of: DocumentsOf) -> Artifact:
    rows = [
        document(
            f"{n:02}.py", f"def f{n}(x):\n    return x + {n}\n" * 9 + f"# {n}\n", repo=f"r/{n % 3}"
        )
        for n in range(24)
    ]
    copies = [
        document("copy.py", rows[3]["content"] + "\n# a copy\n"),
        document("bad.py", "def f(:\n"),
    ]
    return documents_of(rows[:12], [*rows[12:], *copies])


def test_a_pod_is_unprivileged_on_a_root_that_cannot_be_written_to(data: str) -> None:
    script = (
        "id -u; id -g; touch /x 2>/dev/null || echo refused; touch /tmp/x && echo written;"
        "python -c 'import socket; socket.create_connection((\"1.1.1.1\", 443), 2)' 2>&1"
        " | tail -n 1"
    )
    done = run(data, ["sh", "-c", script])
    lines = done.stdout.decode().splitlines()
    assert lines[:4] == ["65532", "65532", "refused", "written"]
    assert "unreachable" in lines[4]


def test_the_image_holds_this_code_and_names_the_same_tag(data: str) -> None:
    script = "codekiln --version; python -m components.stage.images sandbox"
    done = run(data, ["sh", "-c", script])
    version, name = done.stdout.decode().split("\n")[:2]
    assert version.startswith("codekiln ")
    assert name == image_uri("sandbox")
    assert name.endswith(image_tag())


def test_steps_in_the_image_give_the_digests_of_outside(
    data: str, documents: Artifact, make_step: MakeStep, tmp_path: Path
) -> None:
    """`clean` and then `dedup`, whose compiled functions must find a place for their cache."""
    out, source = shared(tmp_path / "out"), Path(documents.storage.uri)
    cleaned = make_step("clean", {"documents": documents}, min_lines=2).artifact
    deduped = make_step("dedup", {"documents": cleaned}).artifact
    assert cleaned.manifest.tally.drops, "nothing for clean to do"
    assert deduped.manifest.tally.drops, "nothing for dedup to do"
    script = (
        "codekiln clean --documents /documents --output /out/clean --data-root /out/data"
        " --workers 2 --min-lines 2 && codekiln dedup --documents /out/clean --output /out/dedup"
        " --data-root /out/data --workers 2"
    )
    done = run(data, ["sh", "-c", script], options=volumes(documents=source, out=out))
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for name, artifact in (("clean", cleaned), ("dedup", deduped)):
        inside = manifest_of(out / name)
        assert (inside["digest"], inside["key"]) == (
            artifact.manifest.digest,
            artifact.manifest.key,
        )
    assert {path.stat().st_uid for path in out.rglob("*")} == {65532}


def executor_input(parameters: dict[str, Any]) -> dict[str, Any]:
    """What Kubeflow's launcher hands to the task `clean`, paths of this machine for its bucket."""

    def artifacts(place: str, kinds: dict[str, str]) -> dict[str, Any]:
        return {
            name: {
                "artifacts": [
                    {
                        "name": name,
                        "type": {"schemaTitle": f"system.{kind}", "schemaVersion": "0.0.1"},
                        "uri": place.format(name),
                        "metadata": {},
                    }
                ]
            }
            for name, kind in kinds.items()
        }

    outputs = {"output": "Dataset", "metrics": "Metrics", "summary": "Markdown"}
    return {
        "inputs": {
            "parameterValues": parameters,
            "artifacts": artifacts("/{}", {"documents": "Dataset"}),
        },
        "outputs": {
            "artifacts": artifacts("/out/{}", outputs),
            "outputFile": "/out/executor_output.json",
        },
    }


def test_the_command_of_the_compiled_pipeline_runs_in_the_image(
    data: str, documents: Artifact, make_step: MakeStep, tmp_path: Path
) -> None:
    out, source = shared(tmp_path / "out"), Path(documents.storage.uri)
    recipe = find_recipe("tiny").with_text("clean.min_lines", "2")
    execution = Execution(data_root="/out/data", workers=1, threads=1)
    ir = read_ir(recipe, execution)
    container = ir["deploymentSpec"]["executors"]["exec-clean"]["container"]
    given = executor_input(
        {
            "config": recipe.clean.to_json(),
            **{k: v for k, v in execution.to_json().items() if k not in LOCAL_ONLY},
        }
    )
    command = [
        part.replace("{{$}}", json.dumps(given))
        for part in [*container["command"], *container["args"]]
    ]
    done = run(data, command, options=volumes(documents=source, out=out))
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-2000:]
    expected = make_step("clean", {"documents": documents}, **recipe.clean.to_json()).artifact
    assert manifest_of(out / "output")["digest"] == expected.manifest.digest
    said = json.loads((out / "executor_output.json").read_text())
    metadata = said["artifacts"]["output"]["artifacts"][0]["metadata"]
    assert metadata["digest"] == expected.manifest.digest


def test_a_crawl_of_git_in_the_image_gives_the_digest_of_outside(
    data: str, make_step: MakeStep, tmp_path: Path
) -> None:
    """A bare repository of another user's, mounted; no network, nothing to write but /tmp."""
    out, repositories = shared(tmp_path / "out"), tmp_path / "repositories"
    files = {"LICENSE": MIT, "a.py": b"x = 1\n", "lib/b.py": b"y = 2\n", "c.bin": b"\0"}
    commit_files(files, repositories / "me" / "mine.git")
    expected = make_step("crawl", source="git", git={"repositories": [str(repositories)]}).artifact
    assert expected.manifest.tally.counts["files"] == 2
    script = " && ".join(
        f"codekiln crawl --source git --workers 1 --data-root /out/data-{name} --output /out/{name}"
        f" --git.repositories {place}"
        for name, place in (("folder", "/repositories"), ("url", "file:///repositories"))
    )
    done = run(data, ["sh", "-c", script], options=volumes(repositories=repositories, out=out))
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for name in ("folder", "url"):
        inside = manifest_of(out / name)
        assert (inside["digest"], inside["key"]) == (
            expected.manifest.digest,
            expected.manifest.key,
        )


def test_nothing_of_the_build_is_left(data: str) -> None:
    script = (
        "command -v pip gcc cc make ssh; ls -d /source /locks /wheels /opt/build /root/.cache"
        " /install.sh /etc/pip.conf 2>/dev/null;"
        "find / -xdev -type f -perm /6000 2>/dev/null;"
        "find /opt/codekiln -name '*.dist-info' | grep -E '/(pip|setuptools|wheel|hatchling)-';"
        "find /opt /tmp /root -name '*.whl' 2>/dev/null;"
        "find /var/lib/apt/lists /var/cache/apt /var/cache/debconf /var/log -type f 2>/dev/null;"
        "ls /etc/apt/apt.conf.d/99machine 2>/dev/null; true"
    )
    done = run(data, ["sh", "-c", script])
    left = done.stdout.decode().split()
    assert [path for path in left if path != "/etc/pip.conf"] == []
    if "/etc/pip.conf" in left:  # where a builder of this machine mounted its own
        assert run(data, ["cat", "/etc/pip.conf"]).stdout == b""


def test_the_memory_limit_kills_and_the_limit_of_processes_holds(data: str) -> None:
    hungry = run(data, ["python", "-c", "x = b'x' * (400 * 2**20)"], memory="128m")
    assert hungry.returncode == 137
    forks = (
        "import os, time\nn = 0\ntry:\n    while n < 64:\n"
        "        if os.fork() == 0: time.sleep(9)\n        n += 1\n"
        "except OSError: pass\nprint(n)\nos.killpg(0, 9)"
    )
    done = run(data, ["setsid", "--wait", "python", "-uc", forks], pids=16)
    assert 0 < int(done.stdout) < 16


def test_the_image_is_not_larger_than_it_must_be(
    data: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    size = size_bytes(data)
    record_testsuite_property("bytes of the image data", size)
    assert 10**8 < size < MAX_BYTES


def test_the_bill_of_materials_names_what_the_lock_names(data: str, tmp_path: Path) -> None:
    check_bill("data", data, tmp_path)
