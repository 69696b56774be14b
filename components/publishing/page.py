"""The skeleton of the report: one page that asks nothing of any network.

The policy in its head forbids scripts and every request, so that even text that slipped through
unescaped could neither run nor call home.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from components.stage.escaping import escape_html

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header class="top">
<p class="kicker">codekiln report</p>
<h1>$title</h1>
$lead
</header>
<nav aria-label="Sections">$contents</nav>
<main>
$sections
</main>
<footer><p>Made by codekiln $code_version. This page holds everything it shows; it loads nothing
and runs nothing.</p></footer>
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    body: str
    """HTML, escaped by whoever made it."""


def draw_page(title: str, lead: str, sections: Sequence[Section], code_version: str) -> str:
    """Put the sections into the page.

    Args:
        title: plain text.
        lead: HTML under the title.
        sections: in the order of the page.
        code_version: of codekiln.
    """
    return _PAGE.substitute(
        title=escape_html(title),
        style=Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
        lead=lead,
        contents="".join(
            f'<a href="#{section.anchor}">{escape_html(section.title)}</a>' for section in sections
        ),
        sections="\n".join(_draw_section(section) for section in sections),
        code_version=escape_html(code_version),
    )


def _draw_section(section: Section) -> str:
    return (
        f'<section id="{section.anchor}">\n<h2>{escape_html(section.title)}</h2>\n'
        f"{section.body}\n</section>"
    )


def draw_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, caption: str = ""
) -> str:
    """A table whose first columns are text and whose others are numbers.

    Args:
        head: plain text.
        rows: cells as HTML, escaped by the caller.
        texts: how many columns are text, flush left.
        caption: plain text above the table.
    """
    sides = ["text" if column < texts else "number" for column in range(len(head))]
    titles = "".join(
        f'<th scope="col" class="{side}">{escape_html(name)}</th>'
        for side, name in zip(sides, head, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f'<td class="{side}">{cell}</td>' for side, cell in zip(sides, row, strict=True))
        + "</tr>"
        for row in rows
    )
    above = f"<caption>{escape_html(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{above}<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def draw_note(text: str) -> str:
    """A quiet paragraph of plain text."""
    return f'<p class="note">{escape_html(text)}</p>'


def draw_details(summary: str, body: str) -> str:
    """Something that unfolds: plain text above, HTML inside."""
    return f"<details><summary>{escape_html(summary)}</summary>\n{body}\n</details>"
