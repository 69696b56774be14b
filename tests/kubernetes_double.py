"""A stub of the Kubernetes API server, with the real commands behind its Jobs as processes.

It keeps objects with uids and versions, refuses a taken name, serves watches, merges patches, and
runs the pods of Jobs (Indexed ones, and those with a ConfigMap) and of TrainJobs. A pod gets its
command, its variables, its ConfigMaps and an empty scratch folder, and shares nothing else with
another one but what the data root holds. What this machine lacks (gVisor, a network that does not
answer) is taken out of the sandbox's command line.
"""

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.kubernetes_answers import Handler

ROOT = Path(__file__).resolve().parents[1]
MAX_RESTARTS, RESTARTED = 20, (134, 143)
REPLACED = (
    (" --prove-no-network", ""),
    ("--floor L4", "--floor L2"),
    ("python ", f"{sys.executable} "),
)


@dataclass
class Stub:
    """The server's state, and the faults that it is asked for: each number is counted down."""

    folder: Path
    lose_pods: int = 0
    """Pods whose node goes: killed while they work, and gone with their logs."""

    lose_map_pods: int = 0
    lose_chunk_pods: int = 0
    lose_train_pods: int = 0
    """The same of the pods of one kind: of Indexed Jobs, of Jobs with programs, of TrainJobs."""

    stall_train_pods: int = 0
    """Pods of a TrainJob that stand still until somebody tries to create it again."""

    kill_pods: int = 0
    """Pods that the system kills for memory: counted against their budget."""

    tear_logs: int = 0
    """Logs that end in the middle of a line."""

    tear_chunk_logs: int = 0
    """The same of Jobs with programs alone."""

    gone_watches: int = 0
    """Watches before which history is dropped: they, and further ones of the same version, end with
    410 Gone until their watcher lists anew."""

    drop_watches: int = 0
    """Watches whose connection drops after an event."""

    refuse_requests: int = 0
    """Requests answered with 503, 429 or not at all."""

    lose_answers: int = 0
    """Jobs that are created while the answer is lost: who asks again finds the name taken."""

    silent_pods: set = field(default_factory=set)
    """Pods whose node does not answer."""

    collect_s: float = 0.0
    """What the garbage collector takes; 0 for nothing: what is deleted is gone with the answer."""

    events: list = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)
    """Requests by method and kind; `created KIND`; `conflict KIND`; `pods`; `in_flight`, the most
    Jobs at once; each fault that came to pass, by its name."""

    def __post_init__(self):
        self.changed = threading.Condition(threading.RLock())
        self.objects = {}
        self.shown = {}  # as watchers saw them last
        self.logs = {}
        self.version = self.oldest = 100
        self.processes = {}
        self.stalled = {}
        self.chance = random.Random(0)

    def __enter__(self):
        stub = self

        class OwnHandler(Handler):
            state = stub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "stub",
                    "clusters": [
                        {
                            "name": "stub",
                            "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"},
                        }
                    ],
                    "users": [{"name": "stub", "user": {"token": "secret-of-the-stub"}}],
                    "contexts": [
                        {
                            "name": "stub",
                            "context": {"cluster": "stub", "user": "stub", "namespace": "kiln"},
                        }
                    ],
                }
            )
        )
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        for process in [*self.processes.values()]:
            process.kill()

    def take(self, fault):
        """Whether a fault is due."""
        with self.changed:
            left = getattr(self, fault)
            setattr(self, fault, max(0, left - 1))
            self.seen[fault] += left > 0
            return left > 0

    def forget(self):
        """Drop history: no version that anybody knows can be watched from."""
        with self.changed:
            self.version += 1
            self.oldest = self.version

    def store(self, kind, value, event):
        with self.changed:
            self.version += 1
            value["metadata"]["resourceVersion"] = str(self.version)
            key = (kind, value["metadata"]["namespace"], value["metadata"]["name"])
            before = self.shown.pop(key, None)
            if event == "DELETED":
                self.objects.pop(key, None)
            else:
                self.objects[key] = value
                self.shown[key] = json.loads(json.dumps(value))
            shown = json.loads(json.dumps(value))
            self.events.append((self.version, kind, event, shown, before))
            running = sum(
                1 for (one, *_), held in self.objects.items() if one == "Job" and not ended(held)
            )
            self.seen["in_flight"] = max(self.seen["in_flight"], running)
            self.changed.notify_all()

    def create(self, kind, value):
        metadata = value["metadata"]
        key = (kind, metadata["namespace"], metadata["name"])
        with self.changed:
            if key in self.objects:
                self.seen[f"conflict {kind}"] += 1
                if process := self.stalled.pop(key[1:], None):
                    process.send_signal(signal.SIGCONT)
                return None
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = now_text()
            if kind != "ConfigMap":
                value.setdefault("status", {})
            self.store(kind, value, "ADDED")
            self.seen[f"created {kind}"] += 1
        if kind in ("Job", "TrainJob"):
            threading.Thread(target=self.run_object, args=(kind, value), daemon=True).start()
        return value

    def delete(self, key, foreground=True):
        """Delete an object and its pods; the object as it is while they go, None where it is gone.

        In the foreground it stays, marked, until its pods are gone (`collect_s`).
        """
        with self.changed:
            value = self.objects.get(key)
            if value is None:
                return None
            if not foreground:
                self.collect(key, value["metadata"]["uid"])
                return None
            if "deletionTimestamp" not in value["metadata"]:
                mark = {
                    "deletionTimestamp": now_text(),
                    "deletionGracePeriodSeconds": 0,
                    "finalizers": ["foregroundDeletion"],
                }
                value = {**value, "metadata": {**value["metadata"], **mark}}
                self.store(key[0], value, "MODIFIED")
                if self.collect_s:
                    threading.Timer(self.collect_s, self.collect, (key, uid_of(value))).start()
                else:
                    self.collect(key, uid_of(value))
            return value

    def collect(self, key, uid):
        """What the garbage collector does: the pods, then their owner."""
        with self.changed:
            value = self.objects.get(key)
            if value is None or uid_of(value) != uid:
                return
            pods = [
                held
                for (kind, *_), held in self.objects.items()
                if kind == "Pod" and owner_of(held) == uid
            ]
            for pod in pods:
                name = pod["metadata"]["name"]
                if process := self.processes.pop(name, None):
                    process.kill()
                self.store("Pod", pod, "DELETED")
                self.logs.pop(name, None)
            self.store(key[0], {**value, "metadata": {**value["metadata"]}}, "DELETED")

    def alive(self, kind, value):
        held = self.objects.get((kind, value["metadata"]["namespace"], value["metadata"]["name"]))
        return held is not None and held["metadata"]["uid"] == value["metadata"]["uid"]

    def end(self, kind, value, succeeded, reason=""):
        with self.changed:
            if not self.alive(kind, value):
                return
            condition = {
                "type": "Complete" if succeeded else "Failed",
                "status": "True",
                "reason": reason or "Completed",
                "message": "as the stub saw it",
            }
            held = self.objects[kind, value["metadata"]["namespace"], value["metadata"]["name"]]
            self.store(kind, {**held, "status": {"conditions": [condition]}}, "MODIFIED")

    def run_object(self, kind, value):
        if kind == "TrainJob":
            return self.run_train_job(value)
        spec = value["spec"]
        indexed = spec.get("completionMode") == "Indexed"
        budget = spec["backoffLimitPerIndex"] if indexed else spec["backoffLimit"]
        results = {}

        def run_index(index):
            results[index] = self.run_budget(value, index if indexed else None, budget)

        threads = [
            threading.Thread(target=run_index, args=(index,), daemon=True)
            for index in range(spec["completions"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = all(results.get(index) == 0 for index in range(spec["completions"]))
        return self.end(
            "Job", value, whole, "" if whole else "FailedIndexes" if indexed else "BackoffLimit"
        )

    def run_budget(self, job, index, budget):
        """Start one index again until it ends well or its budget is spent; the last exit code."""
        failures = 0
        final = {
            code
            for rule in job["spec"].get("podFailurePolicy", {}).get("rules", ())
            for code in rule.get("onExitCodes", {}).get("values", ())
        }
        while self.alive("Job", job):
            code = self.run_pod("Job", job, job["spec"]["template"], index)
            if code == 0 or code in final:
                return code
            if code is not None:  # a lost pod costs nothing
                failures += 1
            if failures > budget:
                return code
        return None

    def run_train_job(self, value):
        """Start a pod again that was lost or saved a checkpoint, as the runtimes of k8s/ say."""
        trainer, spec = value["spec"]["trainer"], {}
        if patches := value["spec"].get("runtimePatches"):
            runtime = patches[0]["trainingRuntimeSpec"]["template"]["spec"]
            spec = runtime["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        node = {**spec.get("containers", [{"name": "node"}])[0], **trainer}
        template = {"metadata": {}, "spec": {**spec, "containers": [node]}}
        for _ in range(1 + MAX_RESTARTS):
            code = self.run_pod("TrainJob", value, template, None)
            if code not in (None, *RESTARTED) or not self.alive("TrainJob", value):
                break
        return self.end("TrainJob", value, code == 0, "JobSetFailed" * (code != 0))

    def run_pod(self, kind, owner, template, index):
        """Run a pod's command to its end; the exit code, None where its node was lost."""
        job = owner["metadata"]["name"]
        label = (
            "batch.kubernetes.io/job-name" if kind == "Job" else "jobset.sigs.k8s.io/jobset-name"
        )
        with self.changed:
            self.seen["pods"] += 1
            name = f"{job}-{self.seen['pods']}"
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": owner["metadata"]["namespace"],
                "labels": {**template["metadata"].get("labels", {}), label: job},
                "ownerReferences": [
                    {"kind": kind, "name": job, "uid": owner["metadata"]["uid"], "controller": True}
                ],
            },
            "status": {"phase": "Running"},
        }
        self.create("Pod", pod)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            process = self.start(template["spec"], Path(folder), name, index, pod)
            work = "train" if kind == "TrainJob" else "chunk" if index is None else "map"
            lost, killed = self.take(f"lose_{work}_pods") or self.take("lose_pods"), False
            if work == "train" and not lost and self.take("stall_train_pods"):
                process.send_signal(signal.SIGSTOP)
                with self.changed:
                    self.stalled[owner["metadata"]["namespace"], job] = process
            if lost or (killed := self.take("kill_pods")):
                time.sleep(self.chance.uniform(0.05, 0.5))
                process.send_signal(signal.SIGKILL)
            process.wait()
            log = Path(folder, "log").read_bytes()
        code = process.returncode
        with self.changed:
            self.processes.pop(name, None)
            if lost:
                self.store("Pod", pod, "DELETED")
                return None
            if (work == "chunk" and self.take("tear_chunk_logs")) or self.take("tear_logs"):
                log = log[: len(log) // 2]
            self.logs[name] = log
            if ("Pod", pod["metadata"]["namespace"], name) in self.objects:
                phase = "Succeeded" if code == 0 else "Failed"
                self.store("Pod", {**pod, "status": {"phase": phase}}, "MODIFIED")
        return 137 if killed else code

    def start(self, spec, folder, name, index, pod):
        container = spec["containers"][0]
        mounts = {one["name"]: one["mountPath"] for one in container.get("volumeMounts", ())}
        paths = {mounts["scratch"]: str(folder / "scratch")} if "scratch" in mounts else {}
        (folder / "scratch").mkdir()
        for volume in spec.get("volumes", ()):
            if "configMap" in volume:
                held = self.objects[
                    "ConfigMap", pod["metadata"]["namespace"], volume["configMap"]["name"]
                ]
                target = folder / "mounted"
                target.mkdir()
                for file, data in held.get("binaryData", {}).items():
                    (target / file).write_bytes(base64.b64decode(data))
                for file, text in held.get("data", {}).items():
                    (target / file).write_text(text)
                paths = {mounts[volume["name"]]: str(target), **paths}
        command = [
            translate(part, paths) for part in [*container["command"], *container.get("args", ())]
        ]
        if command[0] == "python":
            command[0] = sys.executable
        given = {one["name"]: translate(one["value"], paths) for one in container.get("env", ())}
        environment = {**os.environ, **given, "PYTHONPATH": str(ROOT)}
        environment.pop("KUBECONFIG", None)
        if index is not None:
            environment["JOB_COMPLETION_INDEX"] = str(index)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=folder / "scratch", stdout=log, stderr=log
            )
        self.processes[name] = process
        return process


def translate(text, paths):
    """A container's text on this machine."""
    if paths:
        known = "|".join(re.escape(old) for old in paths)
        text = re.sub(rf"(?<![\w/])({known})(?=/|$|\s)", lambda match: paths[match[1]], text)
    for old, new in REPLACED:
        text = text.replace(old, new) if old in text and " " in text else text
    return text


def now_text():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid_of(value):
    return value["metadata"]["uid"]


def owner_of(value):
    return value["metadata"].get("ownerReferences", [{}])[0].get("uid")


def ended(value):
    return bool(value.get("status", {}).get("conditions"))
