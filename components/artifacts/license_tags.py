"""The licence that a file states of itself: `SPDX-License-Identifier` in its first comments."""

import re

LICENSE_SOURCE = "SPDX-License-Identifier"
"""The evidence that a row names, where its licence was read in the file."""

HEAD_BYTES = 4096
"""How far such a tag is searched: SPDX asks for it near the top of a file."""

_MARK = b"SPDX-License-Identifier:"
_ID = rb"\(*[A-Za-z0-9][A-Za-z0-9.+:-]*\)*"
_TAG = re.compile(
    # A comment's mark in front on the line: a string that only speaks of tags is none.
    rb"^[ \t]*(?:#|//|/?\*|--|;|%%|<!--|\(\*)[^\n]{0,40}?SPDX-License-Identifier:[ \t]*"
    rb"(%b(?:[ \t]+(?:AND|OR|WITH|and|or|with)[ \t]+%b)*)" % (_ID, _ID),
    re.MULTILINE,
)


def read_license_tags(data: bytes) -> str | None:
    """The SPDX expression of a file's tags, joined by AND where there are several; None without.

    Args:
        data: UTF-8.
    """
    head = data[:HEAD_BYTES]
    if _MARK not in head:
        return None
    found = dict.fromkeys(" ".join(tag.decode().split()) for tag in _TAG.findall(head))
    if len(found) == 1:
        return next(iter(found))
    return " AND ".join(f"({one})" if " " in one else one for one in found) or None
