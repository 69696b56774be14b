"""Cross-entropy of the next token, without ever holding the logits of a whole batch.

Shapes: N tokens, D hidden size, V vocabulary, C tokens of a chunk.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.training.blocks import NOT_LEARNED

CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**27}
"""Logits held at once, in float32: 4 MB, so that a chunk stays in a processor's caches; 512 MB on a
GPU, whose kernels want to be large."""

LEAST_ROWS = 256
"""Of a chunk: each reads and writes the gradient of all of [V, D] once. At V 32,000 and D 768
chunks of 32 rows took 4 times as long on two cores."""

SMALLEST = torch.finfo(torch.float32).tiny
"""A smaller probability counts as this one: a loss of 87 nats, and never infinite."""


class LinearCrossEntropy(torch.autograd.Function):
    """The output layer and the mean cross-entropy in one, with the gradients made on the way.

    A chunk's logits become its probabilities and then its gradient in one buffer, and both matrix
    products of the backward pass follow at once (as in Liger Kernel, Hsu et al. 2024). Kept for
    the backward pass: [N, D] and [V, D] instead of several [N, V].
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, kept: Tensor, targets: Tensor, count: float, masked: bool
    ) -> Tensor:
        """The sum of the nats over `count`: hidden [N, D], kept [V, D], targets [N].

        `hidden` is float32 or bfloat16, and says what matrices are multiplied in; `kept` are the
        weights as the optimizer has them, and so is their gradient: cast outside, autograd would
        round it on its way back. Where `masked`, targets of NOT_LEARNED count nothing.
        """
        assert len(targets), "the first chunk starts the gradient of the weights"
        weight = kept.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
        losses = torch.empty(len(targets), device=weight.device)
        rows = chunk_rows(weight)
        for start in range(0, len(targets), rows):
            chunk = slice(start, start + rows)
            held, wanted = hidden[chunk], targets[chunk, None]
            gradient = torch.softmax(held @ weight.T, -1, dtype=torch.float32)
            learned = (wanted != NOT_LEARNED) if masked else None
            if learned is not None:
                wanted = wanted.clamp_min(0)
            nats = gradient.gather(1, wanted)[:, 0].clamp_min(SMALLEST).log_().neg_()
            losses[chunk] = nats if learned is None else nats.mul_(learned[:, 0])
            one = torch.full(wanted.shape, -1.0, device=weight.device)
            gradient.scatter_add_(1, wanted, one).div_(count)
            if learned is not None:
                gradient.mul_(learned)
            narrow = gradient.to(weight.dtype)
            torch.mm(narrow, weight, out=grad_hidden[chunk])
            if narrow.dtype == torch.float32:
                torch.addmm(grad_weight, narrow.T, held, beta=min(start, 1), out=grad_weight)
            elif start:
                grad_weight += narrow.T @ held
            else:
                grad_weight.copy_(narrow.T @ held)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return losses.sum() / count

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """The gradients of hidden and weight."""
        grad_hidden, grad_weight = ctx.saved_tensors
        rough = grad_output.to(grad_hidden.dtype)
        # In place: another [V, D] costs a processor as much as the pass over it.
        return grad_hidden * rough, grad_weight.mul_(grad_output), None, None, None


def next_token_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    count: float | None = None,
    masked: bool = False,
) -> Tensor:
    """The cross-entropy in nats, with gradients.

    Args:
        hidden: [..., D], what the model made of each token.
        weight: [V, D], the output layer.
        targets: [...], the token that follows each, or NOT_LEARNED.
        dtype: what the matrices are multiplied in.
        count: what the sum is divided by; by default the number of targets.
        masked: whether some targets are NOT_LEARNED.
    """
    flat = targets.flatten()
    loss: Tensor = LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, -2).to(dtype),
        weight,
        flat,
        float(len(flat) if count is None else count),
        masked,
    )
    return loss


def next_token_nats(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of each token in nats, [N] of hidden [N, D], without gradients."""
    rows = chunk_rows(weight)
    parts = [
        F.cross_entropy(held @ weight.T, wanted, reduction="none")
        for held, wanted in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(parts)


def chunk_rows(weight: Tensor) -> int:
    """Tokens of a chunk, C, for an output layer [V, D]."""
    return max(LEAST_ROWS, CHUNK_ELEMENTS.get(weight.device.type, 2**20) // len(weight))
