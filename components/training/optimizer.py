"""The optimizer of a run: AdamW, or Muon for the matrices of the blocks and AdamW elsewhere."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from components.model.names import is_block_matrix, is_decayed
from components.model.neo import GptNeo
from components.training.config import TrainingConfig
from components.training.muon import Muon


class Optimizer:
    """Updates all weights of a model from their gradients."""

    def __init__(self, model: GptNeo, config: TrainingConfig) -> None:
        named = dict(model.named_parameters())
        self._parameters = list(named.values())
        self._clip = config.gradient_clip
        self._rate = config.learning_rate
        matrices = [tensor for name, tensor in named.items() if is_block_matrix(name)]
        self._muon: Muon | None = None
        if config.optimizer == "muon":
            self._muon = Muon(
                matrices,
                learning_rate=config.muon_learning_rate,
                momentum=config.muon_momentum,
                weight_decay=config.muon_weight_decay,
            )
            named = {name: tensor for name, tensor in named.items() if not is_block_matrix(name)}
        self._adamw = torch.optim.AdamW(
            _decay_groups(named, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )

    def step(self, factor: float) -> None:
        """Apply the gradients, and forget them.

        Args:
            factor: of the learning rates.
        """
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        if self._muon:
            self._muon.step(factor)
        for group in self._adamw.param_groups:
            group["lr"] = self._rate * factor
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        muon = self._muon.state_dict() if self._muon else {}
        return {"adamw": self._adamw.state_dict(), "muon": muon}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._adamw.load_state_dict(state["adamw"])
        if self._muon:
            self._muon.load_state_dict(state["muon"])


def _decay_groups(named: Mapping[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with weight decay, and those without: biases and norms."""
    decayed = [tensor for name, tensor in named.items() if is_decayed(name)]
    others = [tensor for name, tensor in named.items() if not is_decayed(name)]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
