"""Muon: momentum whose matrices are made orthogonal before they are applied.

Jordan et al. 2024 (Muon), Liu et al. 2025 (with weight decay). Shapes: G matrices of one shape,
R rows, C columns, R <= C.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from components.training.newton_schulz import NEWTON_SCHULZ


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for matrices; those of one shape are worked on as one.

    Of weights that are shared over devices (FSDP), each device keeps its part of the momentum, and
    all gather the whole update to make it orthogonal.
    """

    def __init__(
        self, matrices: Sequence[Tensor], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(
            list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply the gradients."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            self._step(group)

    def _step(self, group: dict[str, Any]) -> None:
        matrices: list[Tensor] = [one for one in group["params"] if one.grad is not None]
        gradients = [_gradient(matrix) for matrix in matrices]
        means = [self._mean(matrix) for matrix in matrices]
        if not matrices:
            return
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, means, group["momentum"])
        shapes: dict[tuple[int, int], list[int]] = {}
        for place, matrix in enumerate(matrices):
            rows, columns = matrix.shape
            shapes.setdefault((min(rows, columns), max(rows, columns)), []).append(place)
        for places in shapes.values():
            whole = orthogonalize(torch.stack([_wide(_whole(updates[place])) for place in places]))
            for place, update in zip(places, whole, strict=True):
                _apply(matrices[place], update, group)

    def _mean(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(matrix)
        mean: Tensor = state["mean"]
        return mean


def _apply(matrix: Tensor, update: Tensor, group: dict[str, Any]) -> None:
    tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    own = update if _is_wide(matrix) else update.T
    matrix.mul_(1 - group["lr"] * group["weight_decay"])
    matrix.add_(_like(own, matrix), alpha=-group["lr"] * tall)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1 by Newton-Schulz iterations, [G, R, C] with R <= C.

    The iterations are run on the R x R Gram matrices, which all commute, so that only the first
    and the last product have C columns.
    """
    scaled = matrices / (matrices.norm(dim=(1, 2), keepdim=True) * 1.01 + 1e-7)
    gram = scaled @ scaled.mT
    eye = torch.eye(gram.shape[-1], device=gram.device)
    whole: Tensor | None = None
    for index, (a, b, c) in enumerate(NEWTON_SCHULZ):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c).add_(eye, alpha=a)
        whole = factor if whole is None else factor @ whole
        if index + 1 < len(NEWTON_SCHULZ):
            gram = factor @ gram @ factor
    assert whole is not None
    return torch.matmul(whole, scaled)


def _gradient(matrix: Tensor) -> Tensor:
    assert matrix.grad is not None, "a step follows a backward pass"
    return matrix.grad


def _whole(update: Tensor) -> Tensor:
    return update.full_tensor() if isinstance(update, DTensor) else update


def _like(update: Tensor, matrix: Tensor) -> Tensor:
    """A whole update as the matrix lies: every device has all of it and takes its part."""
    if not isinstance(matrix, DTensor):
        return update
    mesh, places = matrix.device_mesh, matrix.placements
    return distribute_tensor(update, mesh, places, src_data_rank=None)


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    return matrix if _is_wide(matrix) else matrix.T
