"""Progress where people look: a bar on a terminal, a line every ten seconds elsewhere.

In a pod (`CODEKILN_LOG=json`) the lines are JSON objects with the step and its key, in the fields
that Google Cloud's log viewer reads.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LINE_INTERVAL_S = 10.0

logger = logging.getLogger("codekiln")


def progress(
    items: Iterable[Item],
    label: str,
    total: int | None = None,
    unit: str = "it",
    lines: bool = True,
) -> Iterator[Item]:
    """Pass items on and show how far they are.

    Args:
        items: what is passed on.
        label: what is being done.
        total: how many there are, where it is known.
        unit: what one of them is.
        lines: whether to write lines where there is no terminal for a bar.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total, unit=unit, leave=False, dynamic_ncols=True)
        return
    said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if lines and time.monotonic() - said >= LINE_INTERVAL_S:
            said = time.monotonic()
            logger.info("%s %d of %s", label, done, total or "?")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, labels: dict[str, str]) -> None:
        super().__init__()
        self._labels = labels

    def format(self, record: logging.LogRecord) -> str:
        value = {"severity": record.levelname, "message": record.getMessage(), **self._labels}
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value)


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic in stubs only
    """Lines on stderr that do not tear a bar apart; tracebacks go to the log file alone."""

    def __init__(self, step: str) -> None:
        super().__init__(sys.stderr)
        self._step = step

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"codekiln {self._step}: {record.getMessage()}", file=sys.stderr)


def start_logging(step: str, key: str = "", log_file: Path | None = None) -> logging.Logger:
    """Set the step's logger up: the terminal or JSON lines, and a file where one is given."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    stop_logging()
    if os.environ.get("CODEKILN_LOG") == "json":
        stream: logging.Handler = logging.StreamHandler(sys.stderr)
        stream.setFormatter(_JsonFormatter({"step": step, "key": key}))
    else:
        stream = _TerminalHandler(step)
    logger.addHandler(stream)
    if log_file is not None:
        handler = logging.FileHandler(log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter(f"%(asctime)s {step} %(levelname)s %(message)s"))
        logger.addHandler(handler)
    return logger.getChild(step)


def stop_logging() -> None:
    """Close what `start_logging` opened."""
    for handler in [*logger.handlers]:
        logger.removeHandler(handler)
        handler.close()
