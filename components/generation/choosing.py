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

Floats = npt.NDArray[np.float32]

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def draw_uniforms(seed: int, names: Sequence[str], count: int) -> npt.NDArray[np.float64]:
    """Uniforms in [0, 1) for each row.

    Args:
        seed: of the run.
        names: [B] what each row is, such as a problem, a temperature and a sample number.
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
    logits: Tensor, uniforms: Tensor, temperatures: Tensor, *, top_p: float, top_k: int
) -> Tensor:
    """The next token of each row.

    Args:
        logits: [B, V] unnormalised log-probabilities, float32; -inf forbids a token.
        uniforms: [B] in [0, 1), one draw a row, float64.
        temperatures: [B] divide the logits, float32; 0 takes the most likely token.
        top_p: probability of the tokens kept, the most likely first; at least one is.
        top_k: number of the tokens kept; 0 keeps all.

    Returns:
        [B] ids, on the processor.
    """
    drawn = (temperatures > 0).nonzero()[:, 0]
    if not len(drawn):
        return logits.argmax(dim=-1).cpu()
    if len(drawn) == len(logits):
        some, chosen = logits, torch.empty(len(logits), dtype=torch.long)
    else:
        some, chosen = logits[drawn.to(logits.device)], logits.argmax(dim=-1).cpu()
    divided = some / temperatures[drawn].to(logits.device, torch.float32)[:, None]
    probabilities = torch.softmax(divided, dim=-1)
    if logits.device.type == "cpu":
        chosen[drawn] = _draw_by_row(probabilities.numpy(), uniforms[drawn].numpy(), top_p, top_k)
    else:
        chosen[drawn] = draw_at_once(probabilities, uniforms[drawn], top_p, top_k).cpu()
    return chosen


def _draw_by_row(
    probabilities: Floats, uniforms: npt.NDArray[np.float64], top_p: float, top_k: int
) -> Tensor:
    """On a processor: [B, V] and [B] to [B]. Only the few likely tokens of a row are sorted."""
    tokens = np.empty(len(probabilities), np.int64)
    for place, (row, uniform) in enumerate(zip(probabilities, uniforms, strict=True)):
        least = _least_kept(row, top_p, top_k)
        kept = np.flatnonzero(row >= least)
        sums = row[kept].cumsum(dtype=np.float64)
        found = int(sums.searchsorted(uniform * sums[-1], side="right"))
        tokens[place] = kept[min(found, len(kept) - 1)]  # a target may round up to the total
    return torch.from_numpy(tokens)


def _least_kept(row: Floats, top_p: float, top_k: int) -> np.float32:
    """The probability of the least likely token kept, [V] to one; its equals are kept as well.

    Tokens below (1 - top_p) / 2V have less than half of what the nucleus leaves out, all of them
    together: so the nucleus lies among the others, and only those are sorted.
    """
    smallest = np.float32(SMALLEST)
    if top_k:
        smallest = max(smallest, np.partition(row, -min(top_k, len(row)))[-min(top_k, len(row))])
    if top_p >= 1:
        return smallest
    ranked = np.sort(row[row >= np.float32((1 - top_p) / (2 * len(row)))])[::-1]
    if not _reaches(ranked, top_p):  # top_p lies within float32's rounding of 1
        ranked = np.sort(row)[::-1]
    before = ranked.cumsum(dtype=np.float64) - ranked
    count = max(1, int((before < top_p).sum()))
    return max(smallest, ranked[count - 1])


def _reaches(ranked: Floats, top_p: float) -> bool:
    return len(ranked) > 0 and float(ranked.sum(dtype=np.float64)) >= top_p


def draw_at_once(probabilities: Tensor, uniforms: Tensor, top_p: float, top_k: int) -> Tensor:
    """On a GPU: the same choice for all rows together, by a full sort; [B, V] and [B] to [B]."""
    ranked = probabilities.sort(dim=-1, descending=True).values
    least = torch.full_like(ranked[:, :1], SMALLEST)
    if top_k:
        last = min(top_k, ranked.shape[1]) - 1
        least = torch.maximum(least, ranked[:, last : last + 1])
    if top_p < 1:
        before = ranked.double().cumsum(dim=-1) - ranked.double()
        count = (before < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        least = torch.maximum(least, ranked.gather(1, count - 1))
    weights = torch.where(probabilities >= least, probabilities, 0.0).double()
    sums = weights.cumsum(dim=-1)
    targets = uniforms.to(sums)[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, targets, right=True)[:, 0]
    last_kept = (weights > 0).int().cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(found, last_kept)
