"""Parse hostile text in a process of its own and outlive its crashes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

WORKER = Path(__file__).with_name("parsing_worker.py")

TIMEOUT_S = 120.0
"""For a batch; parsing 10,000 short programs takes about a second."""

BATCH_SOURCES = 10_000


def parse_sources(sources: Sequence[str], worker: Path = WORKER) -> list[bool]:
    """Whether Python's parser takes each source; one that crashes or stalls it does not parse.

    Args:
        sources: any text, surrogates and NUL included.
        worker: the program that parses.
    """
    unique = list(dict.fromkeys(sources))
    known: dict[str, bool] = {}
    while len(known) < len(unique):
        batch = unique[len(known) : len(known) + BATCH_SOURCES]
        answers = _answers(batch, worker)
        known.update(zip(batch, (byte == ord("1") for byte in answers), strict=False))
        if len(answers) < len(batch):
            known[batch[len(answers)]] = False
    return [known[source] for source in sources]


def _answers(batch: Sequence[str], worker: Path) -> bytes:
    """A byte a source, up to the one that ended the process."""
    lines = "".join(json.dumps(source) + "\n" for source in batch).encode()
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", str(worker)],
            input=lines,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        return error.stdout or b""
