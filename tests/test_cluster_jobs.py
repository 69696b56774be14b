"""Maps, chunks and training in pods of a stub give the digests of one machine, whatever fails."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.storage import open_storage
from components.cluster import client as client_module
from components.cluster import indexed_jobs, launching, watching
from components.cluster.accelerators import machines_of
from components.cluster.chunk_jobs import IN_FLIGHT, ChunkJobs
from components.cluster.client import ClusterClient
from components.cluster.indexed_jobs import IndexedJobLauncher, index_job
from components.cluster.place import Place
from components.cluster.train_jobs import Placement, Training, train_job
from components.cluster.training import TrainJobLauncher
from components.stage.engine import SharedStep
from components.stage.execution import Execution
from components.stage.indexed import IndexedEngine
from tests.kubernetes_double import Stub

KEY = "0123456789abcdef" * 2
FAULTS = {
    "lose_pods": 2,
    "kill_pods": 1,
    "tear_logs": 3,
    "gone_watches": 2,
    "drop_watches": 2,
    "refuse_requests": 5,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client_module, "PAUSES_S", (0.01, 0.02, 0.05, 0.1, 0.1))
    monkeypatch.setattr(watching, "PAUSE_S", 0.05)
    monkeypatch.setattr(launching, "POLL_S", 0.02)
    monkeypatch.setattr(indexed_jobs, "POLL_S", 0.2)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    folder = tmp_path / "stub"
    folder.mkdir()
    with Stub(folder) as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        monkeypatch.setenv("CODEKILN_NAMESPACE", "kiln")
        monkeypatch.setenv("CODEKILN_SANDBOX_NAMESPACE", "kiln-sandbox")
        monkeypatch.setenv("CODEKILN_DATA_CLAIM", "shared")
        yield running


def give(stub, **faults):
    for name, number in {**FAULTS, **faults}.items():
        setattr(stub, name, number)


def left(stub, *kinds):
    return [key for key in stub.objects if key[0] in kinds]


@pytest.fixture
def engine(stub, tmp_path):
    def make(workers):
        client = ClusterClient.connect()
        place = Place.of(Execution(queue="kiln", spot=True), "kiln", "registry.invalid/data:1")
        plans = open_storage(str(tmp_path / "plans"))
        return IndexedEngine(workers, 1, plans, IndexedJobLauncher(client, place, "step", KEY))

    return make


def test_a_map_in_pods_gives_the_results_in_order_through_every_fault(engine, stub, monkeypatch):
    give(stub)
    # Before a pod has done its work: else nobody needs it again.
    monkeypatch.setattr(stub.chance, "uniform", lambda least, _: least)
    with engine(3) as running:
        assert list(running.map(abs, range(0, -12, -1), "numbers")) == list(range(12))
        assert list(running.map(abs, [-5], "again")) == [5]
    assert stub.seen["pods"] >= 3 + 1 + 3, "lost and killed pods were started again"
    assert left(stub, "Job", "Pod") == []
    assert (stub.lose_pods, stub.kill_pods, stub.gone_watches) == (0, 0, 0)


def refuse(number):
    raise ConfigError(f"expected no {number}")


def test_the_error_of_the_work_ends_a_map_and_is_not_tried_again(engine, stub):
    work = functools.partial(int, base="no base")
    with engine(2) as running, pytest.raises(TypeError):
        list(running.map(work, ["1", "2"], "numbers"))
    assert stub.seen["pods"] == 2


def test_pods_that_die_again_and_again_end_a_map_in_one_line(engine, stub):
    stub.kill_pods = 100
    with engine(1) as running, pytest.raises(StepFailedError) as caught:
        list(running.map(time.sleep, [60], "sleeps"))
    assert "Job kiln/step-0123456789abcdef-0 failed: FailedIndexes" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stub.seen["pods"] == 4, "backoffLimitPerIndex"


def test_an_index_job_says_where_it_runs_and_for_how_long():
    execution = Execution(
        data_root="gs://b/root",
        queue="kiln",
        spot=True,
        max_hours=2.5,
        node_selector="pool=big",
        tolerations="a=b:NoExecute",
    )
    job = index_job("n", KEY, "gs://b/plan", 4, Place.of(execution, "kiln", "i:1"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "kiln"
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 4)
    assert (spec["activeDeadlineSeconds"], spec["backoffLimitPerIndex"]) == (9000, 3)
    assert pod["nodeSelector"] == {"pool": "big", "cloud.google.com/gke-spot": "true"}
    assert [one["key"] for one in pod["tolerations"]] == ["a", "cloud.google.com/gke-spot"]
    actions = [rule["action"] for rule in spec["podFailurePolicy"]["rules"]]
    assert actions == ["Ignore", "FailIndex"]
    container = pod["containers"][0]
    assert container["command"][-2:] == ["components.stage.map_index", "gs://b/plan"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "persistentVolumeClaim" not in json.dumps(job), "a bucket needs none"
    assert "queue-name" not in json.dumps(
        index_job("n", KEY, "p", 1, Place(namespace="k", image="i"))
    )


def mounted(pod):
    """Where a pod mounts which claim."""
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    (container,) = pod["containers"]
    return {
        mount["mountPath"]: claims[mount["name"]]
        for mount in container["volumeMounts"]
        if mount["name"] in claims
    }


def test_a_data_root_that_is_a_folder_is_the_same_folder_in_every_pod(tmp_path, monkeypatch):
    """A map and a training mount one claim, whose files the group of both may write."""
    monkeypatch.setenv("CODEKILN_DATA_CLAIM", "shared")
    monkeypatch.chdir(tmp_path)
    for root in ("data", str(tmp_path / "data"), f"file://{tmp_path}/data"):
        place = Place.of(Execution(data_root=root), "kiln", "i:1")
        index = index_job("n", KEY, "p", 4, place)["spec"]["template"]["spec"]
        placement = Placement(place=place, machines=machines_of("", threads=1))
        training = Training(key=KEY, config={}, inputs={}, data_root=root)
        patch = train_job(training, placement)["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]
        (job,) = patch["template"]["spec"]["replicatedJobs"]
        for pod in (index, job["template"]["spec"]["template"]["spec"]):
            assert mounted(pod) == {str(tmp_path / "data"): "shared"}
            assert pod["securityContext"]["fsGroup"] == 65532


def test_a_folder_without_a_claim_is_refused_before_a_map_or_a_training_is_launched(
    stub, documents, make_step, tmp_path, monkeypatch
):
    monkeypatch.delenv("CODEKILN_DATA_CLAIM")
    text = f"the folder '{tmp_path}/other': name the claim that is mounted there in CODEKILN_DATA"
    execution = {"engine": "cluster", "data_root": str(tmp_path / "other")}
    with pytest.raises(ConfigError, match=text):
        make_step("clean", {"documents": documents}, **execution)
    with pytest.raises(ConfigError, match=text):
        TrainJobLauncher(Execution(**execution)).launch(shared_step(tmp_path))
    assert [what for what in stub.seen if what.startswith("POST")] == []
    assert not [path for path in (tmp_path / "other" / ".plans").rglob("*") if path.is_file()]


def chunk(number, script):
    metadata = {"name": f"c-{number}", "namespace": "kiln", "labels": {"codekiln/key": "k"}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": 60,
            "template": {
                "metadata": {},
                "spec": {"containers": [{"name": "m", "command": ["sh", "-c", script]}]},
            },
        },
    }
    return config_map, job


def test_at_most_32_chunks_are_in_flight_and_nothing_is_left(stub):
    client = ClusterClient.connect()
    logs = {}
    with ChunkJobs(client, "kiln", "codekiln/key=k") as jobs:

        def run(number):
            logs[number] = jobs.run(
                *chunk(number, f"sleep 0.2; echo {number}; exit {number % 2}"), 99
            )

        threads = [threading.Thread(target=run, args=(n,)) for n in range(IN_FLIGHT + 8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert logs == {n: f"{n}\n".encode() for n in range(IN_FLIGHT + 8)}
    assert stub.seen["in_flight"] <= IN_FLIGHT
    assert left(stub, "Job", "ConfigMap", "Pod") == []


SAMPLES = [
    ("HumanEval/0", "    return None\n"),
    ("HumanEval/1", "    raise ValueError\n"),
    ("HumanEval/2", "    return number % 1.0\n"),
    ("HumanEval/2", "    return number % 1.0\n"),
]


@pytest.fixture
def samples(tmp_path, make_artifact_of_rows):
    rows = [
        {
            "benchmark": "humaneval",
            "task_id": task,
            "temperature": 0.2,
            "sample": n,
            "completion": text,
        }
        for n, (task, text) in enumerate(SAMPLES)
    ]
    return make_artifact_of_rows("samples", rows)


@pytest.fixture
def make_artifact_of_rows(tmp_path):
    from components.artifacts.artifact import ArtifactWriter
    from components.artifacts.manifest import Manifest, digest_of_files
    from components.artifacts.rows import draft_rows
    from components.artifacts.tally import Tally

    def make(kind, rows):
        storage = open_storage(str(tmp_path / kind))
        writer = ArtifactWriter(storage)
        writer.commit(0, [draft_rows(kind, rows)], Tally())
        files = tuple(writer.committed(0)[0])
        manifest = Manifest(
            step="test",
            version=1,
            kind=kind,
            key="0" * 32,
            digest=digest_of_files(files, frozenset()),
            files=files,
            tally=Tally(),
            measures={},
            config={},
            parents={},
            code_version="test",
        )
        storage.create("manifest.json", manifest.to_bytes())
        return Artifact.open(storage.uri)

    return make


def test_verdicts_of_chunk_jobs_are_those_of_this_machine_through_every_fault(
    stub, samples, make_step, tmp_path, monkeypatch
):
    monkeypatch.delenv("CODEKILN_DATA_CLAIM")  # programs see no data root
    inputs = {"samples": samples}
    config = {"benchmarks": ["humaneval"]}
    expected = make_step("sandbox", inputs, **config).artifact.manifest
    give(stub, kill_pods=2)
    made = make_step(
        "sandbox", inputs, engine="cluster", data_root=str(tmp_path / "other"), **config
    )
    assert made.artifact.manifest.digest == expected.digest
    assert made.artifact.manifest.tally.counts == expected.tally.counts
    assert left(stub, "Job", "ConfigMap", "Pod") == []
    assert stub.tear_logs == 0


SOURCE = "def area(radius):\n    '''Area of a disk.'''\n    return 3.14 * radius ** 2\n"


@pytest.fixture
def documents(documents_of, document):
    rows = [
        document(f"{n}.py", SOURCE.replace("area", f"area_{n}") * 5, repo=f"me/r{n}")
        for n in range(8)
    ]
    return documents_of(*([row] for row in rows))


def step_command(name, inputs, folder, **flags):
    command = [sys.executable, "-P", "-m", "pipelines.cli", name, "--output", str(folder / "out")]
    for key, artifact in inputs.items():
        command += [f"--{key}", artifact.storage.uri]
    return command + [part for key, value in flags.items() for part in (f"--{key}", str(value))]


def test_a_killed_launcher_that_is_started_again_ends_with_the_same_digest(
    stub, documents, make_step, tmp_path
):
    expected = make_step("clean", {"documents": documents}).artifact.manifest
    command = step_command(
        "clean",
        {"documents": documents},
        tmp_path,
        **{"data-root": tmp_path / "data2", "engine": "cluster", "workers": 2},
    )
    killed = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)
    while stub.seen["POST Job"] == 0:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left(stub, "Job"), "the Job outlives its launcher"
    assert not (tmp_path / "out" / "location.json").exists()
    stub.lose_pods, stub.gone_watches = 1, 1
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    location = json.loads((tmp_path / "out" / "location.json").read_text())
    assert location["digest"] == expected.digest
    assert left(stub, "Job", "Pod") == []
    assert not [path for path in (tmp_path / "data2" / ".plans").rglob("*") if path.is_file()]


SMALL = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "context_length": 16}
TRAINING = {"max_steps": 3, "batch_size": 2, "checkpoint_every_steps": 1, "model": SMALL}


@pytest.fixture
def shards(documents, make_step):
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=280).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    holdout = {"validation_fraction": 0.3, "validation_min_repositories": 1}
    return {"tokens": make_step("packing", inputs, **holdout).artifact, "tokenizer": tokenizer}


def training_command(shards, folder, **flags):
    (folder / "config.json").write_text(json.dumps(TRAINING))
    flags = {"data-root": folder / "data3", "threads": 1, "engine": "cluster", **flags}
    return step_command("training", shards, folder, config=folder / "config.json", **flags)


def test_training_in_a_train_job_gives_the_model_of_this_machine(stub, shards, make_step, tmp_path):
    """Its launcher is killed and started again, a pod's node goes, requests and watches fail."""
    expected = make_step("training", shards, **TRAINING).artifact.manifest
    command = training_command(shards, tmp_path)
    stub.lose_train_pods = 1
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while stub.seen["POST TrainJob"] == 0:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    stub.gone_watches, stub.drop_watches, stub.refuse_requests = 1, 1, 3
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = Artifact.open(str(tmp_path / "out")).manifest
    assert (made.key, made.digest) == (expected.key, expected.digest)
    assert stub.seen["created TrainJob"] == 1, "the second launcher adopted it"
    assert (stub.lose_train_pods, stub.seen["pods"]) == (0, 2)
    assert left(stub, "TrainJob", "ConfigMap", "Pod") == []


