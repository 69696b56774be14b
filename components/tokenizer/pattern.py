r"""Where a token may not cross: the pre-tokenisation of code, as one regular expression.

The text is cut into pieces, and BPE merges bytes inside a piece only. In order of precedence:

    newline       one piece each, with the carriage return before it (`isolated`), or a run of
                  newlines with the blanks after each (`merged`)
    run of blanks two or more, whole: an indentation is one token
    word          letters with at most one character before them that is neither letter, digit nor
                  newline, so that ` self`, `.append`, `_name` and `(x` can become tokens
    digits        at most `max_digits`
    punctuation   a run of it with at most one space before it
    blank         what is left, one at a time

The idea of the word's leading character is cl100k's (tiktoken); the expression is our own. It has
no look-ahead: which piece a character belongs to never depends on what follows the line.
"""

from components.tokenizer.config import TokenizerConfig

_ISOLATED = r"\r?\n"
_MERGED = r"(?:\r?\n[^\S\r\n]*)+"
_BLANKS = r"[^\S\r\n]{2,}"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+"
_BLANK = r"\s"


def pattern_of(config: TokenizerConfig) -> str:
    """The regular expression (Oniguruma) of a config."""
    newline = _ISOLATED if config.newline == "isolated" else _MERGED
    digits = rf"\p{{N}}{{1,{config.max_digits}}}"
    return "|".join((newline, _BLANKS, _WORD, digits, _PUNCTUATION, _BLANK))
