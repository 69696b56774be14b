"""What was looked for and what was found, in numbers and for people."""

from collections.abc import Sequence

from components.artifacts.tally import Tally
from components.decontamination.needles import DOCSTRING, RULES, SOLUTION, Target
from components.decontamination.removal import PROBLEM_COUNT


def measures_of(targets: Sequence[Target], tally: Tally) -> dict[str, float]:
    """Documents dropped by every rule, needles looked for and refused, problems without any."""
    measures = {rule: float(tally.drops.get(rule, (0, 0))[0]) for rule in RULES}
    return {
        **measures,
        "problems": float(len(targets)),
        "problems_found": float(sum(name.startswith(PROBLEM_COUNT) for name in tally.counts)),
        "needles": float(sum(len(target.needles) for target in targets)),
        "needles_refused": float(sum(target.num_refused for target in targets)),
        "problems_unguarded": float(
            sum(not target.needles and not target.grams for target in targets)
        ),
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
        found = tally.counts.get(f"{PROBLEM_COUNT}{target.benchmark} {target.task_id}", 0)
        numbers = (
            rules.count(DOCSTRING),
            rules.count(SOLUTION),
            target.num_refused,
            len(target.grams),
            found,
        )
        cells = " | ".join(str(number) for number in numbers)
        lines.append(f"| {target.benchmark} | {target.task_id} | {cells} |")
    return "\n".join(lines)
