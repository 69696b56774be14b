"""The crawl in a few lines and two tables, for people."""

from collections.abc import Mapping

from components.artifacts.tally import Amount, Tally
from components.crawl.config import CrawlConfig
from components.crawl.source import Discovery

LARGEST = 10
"""Rows of a table."""


def crawl_markdown(config: CrawlConfig, tally: Tally, discovery: Discovery) -> str:
    """What was crawled: the counts, the largest languages and the largest repositories."""
    counts = tally.counts
    licensed = sum(files for name, (files, _) in tally.licenses.items() if name != "unknown")
    repositories = {
        f"{one.repo} {one.commit} ({one.license})": amount
        for one, amount in discovery.repositories.items()
    }
    number = len(repositories) or counts.get("repositories", 0)
    lines = [
        f"Source `{config.source}`: {counts['files']:,} files, {counts['bytes'] / 1e6:,.1f} MB of "
        f"{number:,} repositories; {licensed:,} files carry a declared licence.",
        "",
        _left_out(config, counts),
        "",
        largest_table("language", tally.languages),
    ]
    if repositories:
        lines.append(largest_table("repository, as planned", repositories))
    if outcomes := _outcomes(counts):
        lines.append(outcomes)
    return "\n".join(lines)


def _left_out(config: CrawlConfig, counts: Mapping[str, int]) -> str:
    others = (
        f"{counts.get('files_without_language', 0):,} files of no language of the table, "
        f"{counts.get('files_of_other_languages', 0):,} of languages not asked for."
    )
    if config.source != "installed":
        return f"Left out: {others}"
    return (
        f"Left out: {counts.get('distributions_excluded', 0):,} distributions by name, "
        f"{counts.get('distributions_editable', 0):,} editable, "
        f"{counts.get('distributions_without_record', 0):,} without a record, "
        f"{counts.get('distributions_shadowed', 0):,} shadowed by one of the same name; {others}"
    )


def _outcomes(counts: Mapping[str, int]) -> str:
    """Repositories that were not read, by why; empty where there are none."""
    prefix = "repositories_"
    found = {
        name.removeprefix(prefix): number
        for name, number in counts.items()
        if name.startswith(prefix) and name != "repositories_not_fetched"
    }
    if not found:
        return ""
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {reason} | {number:,} |" for reason, number in ranked]
    return "\n".join(["| repository not fetched | number |", "|---|---|", *rows]) + "\n"


def largest_table(head: str, amounts: Mapping[str, Amount]) -> str:
    """The largest rows by bytes, and the rest in one row."""
    ranked = sorted(amounts.items(), key=lambda item: (-item[1][1], item[0]))
    rows = ranked[:LARGEST]
    rest = ranked[LARGEST:]
    if rest:
        files, size = (sum(amount[i] for _, amount in rest) for i in (0, 1))
        rows.append((f"{len(rest)} more", (files, size)))
    lines = [f"| {head} | files | MB |", "|---|---|---|"]
    lines += [f"| {name} | {files:,} | {size / 1e6:,.2f} |" for name, (files, size) in rows]
    return "\n".join(lines) + "\n"
