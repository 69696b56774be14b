"""What was looked for and what was found: in numbers, for the score, and for people."""

from collections.abc import Sequence
from typing import Any

from components.artifacts.tally import Tally
from components.decontamination.folding import tokens_of
from components.decontamination.needles import DOCSTRING, RULES, SOLUTION, Needle, Target
from components.decontamination.removal import PROBLEM_COUNT

PROBLEMS = "problems"
"""The part with a row for every problem: whether the corpus held it before this step."""

REFUSED_CHARACTERS = 160


def problem_rows(targets: Sequence[Target], tally: Tally) -> list[dict[str, Any]]:
    """A row for every problem, so that a score can be told apart by seen and unseen ones.

    `documents` held the problem and were dropped; `unguarded` problems have nothing long enough to
    look for, so nothing is known of them. Refused needles are listed with their lengths.
    """
    return [
        {
            "benchmark": target.benchmark,
            "task_id": target.task_id,
            "status": _status(target, tally),
            "documents": _documents(target, tally),
            "needles": [needle.rule for needle in target.needles],
            "ngrams": len(target.grams),
            "refused": [_refused_row(needle) for needle in target.refused],
        }
        for target in targets
    ]


def measures_of(targets: Sequence[Target], tally: Tally) -> dict[str, float]:
    """Documents dropped by every rule, needles looked for and refused, problems without any."""
    measures = {rule: float(tally.drops.get(rule, (0, 0))[0]) for rule in RULES}
    return {
        **measures,
        "problems": float(len(targets)),
        "problems_found": float(sum(name.startswith(PROBLEM_COUNT) for name in tally.counts)),
        "needles": float(sum(len(target.needles) for target in targets)),
        "needles_refused": float(sum(len(target.refused) for target in targets)),
        "problems_unguarded": float(sum(not target.guarded for target in targets)),
    }


def needles_markdown(targets: Sequence[Target], tally: Tally) -> str:
    """A table with a row for every problem: its needles, those refused, and where it was found."""
    lines = [
        "Needles of every problem; the refused ones are too short to tell a copy from chance.",
        "",
        "| benchmark | problem | docstring | solution | refused | n-grams | documents |",
        "|---|---|---|---|---|---|---|",
    ]
    for target in targets:
        rules = [needle.rule for needle in target.needles]
        numbers = (
            rules.count(DOCSTRING),
            rules.count(SOLUTION),
            len(target.refused),
            len(target.grams),
            _documents(target, tally),
        )
        cells = " | ".join(str(number) for number in numbers)
        lines.append(f"| {target.benchmark} | {target.task_id} | {cells} |")
    return "\n".join(lines)


def _documents(target: Target, tally: Tally) -> int:
    return tally.counts.get(PROBLEM_COUNT + target.name, 0)


def _status(target: Target, tally: Tally) -> str:
    if _documents(target, tally):
        return "seen"
    return "unseen" if target.guarded else "unguarded"


def _refused_row(needle: Needle) -> dict[str, Any]:
    return {
        "rule": needle.rule,
        "characters": len(needle.text),
        "tokens": len(tokens_of(needle.text)),
        "text": needle.text[:REFUSED_CHARACTERS],
    }
