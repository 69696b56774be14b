"""The share of lines that parse, by author."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.scoring.bootstrap import interval_of_ratio
from components.scoring.config import ScoringConfig
from components.scoring.lines import counted_lines
from components.scoring.syntax import parse_sources

AUTHORS = ("trained", "untrained", "real")


def score_lines(rows: Sequence[Mapping[str, Any]], config: ScoringConfig) -> dict[str, Any]:
    """The share of counted lines that parse, for each author, with an interval.

    Continuations are resampled, not lines: the lines of one continuation are alike.

    Args:
        rows: the `continuations` part.
        config: the bootstrap.
    """
    scores: dict[str, Any] = {}
    for author in AUTHORS:
        lines = [
            counted_lines(row["text"], row["prefix"]) for row in rows if row["author"] == author
        ]
        verdicts = iter(parse_sources([line for group in lines for line in group]))
        parsed = [sum(next(verdicts) for _ in group) for group in lines]
        counted = [len(group) for group in lines]
        share = interval_of_ratio(
            parsed, counted, resamples=config.resamples, level=config.level, seed=config.seed
        )
        scores[author] = {
            "share": share.value,
            "low": share.low,
            "high": share.high,
            "lines": sum(counted),
            "parsed": sum(parsed),
        }
    return scores


def line_warnings(lines: Mapping[str, Any], config: ScoringConfig) -> list[str]:
    """What a reader must know of the authors that wrote too few lines."""
    return [
        f"{author}: {score['lines']:,} counted lines, fewer than the {config.min_lines:,} that "
        "the measure asks for; its share is not to be relied on."
        for author, score in lines.items()
        if score["lines"] < config.min_lines
    ]
