"""Say of each source whether Python's parser takes it: a process that hostile text may crash.

Standard library only. In: one JSON string a line. Out: one byte a source, `1` or `0`, written as
soon as it is known, so that what a crash leaves out is the source that caused it.
"""

import ast
import json
import os
import sys
import warnings

MAX_CHARACTERS = 200_000


def parses(source: str) -> bool:
    """Whether a source is a Python module, by syntax alone; nothing of it is run."""
    if len(source) > MAX_CHARACTERS:
        return False
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def main() -> None:
    """Answer every line of the standard input."""
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer.readlines():
        os.write(1, b"1" if parses(json.loads(line)) else b"0")


if __name__ == "__main__":
    main()
