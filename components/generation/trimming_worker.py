"""Take incomplete lines off the ends of programs: a process that hostile text may crash.

Standard library only; nothing of a text is run. In: a JSON object a line. Out: the number of lines
to take off, one a line, written as soon as it is known, so that what a crash leaves out is the text
that caused it.
"""

import ast
import contextlib
import json
import os
import re
import resource
import sys
import warnings

MAX_CHARACTERS = 200_000
MAX_TRIMMED_LINES = 200
MEMORY_BYTES = 2**31
CPU_S = 60

UNFINISHED = ("never closed", "unterminated triple-quoted", "unexpected EOF")
"""What CPython 3.11 to 3.13 says of a text that ends within brackets or a string."""


def count_incomplete(prompt: str, body: str, suffix: str, *, is_line_cut: bool) -> int:
    """How many lines at the end of a body were cut off in the middle of a statement.

    A line is incomplete where the text ended, not where the model erred: an error further up, or
    one in a last line that was not cut, stays in the body.

    Args:
        prompt: what stands before the body.
        body: what the model wrote.
        suffix: what follows it.
        is_line_cut: whether the body's last line may be cut, rather than end where a line does.

    Returns:
        0 where the program parses, where its error is another, or where nothing would remain.
    """
    if len(prompt) + len(body) + len(suffix) > MAX_CHARACTERS or parse_error(
        prompt + body + suffix
    ) in ("", "crash"):
        return 0
    lines = split_lines(body)
    for count in range(1, min(len(lines), MAX_TRIMMED_LINES + 1)):
        if not _is_unfinished(prompt + "".join(lines), is_line_cut):
            return 0
        lines.pop()
        if not "".join(lines).strip():
            return 0
        if not parse_error(prompt + "".join(lines) + suffix):
            return count
    return 0


def split_lines(text: str) -> list[str]:
    """The lines of a text with their ends. Only a newline ends one: form feeds are blanks."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_error(source: str) -> str:
    """Why Python's parser refuses a text: `line: message`; empty where it takes it."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return f"{error.lineno or 0}: {error.msg}"
    except (ValueError, MemoryError, RecursionError):
        return "crash"
    return ""


def _is_unfinished(source: str, is_line_cut: bool) -> bool:
    line, _, message = parse_error(source).partition(": ")
    if any(words in message for words in UNFINISHED):
        return True
    last = len(source.rstrip().splitlines())
    return is_line_cut and line.isdigit() and int(line) >= last


def main() -> None:
    """Answer every line of the standard input."""
    warnings.simplefilter("ignore")
    for what, value in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY_BYTES),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))
    for line in sys.stdin.buffer.readlines():
        row = json.loads(line)
        os.write(1, b"%d\n" % count_incomplete(**row))


if __name__ == "__main__":
    main()
