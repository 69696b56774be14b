"""Measure sides against each other: in turn, several rounds, medians."""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one call cost."""

    cpu_s: float
    """CPU seconds, user and system, of this process and of the children that ended."""

    wall_s: float


def read_number(document: str | None, name: str, default: float, meaning: str) -> float:
    """The one number of a benchmark's command line, with `--help`.

    Args:
        document: the module's documentation.
        name: of the number.
        default: where none is given.
        meaning: what the help says of it.
    """
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    meaning = f"{meaning} (default: {default:g})"
    parser.add_argument(name, type=float, nargs="?", default=default, help=meaning)
    return float(getattr(parser.parse_args(), name))


def measure(call: Callable[[], object]) -> Cost:
    """Call once and say what it cost. Start-up that is no part of the work comes before."""
    cpu, wall = _cpu_s(), time.perf_counter()
    call()
    return Cost(_cpu_s() - cpu, time.perf_counter() - wall)


def measure_in_turn(
    sides: Mapping[str, Callable[[], object]], rounds: int, label: str = ""
) -> dict[str, Cost]:
    """The median cost of every side; a round calls each once, so that drift hits all alike.

    Args:
        sides: what is called, by name.
        rounds: how often.
        label: what the rounds are called in a line a call on stderr; none where it is empty.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, call in sides.items():
            costs[name].append(measure(call))
            if label:
                seconds = costs[name][-1].wall_s
                say(f"{label}, round {number} of {rounds}: {name} {seconds:.1f} s")
    return {
        name: Cost(
            statistics.median(cost.cpu_s for cost in seen),
            statistics.median(cost.wall_s for cost in seen),
        )
        for name, seen in costs.items()
    }


def say(text: str) -> None:
    """A line of progress, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def peak_rss_mb() -> float:
    """The largest resident set of this process or of any child that ended, in 10**6 bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * 1024 / 1e6


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table; floats to three digits."""
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(_spell(cell) for cell in row) + " |", flush=True)


def print_result(result: Mapping[str, object]) -> None:
    """The last line: one JSON object."""
    print(json.dumps({**result, "cores": len(os.sched_getaffinity(0))}), flush=True)


def _spell(cell: object) -> str:
    return (
        f"{cell:,.4g}"
        if isinstance(cell, float) and abs(cell) < 1000
        else (f"{cell:,.0f}" if isinstance(cell, float) else str(cell))
    )


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
