"""Take off the lines that the limit of tokens cut, so that what came before them can be judged.

GPT-CC's stored samples fail mostly by such cuts: "EOF while scanning triple-quoted string" is an
error of the limit, not of the model. What the model wrote wrongly stays wrong: only a statement at
the very end that is unfinished goes, and never the whole completion (CodeParrot's evaluator returns
nothing at all for a completion without a stop string).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.generation.completion import Completion
from components.generation.trimming_worker import split_lines

WORKER = Path(__file__).with_name("trimming_worker.py")

TIMEOUT_S = 120.0
"""For a batch; 1,000 completions take about a second."""


@dataclass(frozen=True)
class Candidate:
    """A completion with what stands around it."""

    prompt: str
    completion: Completion
    suffix: str = ""

    def to_json(self) -> str:
        """A line for the worker."""
        return json.dumps(
            {
                "prompt": self.prompt,
                "body": self.completion.text,
                "suffix": self.suffix,
                "is_line_cut": self.completion.finish == "length",
            }
        )


def trim_completions(
    candidates: Sequence[Candidate], worker: Path = WORKER
) -> list[tuple[str, int]]:
    """The text of each completion without its incomplete lines, and how many those were.

    A completion that the model itself ended is left alone. Texts are parsed in another process; one
    that crashes or stalls it stays as it is.

    Args:
        candidates: completions of any text.
        worker: the program that parses.
    """
    cut = [place for place, one in enumerate(candidates) if one.completion.finish != "eos"]
    counts: dict[int, int] = {}
    while cut:
        lines = "".join(candidates[place].to_json() + "\n" for place in cut).encode()
        answers = _answers(lines, worker)
        counts |= dict(zip(cut, answers, strict=False))
        cut = cut[len(answers) + 1 :]  # the one without an answer ended the process
    return [_without(one.completion.text, counts.get(n, 0)) for n, one in enumerate(candidates)]


def _without(text: str, count: int) -> tuple[str, int]:
    if not count:
        return text, 0
    return "".join(split_lines(text)[:-count]), count


def _answers(lines: bytes, worker: Path) -> list[int]:
    """A number a text, up to the one that ended the process."""
    try:
        data = subprocess.run(
            [sys.executable, "-I", "-S", str(worker)],
            input=lines,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        data = error.stdout or b""
    return [int(answer) for answer in data.split()]