def test_a_training_that_fails_says_why_by_its_log_and_is_replaced_by_the_next(
    stub, shards, tmp_path
):
    command = training_command(shards, tmp_path)
    stub.kill_pods = 1
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert "TrainJob kiln/training-" in last
    assert "JobSetFailed" in last
    assert last.endswith("run again to go on")
    assert left(stub, "TrainJob"), "it is left for its log"
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert stub.seen["created TrainJob"] == 2


def test_a_training_whose_model_was_removed_is_made_anew(stub, tmp_path):
    """A TrainJob that ended stays where its launcher was killed; it proves nothing of the model."""
    launcher, step = TrainJobLauncher(Execution(data_root=str(tmp_path))), shared_step(tmp_path)
    why = "its last line: codekiln training: error: "
    with pytest.raises(StepFailedError, match=why):
        launcher.launch(step)
    held = stub.objects["TrainJob", "kiln", f"training-{KEY[:16]}"]
    ended = {"conditions": [{"type": "Complete", "status": "True"}]}
    stub.store("TrainJob", {**held, "status": ended}, "MODIFIED")
    with pytest.raises(StepFailedError, match=why):
        launcher.launch(step)
    assert stub.seen["created TrainJob"] == 2


def shared_step(folder, **config):
    """A training whose inputs are nowhere."""
    inputs = {"tokens": str(folder / "a"), "tokenizer": str(folder / "b")}
    storage = open_storage(str(folder / "training" / KEY))
    return SharedStep(name="training", key=KEY, config=config, inputs=inputs, storage=storage)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"accelerator": "tpu-v5e"}, "the backend 'jax' on chips of the image train-tpu"),
        ({"accelerator": "tpu-v5e", "accelerators": 12}, "one of 4, 8, 16"),
        ({"accelerator": "gpu-h100", "accelerators": 12}, "a multiple of 8 for gpu-h100, got 12"),
        ({"accelerators": 4}, "accelerators 0 where no accelerator is named, got 4"),
    ],
)
def test_machines_that_do_not_suit_a_training_are_refused_before_anything_is_launched(
    stub, tmp_path, options, text
):
    with pytest.raises(ConfigError, match=text):
        TrainJobLauncher(Execution(**options)).launch(shared_step(tmp_path, backend="torch"))
    assert stub.seen["POST TrainJob"] + stub.seen["POST ConfigMap"] == 0
