"""Text that strangers wrote: whatever it holds, it stays text and stays visible."""

import html
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from components.stage.escaping import clip, escape_html, escape_markdown, show_invisible

ANYTHING = st.text(st.characters(codec=None), max_size=60)


@given(ANYTHING)
def test_escaped_text_reads_back_and_opens_no_tag(text: str):
    escaped = escape_html(text)
    escaped.encode()  # lone surrogates are spelled out
    assert not set(escaped) & set("<>\"'\x00")
    assert html.unescape(escaped) == show_invisible(text)


@given(ANYTHING)
def test_an_escaped_attribute_ends_where_it_should(text: str):
    found: list[list[tuple[str, str | None]]] = []

    class Attributes(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag == "p"
            found.append(attrs)

    Attributes().feed(f'<p title="{escape_html(text)}">')
    assert [[name for name, _ in attributes] for attributes in found] == [["title"]]


@given(ANYTHING)
def test_a_markdown_cell_is_one_line_without_markup(text: str):
    cell = escape_markdown(text)
    assert "\n" not in cell
    assert "<" not in cell
    assert all(cell[i - 1] == "\\" for i, c in enumerate(cell) if c in "|`*[]")


def test_marks_that_hide_code_are_shown():
    assert show_invisible("a\u202eb\u2066\u200b\x1b[2J\x00") == (
        "a<U+202E>b<U+2066><U+200B><U+001B>[2J<U+0000>"
    )
    assert show_invisible("tab\tand\nlines\r\nstay") == "tab\tand\nlines\nstay"


def test_a_long_text_is_cut_and_says_so():
    assert clip("x" * 10, 10) == "x" * 10
    assert clip("x" * 1012, 10) == "x" * 10 + "\n[cut: 1,002 more characters]"
