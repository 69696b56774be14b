"""Percentile bootstrap intervals over problems or continuations, not over single samples.

Problems differ far more than the samples of one problem do: at pass@1 near 9 % of 164 problems
with 200 samples each, sampling alone moves the value by 0.14 points and the choice of problems by
1.4 (simulated; Beta(0.15, 1.65) difficulties).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CHUNK_ENTRIES = 2**22
"""Drawn indices held at once: 32 MB."""

DIGITS = 10
"""Decimal digits that results are rounded to: sums may differ past them between processors."""


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds the chosen share of its resamples."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The interval as a JSON value."""
        return {"value": self.value, "low": self.low, "high": self.high}


def interval_of_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    """The ratio of two sums over units, with a percentile interval over resampled units.

    Args:
        numerators: [units], such as the lines of each continuation that parse.
        denominators: [units], such as all lines of each continuation; ones make the ratio a mean.
        resamples: how often as many units are drawn with replacement.
        level: share of the resamples that the interval holds.
        seed: equal seeds and numbers of units draw equal units, so two measures of the same
            units are resampled together.

    Returns:
        0 with the interval 0 to 0 where the denominators add up to 0.
    """
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    assert top.shape == bottom.shape, (top.shape, bottom.shape)
    if not bottom.sum():
        return Interval(0.0, 0.0, 0.0)
    ratios = _resampled_ratios(top, bottom, resamples, seed)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(ratios, [tail, 100 - tail])
    value = top.sum() / bottom.sum()
    return Interval(*(round(float(number), DIGITS) for number in (value, low, high)))


def interval_of_mean(
    values: Sequence[float], *, resamples: int, level: float, seed: int
) -> Interval:
    """The mean over units, with its percentile interval; as `interval_of_ratio`."""
    ones = [1.0] * len(values)
    return interval_of_ratio(values, ones, resamples=resamples, level=level, seed=seed)


def _resampled_ratios(
    top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """[resamples]; a resample whose denominators add up to 0 counts as 0."""
    stream = np.random.Generator(np.random.Philox(seed))
    units, rows = len(top), max(1, CHUNK_ENTRIES // len(top))
    ratios = np.zeros(resamples)
    for start in range(0, resamples, rows):
        drawn = stream.integers(0, units, size=(min(rows, resamples - start), units))
        sums = bottom[drawn].sum(axis=1)
        part = ratios[start : start + rows]
        np.divide(top[drawn].sum(axis=1), sums, out=part, where=sums > 0)
    return ratios
