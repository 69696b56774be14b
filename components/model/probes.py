"""Hard texts on which an encoder must give Hugging Face's ids before it is trusted.

They are made, not stored: all of ASCII, code points of every plane and class, blanks and newlines
of all kinds, long runs, texts beyond 16 KiB (where encoders cut a text for their threads), and
texts that spell the vocabulary's own added tokens.
"""

import functools
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.model.text import TextCodec

_BLANKS = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
"""What one library or another takes for a blank."""

_UNICODE = (
    "na\u00efve = 'caf\u00e9 cafe\u0301 \u4e2d\u6587\u5b57 \ud55c\uad6d\uc5b4 \ufb01 \u01c5'\n"
    "\u03c0 = '\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f3fd'\n"
    "\u05e2\u05d1\u05e8 = '\u0627\u0644\u0639 \u0661\u0662\u0663 \u09ea\u09eb \u00df\u0130\u017f'\n"
)

_CODE = (
    """\
#!/usr/bin/env python3
def f(x, *args, key=None):
\t'''It's, we'll, I'VE, don't.'''
    if x >= 10_000 and not key:  # 0xFF 1e-9 12345678 3.14159

        return [{'a': b"\\x00\\n"}, f"{x!r:>10}", x @ y, lambda: ...]\r
\r
        \tpass
x=a+b-c*d/e//f%g**h&i|j^k~l<<m>>n<o>p<=q>=r==s!=t;u,v.w:y(z)[_]{}@$?`'"\\
int main(void) { for (size_t i = 0; i < n; ++i) a[i] = (char *)&p->q; return 0; }
"""
    + _UNICODE
    + "ends in blanks   \n"
)


def probe_texts(codec: "TextCodec") -> list[str]:
    """The texts, about 150,000 characters: 0.05 CPU seconds of Hugging Face."""
    added = codec.tokenizer.get_added_tokens_decoder().values()
    spelt = [token.content for token in added]
    special = [f"x = '{name}'\n{name}{name} {name[:-1]}\n    {name}" for name in spelt]
    return [*_fixed_texts(), *special, "\n".join(special)]


@functools.cache
def _fixed_texts() -> tuple[str, ...]:
    ascii_pairs = "".join(chr(a) + chr(b) for a in range(128) for b in range(128))
    runs = [
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "a",
        "Z_",
        "\u00e9",
        "\u4e2d",
        "=",
        "1",
        "\u0301",
        "\U0001f600",
    ]
    return (
        "",
        *(chr(code) for code in range(256)),
        *_BLANKS,
        *(f"a{blank}b {blank} {blank}{blank}\n{blank}c" for blank in _BLANKS),
        *(text * count for text in runs for count in (2, 3, 5, 17, 300)),
        ascii_pairs,
        _points(range(0x80, 0x3000, 7)),
        _points(range(0x3000, 0xD800, 131)),
        _points(range(0xE000, 0x110000, 997)),
        "".join(map(chr, range(0xD780, 0xD800))) + "\ufeff\ufffd\ufffe\uffff\U0010ffff",
        _CODE,
        _CODE.replace("\n", "\r\n"),
        _CODE.replace("    ", "\t"),
        json.dumps(_CODE),
        "".join(run * 1_500 + _CODE for run in runs),
        "x" * 40_000,
        _CODE * 30,
    )


def _points(codes: range) -> str:
    """Code points between letters, blanks and digits, alone and doubled."""
    return "".join(f"a{chr(code)}b {chr(code)}{chr(code)}1\n" for code in codes)
