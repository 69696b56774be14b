"""The optimizers of a run in torch: AdamW, Adafactor, or Muon with AdamW beside it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from components.model.names import is_block_matrix, is_decayed
from components.training.config import TrainingConfig
from components.training.muon import Muon


class Optimizer:
    """Updates weights from their gradients."""

    def __init__(self, named: Mapping[str, Tensor], config: TrainingConfig) -> None:
        """Take the weights by their names in transformers."""
        self._parameters = list(named.values())
        self._clip = config.gradient_clip
        self.parts: list[torch.optim.Optimizer] = []
        """The optimizers of torch that do the work; their state is what a checkpoint holds."""
        self._rates: list[float] = []
        rest = dict(named)
        if config.optimizer == "muon":
            matrices = [rest.pop(name) for name in named if is_block_matrix(name)]
            self._add(_muon(matrices, config), config.muon_learning_rate)
        self._add(
            _adafactor(rest, config) if config.optimizer == "adafactor" else _adamw(rest, config),
            config.learning_rate,
        )

    def _add(self, part: torch.optim.Optimizer, rate: float) -> None:
        self.parts.append(part)
        self._rates.append(rate)

    def step(self, factor: float, *, measure: bool = False) -> float | None:
        """Apply the gradients, and forget them.

        Args:
            factor: of the learning rates.
            measure: whether to say the norm of all gradients, before clipping.
        """
        norm = self._clipped_norm() if measure or self._clip else None
        for part, rate in zip(self.parts, self._rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * factor
            part.step()
            part.zero_grad(set_to_none=True)
        return float(norm) if norm is not None and measure else None

    def _clipped_norm(self) -> Tensor:
        """The norm of all gradients over all devices; they are clipped if they are to be."""
        gradients = [one.grad for one in self._parameters if one.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self._clip:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip, whole)
        return whole


def _muon(matrices: list[Tensor], config: TrainingConfig) -> Muon:
    return Muon(
        matrices,
        lr=config.muon_learning_rate,
        momentum=config.muon_momentum,
        weight_decay=config.muon_weight_decay,
    )


def _adamw(named: Mapping[str, Tensor], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        _decay_groups(named, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def _adafactor(named: Mapping[str, Tensor], config: TrainingConfig) -> torch.optim.Optimizer:
    """Without momentum; the rate is relative to each tensor's own size (Shazeer & Stern 2018)."""
    return torch.optim.Adafactor(_decay_groups(named, config.weight_decay), lr=config.learning_rate)


def _decay_groups(named: Mapping[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with weight decay, and those without: biases and norms."""
    decayed = [tensor for name, tensor in named.items() if is_decayed(name)]
    others = [tensor for name, tensor in named.items() if not is_decayed(name)]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
