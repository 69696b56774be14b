"""The image `sandbox` holds interpreter and worker, and contains the whole abuse list."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.problems.benchmark import load_benchmark
from components.sandbox.batches import PROGRAMS_FILE, cut_batches, read_log
from components.sandbox.config import SandboxConfig
from components.sandbox.jobs import PROGRAMS_FOLDER, Place, batch_job
from components.sandbox.programs import program_of
from components.sandbox.supervision import Program
from tests.abuse import ABUSES, GOOD
from tests.image_builds import image, run, runs, size_bytes
from tests.k8s_objects import parse_quantity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_BYTES = 60_000_000
WORKER = ("python", "-P", "-s", "-S", "-B", "-m", "components.sandbox.worker")
LIMITS = ("--cpu-s", "1", "--wall-s", "6", "--memory-bytes", str(2**29))
KNOWN_IN_GVISOR = {"read /etc/passwd", "walk the processes", "leave a file"}
"""Landlock is not in gVisor: within reach are the files and processes of the pod's own machine."""


@pytest.fixture(scope="module")
def sandbox() -> str:
    name = image("sandbox")
    runs("runc", name)
    return name


@pytest.mark.parametrize("runtime", ["runc", "runsc"])
def test_no_program_of_the_abuse_list_gets_out(sandbox: str, runtime: str) -> None:
    runs(runtime, sandbox)
    loot = "/tmp/loot"
    programs = [abuse.program(loot) for abuse in ABUSES]
    lines = [
        json.dumps({"id": n, **dataclasses.asdict(program)})
        for n, program in enumerate(each for bad in programs for each in (bad, GOOD))
    ]
    done = run(
        sandbox,
        [*WORKER, "--floor", "L2", *LIMITS],
        runtime=runtime,
        given="".join(line + "\n" for line in lines).encode(),
    )
    first, *answers = map(json.loads, done.stdout.splitlines())
    assert len(answers) == 2 * len(ABUSES), done.stderr[-1000:]
    assert first["level"] == ("L4" if runtime == "runsc" else first["level"]) >= "L2"
    assert [a["verdict"] for a in answers[1::2]] == ["passed"] * len(ABUSES), "one harmed the next"
    for abuse, answer in zip(ABUSES, answers[::2], strict=True):
        assert answer["verdict"] != "passed", abuse.name
        if runtime == "runc" or abuse.name not in KNOWN_IN_GVISOR:
            assert answer["verdict"] in abuse.verdicts, (abuse.name, answer)


def test_a_job_of_programs_runs_under_gvisor_as_the_cluster_starts_it(
    sandbox: str, tmp_path: Path
) -> None:
    """The command, environment, limits and files of the Job, at the level that it needs."""
    runs("runsc", sandbox)
    problems = load_benchmark("humaneval").problems[:10]
    programs = [program_of(problem, problem.canonical_solution) for problem in problems]
    programs += [Program(p.prompt, "", p.test, p.entry_point) for p in programs]
    (batch,), _ = cut_batches("0" * 32, programs)
    job = batch_job(batch, SandboxConfig(), Place(namespace="codekiln-sandbox", image=sandbox))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (tmp_path / PROGRAMS_FILE).write_bytes(batch.data)
    (tmp_path / PROGRAMS_FILE).chmod(0o444)
    tmp_path.chmod(0o755)
    user = pod["securityContext"]
    done = run(
        sandbox,
        container["command"],
        runtime="runsc",
        memory=str(parse_quantity(container["resources"]["limits"]["memory"])),
        options=[
            *("--user", f"{user['runAsUser']}:{user['runAsGroup']}"),
            *("--workdir", container["workingDir"]),
            *("--volume", f"{tmp_path}:{PROGRAMS_FOLDER}:ro"),
            *(f"--env={e['name']}={e['value']}" for e in container["env"]),
        ],
    )
    log = read_log(done.stdout, len(programs))
    assert (log.level, log.missing, log.refusal) == ("L4", (), ""), done.stderr[-1000:]
    verdicts = [verdict.verdict for verdict in log.verdicts if verdict is not None]
    assert verdicts == ["passed"] * 10 + ["failed"] * 10


def test_nothing_but_interpreter_and_worker_is_there(sandbox: str) -> None:
    script = (
        "import os, sys\n"
        "print(sorted(n for f in ('/bin', '/usr/bin', '/usr/local/bin', '/sbin', '/usr/sbin')"
        " if os.path.isdir(f) for n in os.listdir(f)))\n"
        "print(sorted(os.path.relpath(os.path.join(d, n), '/opt/codekiln')"
        " for d, _, ns in os.walk('/opt/codekiln') for n in ns if n.endswith('.py')))\n"
        "print([p for p in sys.path if 'packages' in p and os.path.exists(p)])\n"
    )
    done = run(sandbox, ["python", "-P", "-B", "-c", script])
    programs, code, rest = done.stdout.decode().splitlines()
    assert {p for p in json.loads(programs.replace("'", '"')) if "python" not in p} == {
        "sh",
        "gzip",
    }
    files = json.loads(code.replace("'", '"'))
    assert all(
        path.startswith("components/sandbox/worker/")
        or path in ("components/__init__.py", "components/sandbox/__init__.py")
        for path in files
    )
    assert len(files) > 8
    assert rest == "[]"


def test_the_memory_limit_kills_the_pod(sandbox: str) -> None:
    done = run(sandbox, ["python", "-c", "x = b'x' * (400 * 2**20)"], memory="128m")
    assert done.returncode == 137


def test_the_image_is_small(
    sandbox: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    size = size_bytes(sandbox)
    record_testsuite_property("bytes of the image sandbox", size)
    assert 10**7 < size < MAX_BYTES
