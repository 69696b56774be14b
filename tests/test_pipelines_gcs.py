"""The whole graph with its data in a bucket: the digests of a disk, reuse, errors in one line."""

import json
import os
import subprocess
import sys

import pytest

from tests.gcs_double import Double, Fault
from tests.test_pipelines_run import MICRO, digests

SMALL = {**MICRO, "training.max-steps": "4"}


def run_tiny(folder, data_root, host, *flags):
    given = [part for name, value in SMALL.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "pipelines.cli", "run", "tiny", "--runs", str(folder / "runs")]
    command += ["--data-root", data_root, "--threads", "1", "--workers", "2", *given, *flags]
    environment = {**os.environ, "CODEKILN_SCRATCH": str(folder / "scratch")}
    if host:
        environment["STORAGE_EMULATOR_HOST"] = host
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def record_of(folder, done):
    assert done.returncode == 0, done.stderr[-3000:]
    records = (folder / "runs").glob("*/run.json")
    return json.loads(max(records, key=lambda path: path.stat().st_mtime_ns).read_text())


@pytest.mark.slow
def test_a_run_in_a_bucket_has_the_digests_of_one_on_a_disk_and_is_reused(tmp_path):
    local = record_of(tmp_path, run_tiny(tmp_path, str(tmp_path / "data"), ""))
    with Double() as store:
        store.faults += [Fault(method, "", 503) for method in ("GET", "POST")]
        made = record_of(tmp_path, run_tiny(tmp_path, "gs://bucket/root", store.host))
        again = record_of(tmp_path, run_tiny(tmp_path, "gs://bucket/root", store.host))
        names = set(store.buckets["bucket"])
    assert digests(made) == digests(local)
    assert [step["reused"] for step in again["steps"]] == [True] * len(made["steps"])
    assert {f"root/runs/{record['id']}.json" for record in (made, again)} <= names
    assert not [name for name in names if name.endswith(".lease")]
    assert not list((tmp_path / "scratch" / "unfinished").rglob("*.*"))


def test_a_bucket_that_is_not_there_ends_a_run_at_once_in_one_line(tmp_path):
    with Double() as store:
        done = run_tiny(tmp_path, "gs://nowhere/root", store.host)
    assert done.returncode == 1
    assert "'gs://nowhere', found no such bucket" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
