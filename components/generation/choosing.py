"""Choose the next tokens of a batch: nucleus sampling by inverse CDF, a random stream a row.

Shapes: B rows, V vocabulary.

Each row consumes uniforms drawn for it alone before anything was computed, so what a row gets does
not depend on which rows share its batch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def draw_uniforms(seed: int, names: Sequence[str], count: int) -> npt.NDArray[np.float64]:
    """Uniforms in [0, 1) for each row.

    Args:
        seed: of the run.
        names: [B] what each row is, such as a problem and a sample number.
        count: draws a row.

    Returns:
        [B, count]
    """
    uniforms = np.empty((len(names), count))
    for row, name in enumerate(names):
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        stream = np.random.Generator(np.random.Philox(key=np.array([seed, key], np.uint64)))
        uniforms[row] = stream.random(count)
    return uniforms


def choose_tokens(
    logits: Tensor, uniforms: Tensor, *, temperature: float, top_p: float, top_k: int
) -> Tensor:
    """The next token of each row.

    Args:
        logits: [B, V] unnormalised log-probabilities; -inf forbids a token.
        uniforms: [B] in [0, 1), one draw a row.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: probability of the tokens kept, the most likely first; at least one is.
        top_k: number of the tokens kept; 0 keeps all.

    Returns:
        [B] ids.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if top_p < 1 or top_k:
        kept = probabilities >= _least_kept(probabilities, top_p, top_k)[:, None]
        probabilities = torch.where(kept, probabilities, 0.0)
    return _invert(probabilities.double(), uniforms)


def _least_kept(probabilities: Tensor, top_p: float, top_k: int) -> Tensor:
    """The probability of the least likely token kept, [B, V] to [B]; its equals are kept as well.

    numpy sorts rows of float32 about ten times as fast as torch does on a processor.
    """
    ascending = np.sort(probabilities.cpu().numpy(), axis=-1)
    ranked = ascending[:, ::-1]
    before = ranked.cumsum(axis=-1, dtype=np.float64) - ranked
    count = np.maximum(1, (before < top_p).sum(axis=-1))
    if top_k:
        count = np.minimum(count, top_k)
    least = np.take_along_axis(ranked, count[:, None] - 1, axis=-1)[:, 0]
    return torch.from_numpy(least.copy()).to(probabilities.device)


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first index whose cumulative weight exceeds uniform times total: [B, V] to [B]."""
    sums = weights.cumsum(dim=-1)
    targets = uniforms.to(sums)[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, targets, right=True)[:, 0]
    last = (weights > 0).int().cumsum(dim=-1).argmax(dim=-1)  # a target may round up to the total
    return torch.minimum(found, last)
