"""Batches fit into what Kubernetes takes, Jobs are as restricted as they must be, logs are read."""

import base64
import gzip
import json
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.sandbox.batches import (
    MAX_PROGRAMS_BYTES,
    MAX_VERDICTS_BYTES,
    VERDICT_BYTES,
    config_map,
    cut_batches,
    read_log,
)
from components.sandbox.config import SandboxConfig
from components.sandbox.jobs import Place, batch_job, namespace_of, network_policy
from components.sandbox.supervision import Program, Verdict
from components.sandbox.worker.network import answers, dns_answers, find_answers
from tests.abuse import GOOD

GOLDEN = Path(__file__).parent / "golden" / "sandbox_job.json"
KEY = "0123456789abcdef" * 2


def test_batches_hold_every_program_once_in_order_and_fit() -> None:
    noise = random.Random(0)
    programs = [Program("", noise.randbytes(300).hex() + "\ud800\0", "", "f") for _ in range(5000)]
    huge = Program("", noise.randbytes(MAX_PROGRAMS_BYTES).hex(), "", "f")
    batches, too_large = cut_batches(KEY, [*programs[:7], huge, *programs[7:]])
    assert too_large == [7]
    assert [program for batch in batches for program in batch.programs] == programs
    assert len({batch.name for batch in batches}) == len(batches) > 1
    for batch in batches:
        assert len(json.dumps(config_map(batch, "sandbox", {}))) < 2**20
        assert len(batch.programs) * VERDICT_BYTES <= MAX_VERDICTS_BYTES
        lines = gzip.decompress(batch.data).splitlines()
        assert [json.loads(line)["id"] for line in lines] == list(range(len(batch.programs)))
    again, _ = cut_batches(KEY, [*programs[:7], huge, *programs[7:]])
    assert again == batches
    assert cut_batches(KEY, []) == ([], [])


def test_the_job_of_a_batch_is_the_golden_one() -> None:
    (batch,), _ = cut_batches(KEY, [GOOD])
    place = Place(namespace="sandbox", image="registry.invalid/codekiln/sandbox:golden")
    objects = [
        namespace_of("sandbox"),
        network_policy("sandbox"),
        batch_job(batch, SandboxConfig(), place),
    ]
    spelt = json.dumps(objects, indent=1) + "\n"
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        GOLDEN.write_text(spelt)
    assert spelt == GOLDEN.read_text()
    held = config_map(batch, "sandbox", {})
    assert held["immutable"] is True
    ((_, data),) = held["binaryData"].items()
    assert json.loads(gzip.decompress(base64.b64decode(data)))["completion"] == GOOD.completion


def test_whole_torn_and_missing_logs_are_read() -> None:
    lines = [{"level": "L4"}] + [{"id": n, "verdict": "passed", "detail": ""} for n in range(5)]
    log = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    whole = read_log(log, 5)
    assert (whole.level, whole.missing, whole.refusal) == ("L4", (), "")
    assert whole.verdicts == (Verdict("passed", ""),) * 5
    for end in range(len(log)):
        torn = read_log(log[:end], 5)
        count = max(0, log[:end].count(b"\n") - 1)
        assert torn.missing == tuple(range(count, 5))
    assert read_log(None, 5).missing == (0, 1, 2, 3, 4)
    wrong = (
        b"Traceback\n\xff\n[1]\n"
        b'{"id": 9, "verdict": "passed", "detail": ""}\n{"id": true, "verdict": "passed", '
        b'"detail": ""}\n{"id": 0, "verdict": "cheated", "detail": ""}\n' + b"[" * 10**5 + b"\n"
    )
    assert read_log(wrong, 5).missing == (0, 1, 2, 3, 4)
    twice = log + b'{"id": 0, "verdict": "failed", "detail": "x"}\n'
    assert read_log(twice, 5) == whole
    assert "1.1.1.1" in read_log(b'{"network": ["internet 1.1.1.1:443"]}\n', 5).refusal


def test_a_network_that_answers_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = server.getsockname()[1]
        assert answers("127.0.0.1", open_port, 1.0)
    assert answers("127.0.0.1", open_port, 1.0), "a refusal is an answer"
    assert not answers("nowhere.invalid.", 1, 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names:
        names.bind(("127.0.0.1", 0))
        port = names.getsockname()[1]
        assert not dns_answers("127.0.0.1", port, 0.1)
        names.recv(512)
        thread = threading.Thread(target=lambda: names.sendto(b"no", names.recvfrom(512)[1]))
        thread.start()
        assert dns_answers("127.0.0.1", port, 5.0)
        thread.join()


def test_the_worker_refuses_where_an_api_server_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.getsockname()[1]),
        }
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-S",
                "-B",
                "-m",
                "components.sandbox.worker",
                "--prove-no-network",
            ],
            env=environment,
            input=b"",
            stdout=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 4
    assert "API server" in read_log(done.stdout, 0).refusal


def test_nothing_is_found_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert find_answers(0.1, resolver_file="/nonexistent") == []
