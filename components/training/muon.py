"""Muon: momentum whose matrices are made orthogonal before they are applied.

Jordan et al. 2024 (Muon), Liu et al. 2025 (with weight decay). Shapes: G matrices of one shape,
R rows, C columns, R <= C.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon:
    """Orthogonalised Nesterov momentum for matrices; those of one shape are worked on as one."""

    def __init__(
        self,
        matrices: Sequence[Tensor],
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        groups: dict[tuple[int, int], list[Tensor]] = {}
        for matrix in matrices:
            rows, columns = matrix.shape
            groups.setdefault((min(rows, columns), max(rows, columns)), []).append(matrix)
        self._groups = list(groups.values())
        self._means = [torch.zeros(len(group), *shape) for shape, group in groups.items()]
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Apply the gradients, and forget them.

        Args:
            factor: of the learning rate.
        """
        rate = self._learning_rate * factor
        for group, mean in zip(self._groups, self._means, strict=True):
            gradients = torch.stack([_wide(_gradient(matrix)) for matrix in group])
            mean.lerp_(gradients, 1 - self._momentum)
            updates = orthogonalize(gradients.lerp_(mean, self._momentum))
            for matrix, update in zip(group, updates, strict=True):
                tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - rate * self._weight_decay)
                matrix.add_(update if _is_wide(matrix) else update.T, alpha=-rate * tall)
                matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"means": self._means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for mean, held in zip(self._means, state["means"], strict=True):
            mean.copy_(held)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1 by Newton-Schulz iterations, [G, R, C] with R <= C.

    The iterations are run on the R x R Gram matrices, which all commute, so that only the first
    and the last product have C columns.
    """
    scaled = matrices / (matrices.norm(dim=(1, 2), keepdim=True) * 1.01 + 1e-7)
    gram = scaled @ scaled.mT
    eye = torch.eye(gram.shape[-1])
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


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    return matrix if _is_wide(matrix) else matrix.T
