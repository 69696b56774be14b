"""How often a document is repeated: files of repositories with more stars are seen more often."""

import math

MAX_LOG_STARS = 5.0
"""PyCodeGPT clips log10(stars + 1) here (nl2code, `code_dataset.py`)."""

HASH_DIGITS = 13
"""Hex digits of a sha256 that a double holds exactly."""


def copies_of(stars: int, sha256: str, star_weight: float) -> int:
    """How many times a document stands among the training tokens.

    The expected number is 1 + star_weight * min(log10(stars + 1), 5) / 5. PyCodeGPT draws files
    with this weight (star_weight 1) anew in every epoch; here the whole part is a count, and the
    document's hash decides the rest, so that the same corpus gives the same tokens.

    Args:
        stars: of the repository; none where unknown.
        sha256: of the document, in hex.
        star_weight: how much 100,000 stars add; 0 repeats nothing.
    """
    logarithm = min(math.log10(max(stars, 0) + 1), MAX_LOG_STARS)
    # Rounded: the last bit of a logarithm may differ between machines.
    expected = round(1 + star_weight * logarithm / MAX_LOG_STARS, 9)
    drawn: float = int(sha256[:HASH_DIGITS], 16) / 16**HASH_DIGITS
    return int(expected) + (drawn < expected % 1)
