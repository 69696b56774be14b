"""The report's section on what was taken out as a copy: of other files, or of a benchmark."""

from typing import Any

from components.publishing.facts import Facts, Row
from components.publishing.page import Section, draw_note, draw_table
from components.stage.escaping import clip, escape_html

MAX_MEMBERS = 4
MAX_CELL_CHARACTERS = 240


def describe_copies(facts: Facts) -> Section:
    """The largest clusters of near duplicates, and spans shared with a benchmark."""
    rows = [cells for cluster in facts.clusters for cells in _draw_cluster(cluster)]
    body = (
        "<h3>Near duplicates</h3>"
        + (
            "<p>The largest clusters. Under each file that was kept stand those that went, with "
            "the exact Jaccard similarity to it.</p>"
            + draw_table(("file", "", "similarity"), rows, texts=2)
            if rows
            else draw_note("No two files were near duplicates.")
        )
        + "<h3>Spans shared with a benchmark</h3>"
        + (_draw_spans(facts.spans) if facts.spans else draw_note("No file held any."))
    )
    return Section("copies", "Copies taken out", body)


def _draw_cluster(row: Row) -> list[list[str]]:
    """The rows of one cluster: the file that was kept, then those that went."""
    dropped = row["dropped"]
    rows = [[f"<b>{_name(row['kept'])}</b>", f"<b>kept of {len(dropped) + 1:,}</b>", ""]]
    rows += [
        [_name(member), escape_html(member["reason"].replace("_", " ")), f"{member['jaccard']:.3f}"]
        for member in dropped[:MAX_MEMBERS]
    ]
    if len(dropped) > MAX_MEMBERS:
        rows.append([f"and {len(dropped) - MAX_MEMBERS:,} more", "", ""])
    return rows


def _name(member: Row) -> str:
    return f"{escape_html(member['repo'])}: {escape_html(member['path'])}"


def _draw_spans(spans: list[Row]) -> str:
    """The rows as they are: their columns are decontamination's."""
    names = list(spans[0])
    rows = [[_draw_cell(row.get(name, "")) for name in names] for row in spans]
    return draw_table([name.replace("_", " ") for name in names], rows, texts=len(names))


def _draw_cell(value: Any) -> str:
    return escape_html(clip(str(value), MAX_CELL_CHARACTERS))
