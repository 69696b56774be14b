"""pass@k: the chance that one of k samples drawn from the n of a problem passes."""

import math
from fractions import Fraction


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
