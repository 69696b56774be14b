"""Tables of the report on how a score hangs on temperature, and on what the corpus held."""

from collections.abc import Mapping
from typing import Any

from components.publishing.page import draw_note, draw_table
from components.publishing.quantities import spell_share
from components.stage.escaping import escape_html

Score = Mapping[str, Any]

EXPOSURE_TITLES = {
    "seen": "seen: the corpus held them, and lost those documents",
    "unseen": "unseen",
    "unguarded": "unguarded: too short to be looked for",
    "unchecked": "unchecked: not looked for",
}


def draw_temperatures(score: Score) -> str:
    """pass@k by temperature, the best of each k in bold, and the choice across halves."""
    if not score["selection"]:
        return ""
    ks = list(score["pass_at_k"])
    rows = [
        [f"{cell['temperature']:g}", str(cell["n"]), *(_spell(score, cell, k) for k in ks)]
        for cell in score["grid"]
    ]
    rows.append(["chosen across halves", str(score["n"])])
    rows[-1] += [_spell_bounds(score["pass_at_k"][k]) for k in ks]
    head = ("temperature", "n", *(f"pass@{k}" for k in ks))
    note = (
        "Bold is the best temperature of each k, chosen on the problems that it is scored by, "
        "which is optimistic. The last row, which all other places of this report show, scores "
        "each half of the problems at the temperature that is best on the other half."
    )
    return draw_table(head, rows) + draw_note(note)


def _spell(score: Score, cell: Score, k: str) -> str:
    if k not in cell["pass_at_k"]:
        return ""
    text = _spell_bounds(cell["pass_at_k"][k])
    return f"<b>{text}</b>" if score["selection"][k]["best"] == cell["temperature"] else text


def _spell_bounds(bounds: Mapping[str, float]) -> str:
    value, low, high = (spell_share(bounds[name], 2) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def draw_exposure(score: Score) -> str:
    """pass@k of seen and unseen problems apart; nothing where the corpus was not searched."""
    ks = list(score["pass_at_k"])
    rows = [
        [
            escape_html(EXPOSURE_TITLES[name]),
            f"{part['problems']:,}",
            *(_spell_bounds(part["pass_at_k"][k]) if k in part["pass_at_k"] else "" for k in ks),
        ]
        for name, part in score["exposure"].items()
    ]
    if not rows:
        return ""
    return draw_table(("problems", "number", *(f"pass@{k}" for k in ks)), rows)


def describe_texts(score: Score) -> str:
    """A sentence on what the completions look like."""
    texts, total = score["texts"], max(1, score["samples"])
    return (
        f"{spell_share(texts['duplicates'])} of the samples repeat another one of their problem, "
        f"{spell_share(texts['blank'] / total)} are blank, "
        f"{spell_share(texts['repeats_prompt'] / total)} begin with their prompt."
    )
