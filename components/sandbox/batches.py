"""Programs and verdicts on their way to a pod and back: a ConfigMap in, the pod's log out.

A batch is what one Job runs. It goes in as gzip in an immutable ConfigMap, and its verdicts come
out as lines of the log; both have a size that Kubernetes gives. Nothing here talks to a cluster.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.sandbox.supervision import MAX_LINE_BYTES, Program, Verdict

MAX_PROGRAMS_BYTES = 700 * 1024
"""Of gzip: in base64 it stays below the 1 MiB of a ConfigMap."""

MAX_VERDICTS_BYTES = 2**20
"""Of a batch's lines in the log: a node keeps at least 10 MiB of it (kubelet's default)."""

VERDICT_BYTES = 512
"""What the longest line of a verdict takes: its id, its class and 100 escaped characters."""

PROGRAMS_FILE = "programs.jsonl.gz"
VERDICTS = ("passed", "failed", "timeout", "crashed", "memory", "output")


@dataclass(frozen=True)
class Batch:
    """The programs of one Job."""

    key: str
    """Of the step's artifact."""

    index: int
    programs: tuple[Program, ...]
    data: bytes
    """JSON lines in gzip, ids from 0; the same bytes for the same programs."""

    attempt: int = 0
    """Of the programs of one chunk: further ones hold those that got no verdict."""

    @property
    def name(self) -> str:
        """The name of its Job and of its ConfigMap: key, index, and a further attempt's number."""
        again = f"-{self.attempt}" if self.attempt else ""
        return f"sandbox-{self.key[:16]}-{self.index:05d}{again}"


def cut_batches(key: str, programs: Sequence[Program]) -> tuple[list[Batch], list[int]]:
    """Cut programs into batches that fit, in order.

    Args:
        key: of the step's artifact.
        programs: distinct programs.

    Returns:
        The batches, and the places of programs that alone are too large: their verdict is `output`.
    """
    batches: list[Batch] = []
    too_large: list[int] = []
    waiting = [list(enumerate(programs))]
    while waiting:
        part = waiting.pop()
        data = _pack([program for _, program in part])
        fits = len(data) <= MAX_PROGRAMS_BYTES
        if fits and len(part) * VERDICT_BYTES <= MAX_VERDICTS_BYTES - VERDICT_BYTES:
            if part:
                chosen = tuple(program for _, program in part)
                batches.append(Batch(key, len(batches), chosen, data))
        elif len(part) == 1:
            too_large.append(part[0][0])
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return batches, too_large


def _pack(programs: Sequence[Program]) -> bytes:
    lines = [json.dumps({"id": n, **asdict(program)}) for n, program in enumerate(programs)]
    return gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0)


def config_map(batch: Batch, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The immutable ConfigMap that carries a batch into its pod."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": batch.name, "namespace": namespace, "labels": dict(labels)},
        "immutable": True,
        "binaryData": {PROGRAMS_FILE: base64.b64encode(batch.data).decode()},
    }


@dataclass(frozen=True)
class Reading:
    """What a log says."""

    level: str
    """Empty where the first line is missing."""

    verdicts: tuple[Verdict | None, ...]
    """By the place of the program; None where there is none."""

    refusal: str
    """Why the worker refused to run anything; else empty."""

    @property
    def missing(self) -> tuple[int, ...]:
        """The places without a verdict: to be run again."""
        return tuple(n for n, verdict in enumerate(self.verdicts) if verdict is None)


def read_log(log: bytes | None, count: int) -> Reading:
    """Read a pod's log: whole, torn at any byte, or missing.

    Lines that are no verdict of this batch are left out, as is a second verdict of a program: the
    programs cannot write there, but a node may cut, and a pod that ran twice may repeat.

    Args:
        log: of the pod; None where there is none.
        count: programs of the batch.
    """
    level, refusal = "", ""
    verdicts: list[Verdict | None] = [None] * count
    for value in _objects((log or b"")[: 2 * MAX_VERDICTS_BYTES]):
        if isinstance(value.get("level"), str):
            level = value["level"]
        elif "network" in value:
            refusal = f"the network answers: {value['network']}"[:500]
        place, verdict, detail = (value.get(name) for name in ("id", "verdict", "detail"))
        known = verdict in VERDICTS and isinstance(detail, str)
        if known and type(place) is int and 0 <= place < count and verdicts[place] is None:
            verdicts[place] = Verdict(str(verdict), str(detail))
    return Reading(level, tuple(verdicts), refusal)


def _objects(log: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of whole lines; the last line counts where its newline is there."""
    for line in log.split(b"\n")[:-1]:
        if len(line) > MAX_LINE_BYTES:
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
