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

SHORTLIST = 512
"""Most likely tokens looked at first: a full sort of the vocabulary costs more than a small
model's step, and the nucleus of a trained model is rarely wider."""


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
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p == 1 and top_k == 0:
        return _invert(probabilities, uniforms)
    size = logits.shape[-1]
    wanted = min(size, top_k or SHORTLIST)
    chosen, complete = _choose_among(probabilities, uniforms, wanted, top_p)
    rows = (~complete).nonzero()[:, 0]
    if not top_k and wanted < size and len(rows):
        chosen[rows] = _choose_among(probabilities[rows], uniforms[rows], size, top_p)[0]
    return chosen


def _choose_among(
    probabilities: Tensor, uniforms: Tensor, count: int, top_p: float
) -> tuple[Tensor, Tensor]:
    """Tokens of the nucleus among the `count` most likely, and whether it fits: [B] each."""
    values, ids = probabilities.topk(count, dim=-1)
    sums = values.cumsum(dim=-1)
    kept = torch.where(sums - values < top_p, values, 0.0)
    kept[:, 0] = values[:, 0]
    chosen = ids.gather(1, _invert(kept, uniforms)[:, None])[:, 0]
    return chosen, sums[:, -1] >= top_p


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first index whose cumulative weight exceeds uniform times total: [B, V] to [B]."""
    sums = weights.cumsum(dim=-1)
    targets = uniforms.to(sums)[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, targets, right=True)[:, 0]
    last = (weights > 0).double().cumsum(dim=-1).argmax(dim=-1)  # the last weight above zero
    return torch.minimum(found, last)
