"""Lines that a limit cut are taken off and counted; nothing else is, and no text hurts the step."""

import textwrap
from pathlib import Path

import pytest

from components.generation.completion import Completion
from components.generation.trimming import Candidate, trim_completions

PROMPT = 'def f(x):\n    """Doc."""\n'


def _trim(text: str, finish: str = "length", suffix: str = "") -> tuple[str, int]:
    (found,) = trim_completions([Candidate(PROMPT, Completion(text, 9, finish), suffix)])
    return found


@pytest.mark.parametrize(
    ("kept", "cut"),
    [
        ("    y = 1\n    return y", ""),
        ("    y = 1\n", "    return y +"),
        ("    y = 1\n", "    if y:"),
        ("    y = 1\n", "    z = [1,\n        2,\n        3"),
        ("    y = 1\n", '    z = """a\n   b\n'),
        ("    y = 1\n", "    z = 'ab"),
        ("    y = 1\n", "    for i in range(3):\n        if i"),
        ("    y = 1  # \x0c\u2028\n", "    z = ("),
        ("    y = 1\r\n", "    z = (\r\n\r\n\n"),
    ],
)
def test_the_lines_of_a_cut_statement_are_taken_off_and_counted(kept: str, cut: str) -> None:
    text, count = _trim(kept + cut)
    lines = cut.count("\n") + (not cut.endswith("\n") and cut != "")
    if cut.startswith("    for"):  # a loop without its body is unfinished as well
        assert (text, count) == (kept, 2)
    else:
        assert (text, count) == (kept, lines)


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("    y = = 1\n    return y", "length"),  # an error of the model's, further up
        ("    y = = 1\n    return (y", "length"),
        ("    y = 1\n    return y +", "stop"),  # the line is whole, and wrong
        ("    y = 1\n    return (y", "eos"),  # the model ended it so
        ("    return (y", "length"),  # nothing would remain
        ("\n\n    return (y", "length"),
        ("", "length"),
        ("   \n", "length"),
    ],
)
def test_what_the_model_wrote_wrongly_stays(text: str, finish: str) -> None:
    assert _trim(text, finish) == (text, 0)


def test_a_bracket_that_a_stop_string_cut_open_is_taken_off() -> None:
    assert _trim("    y = 1\n    z = [\n", "stop") == ("    y = 1\n", 1)


def test_what_follows_the_hole_must_parse_too() -> None:
    suffix = "    return y\n"
    assert _trim("    y = 1\n    z = (", suffix=suffix) == ("    y = 1\n", 1)
    assert _trim("    y = 1\n", suffix=suffix) == ("    y = 1\n", 0)


def test_hostile_texts_cost_nobody_else_anything() -> None:
    good = "    y = 1\n    return (y"
    hostile = [
        "(" * 100_000,
        "    x = " + "-" * 90_000 + "1",
        "    y = 1\n" + "    " + "lambda: " * 20_000 + "(",
        "    y = '\0'\n    z = (",
        "    y = '\ud800'\n    z = (",
        "    y = 1\n" + "    z = (\n" * 5_000,
        "x" * 1_000_000 + "(",
        "\t \n  \t(\n",
    ]
    texts = [text for one in hostile for text in (good, one)]
    found = trim_completions([Candidate(PROMPT, Completion(text, 9, "length")) for text in texts])
    assert found[::2] == [("    y = 1\n", 1)] * len(hostile)
    for text, (kept, _) in zip(hostile, found[1::2], strict=True):
        assert text.startswith(kept)


def test_a_text_that_ends_the_parser_stays_and_the_others_are_trimmed(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent("""
        import json, os, sys
        for line in sys.stdin:
            if "die" in json.loads(line)["body"]:
                os.kill(os.getpid(), 11)
            os.write(1, b"1\\n")
        """)
    )
    texts = ["a\nb", "die\nb", "die", "c\nd", "e\nf"]
    found = trim_completions(
        [Candidate("", Completion(text, 1, "length")) for text in texts], worker
    )
    assert found == [("a\n", 1), ("die\nb", 0), ("die", 0), ("c\n", 1), ("e\n", 1)]


def test_nothing_of_a_text_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    _trim(f"    y = 1\nopen({str(mark)!r}, 'w')\n    z = (")
    assert not mark.exists()
