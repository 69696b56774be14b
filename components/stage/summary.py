"""The funnel of a step as Markdown: what came in, what was dropped for which reason, what stays."""

from collections.abc import Mapping

from components.artifacts.tally import Amount, Tally

MEGABYTE = 1e6


def funnel_markdown(tally: Tally, measures: Mapping[str, float]) -> str:
    """A table of documents through the step, and its measures; empty where there is nothing."""
    parts = []
    if "files_in" in tally.counts:
        counts = tally.counts
        rows: list[tuple[str, Amount]] = [("in", (counts["files_in"], counts.get("bytes_in", 0)))]
        largest_first = sorted(tally.drops.items(), key=lambda item: (-item[1][0], item[0]))
        rows += [(f"dropped: {reason}", amount) for reason, amount in largest_first]
        rows.append(("kept", (counts.get("files", 0), counts.get("bytes", 0))))
        parts.append(
            _table(
                ("documents", "files", "MB"),
                [(name, f"{files:,}", f"{size / MEGABYTE:,.1f}") for name, (files, size) in rows],
            )
        )
    if measures:
        parts.append(
            _table(
                ("measure", "value"),
                [(name, format_number(value)) for name, value in measures.items()],
            )
        )
    return "\n".join(parts)


def funnel_line(tally: Tally) -> str:
    """The documents through a step in a few words; empty where it takes none in."""
    if "files_in" not in tally.counts:
        return ""
    largest = sorted(tally.drops.items(), key=lambda item: (-item[1][0], item[0]))
    dropped = ", ".join(f"{reason} {files:,}" for reason, (files, _) in largest)
    kept = tally.counts.get("files", 0)
    line = f"{tally.counts['files_in']:,} files in, {kept:,} kept"
    return f"{line} (dropped: {dropped})" if dropped else line


def format_number(value: float) -> str:
    """A number for people: whole ones with thousands separators, others with four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
