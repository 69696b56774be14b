r"""Where a token may not cross: the pre-tokenisation of code, as one regular expression.

The text is cut into pieces, and BPE merges bytes inside a piece only. In order of precedence:

    newline       one piece each, with the carriage return before it (`isolated`, `attached`), or a
                  run of newlines with the blanks after each (`merged`)
    run of blanks two or more, whole: an indentation is one token
    word          letters with at most one character before them that is neither letter, digit nor
                  newline, so that ` self`, `.append`, `_name` and `(x` can become tokens
    digits        at most `max_digits`
    punctuation   a run of it with at most one space before it, and with one newline after it
                  (`attached`)
    blank         what is left, one at a time

The word's leading character and the newline after punctuation are ideas of cl100k (tiktoken); the
expression is our own. It has no look-ahead: which piece a character belongs to never depends on
what follows the line.
"""

from components.tokenizer.config import TokenizerConfig

MAX_LEARNT_RUN = 1_000
"""Characters of a run that are learnt as one piece. The cost of a merge grows with the piece, so
that one word of 1 MB took minutes; no line of code has such a run, and the longest token that code
taught has 128 characters."""


def pattern_of(config: TokenizerConfig) -> str:
    """The regular expression (Oniguruma) that cuts text to encode."""
    return _spell(config, any_number="*", some="+", two="{2,}")


def learning_pattern_of(config: TokenizerConfig) -> str:
    """The same for text to learn from: it also cuts runs after MAX_LEARNT_RUN characters."""
    longest = MAX_LEARNT_RUN
    return _spell(config, f"{{0,{longest}}}", f"{{1,{longest}}}", f"{{2,{longest}}}")


def _spell(config: TokenizerConfig, any_number: str, some: str, two: str) -> str:
    """The alternatives in order, with the quantifiers of their runs: from 0, 1 and 2 on."""
    blank, newline = r"[^\S\r\n]", r"\r?\n"
    return "|".join(
        (
            rf"(?:{newline}{blank}{any_number}){some}" if config.newline == "merged" else newline,
            rf"{blank}{two}",
            rf"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}{some}",
            rf"\p{{N}}{{1,{config.max_digits}}}",
            rf" ?[^\s\p{{L}}\p{{N}}]{some}" + f"(?:{newline})?" * (config.newline == "attached"),
            r"\s",
        )
    )
