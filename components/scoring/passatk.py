"""pass@k: the chance that one of k samples drawn from the n of a problem passes."""

import functools
import math
from fractions import Fraction

CURVE_POINTS = 24
"""Values of k on a curve at most, about evenly spaced on a logarithmic axis."""


@functools.lru_cache(maxsize=2**16)
def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate 1 - C(n - c, k) / C(n, k), computed exactly and rounded once.

    Source: Chen et al. 2021 (arXiv 2107.03374), section 2.1; `estimate_pass_at_k` of
    openai/human-eval. The form 1 - (1 - c / n)^k is biased low.

    Args:
        n: samples of the problem.
        c: samples that passed.
        k: samples drawn; at most n.
    """
    assert 0 <= c <= n, (c, n)
    assert 1 <= k <= n, (k, n)
    return float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))


def curve_points(n: int) -> list[int]:
    """The k of a curve up to n: every one while they are few, log-spaced ones from there on."""
    if n <= CURVE_POINTS:
        return list(range(1, n + 1))
    steps = (n ** (step / (CURVE_POINTS - 1)) for step in range(CURVE_POINTS))
    return sorted({min(n, max(1, round(k))) for k in steps} | {n})
