"""What the completions look like, whatever their verdicts: signs of a harness that went wrong.

Known ones: PyCodeGPT's evaluator seeds every batch of 50 alike, so 100 samples are 50 twice;
CodeParrot's cuts a completion that meets no stop string down to nothing; GPT-Code-Clippy's leaves
the prompt in the completion, or cuts everything away where decoding did not give the prompt back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.scoring.bootstrap import DIGITS
from components.scoring.syntax import parse_sources

Row = Mapping[str, Any]


def describe_texts(samples: Sequence[Row]) -> dict[str, Any]:
    """Shares of completions that parse, repeat another, are blank or begin with their prompt.

    Args:
        samples: of one benchmark; `suffix`, `trimmed_lines` and `finish` may be missing.

    Returns:
        `duplicates` counts samples whose text the same problem already has, at any temperature;
        `period` is the number of samples after which those of every problem repeat, 0 for none.
    """
    parsed = parse_sources(
        [row["prompt"] + row["completion"] + row.get("suffix", "") for row in samples]
    )
    distinct = {(row["task_id"], row["completion"]) for row in samples}
    blank = sum(not row["completion"].strip() for row in samples)
    repeated = sum(_repeats_prompt(row) for row in samples)
    return {
        "syntax_valid": _share(sum(parsed), samples),
        "distinct": len(distinct),
        "duplicates": _share(len(samples) - len(distinct), samples),
        "blank": blank,
        "repeats_prompt": repeated,
        "trimmed": sum(row.get("trimmed_lines", 0) > 0 for row in samples),
        "period": find_period(samples),
    }


def _repeats_prompt(row: Row) -> bool:
    prompt = row["prompt"].strip()
    return bool(prompt) and row["completion"].lstrip().startswith(prompt)


def find_period(samples: Sequence[Row]) -> int:
    """After how many samples those of every problem and temperature repeat; 0 where they do not."""
    texts: dict[tuple[str, float], list[str]] = {}
    for row in sorted(samples, key=lambda row: row["sample"]):
        texts.setdefault((row["task_id"], row["temperature"]), []).append(row["completion"])
    longest = max(map(len, texts.values()), default=0)
    for period in range(1, longest):
        if all(group[period:] == group[: max(0, len(group) - period)] for group in texts.values()):
            return period
    return 0


def _share(count: int, rows: Sequence[Row]) -> float:
    return round(count / max(1, len(rows)), DIGITS)
