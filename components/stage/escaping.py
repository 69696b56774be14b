"""Text that strangers wrote, made safe to stand in a page or a card.

Paths, repository names and licences come from the crawl, completions from a model that read it:
all of them may hold markup, control characters, or the marks that turn the reading direction and
so hide what code does (CVE-2021-42574).
"""

import html
import re

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff]"
)
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$#])")


def show_invisible(text: str) -> str:
    """Spell control characters, direction marks and lone surrogates as visible `<U+202E>`."""
    text = text.replace("\r\n", "\n")
    return _INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def escape_html(text: object) -> str:
    """Make text safe inside an HTML element or a quoted attribute."""
    return html.escape(show_invisible(str(text)), quote=True)


def escape_markdown(text: object) -> str:
    """Make text safe inside a Markdown line or table cell, on a site that also renders HTML."""
    line = " ".join(show_invisible(str(text)).split())
    return _MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))


def clip(text: str, max_characters: int) -> str:
    """Cut a long text, and say so."""
    if len(text) <= max_characters:
        return text
    return f"{text[:max_characters]}\n[cut: {len(text) - max_characters:,} more characters]"
