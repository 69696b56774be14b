"""Equal weights for an equal number of threads: it decides how sums are split and rounded."""

import contextlib
from collections.abc import Iterator

import torch
import torch.utils.deterministic as settings


@contextlib.contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Compute with this many threads and with deterministic algorithms alone, for a while.

    Fresh memory is not filled with NaN, as torch does by default in this mode: that costs time and
    changes no result, because nothing here reads memory that it did not write.
    """
    before = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    fills = _fills_memory(False)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)
        _fills_memory(fills)


def _fills_memory(fills: bool) -> bool:
    """Set whether fresh memory is filled; what was set before."""
    before: bool = settings.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property
    settings.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
    return before
