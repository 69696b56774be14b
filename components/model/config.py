"""The shape of a model, and where its weights start. Light: no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from components.artifacts.errors import ConfigError
from components.artifacts.tokens import MAX_VOCABULARY
from components.stage.config import Config, Within


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Config):
    """The shape of a GPT-Neo: alternating global and local attention, no dropout.

    The defaults are GPT-Neo-125M with the context of PyCodeGPT.
    """

    vocabulary_size: Annotated[int, Within(0, MAX_VOCABULARY)] = 0
    """Rows of the token embedding; 0 takes the size of the tokenizer's vocabulary."""

    context_length: Annotated[int, Within(2, 65_536)] = 1024
    """Positions, in tokens. Positions are learned: the model cannot read past them."""

    num_layers: Annotated[int, Within(1, 256)] = 12
    """Transformer blocks. Even ones attend to everything before, odd ones to a window."""

    num_heads: Annotated[int, Within(1, 256)] = 12
    """Attention heads; they divide `hidden_size`."""

    hidden_size: Annotated[int, Within(1, 16_384)] = 768
    """Width of the residual stream; the feed-forward layers are four times as wide."""

    window: Annotated[int, Within(1, 65_536)] = 256
    """Keys that a local layer's query sees, itself included, in tokens (256 in GPT-Neo)."""

    layer_norm_epsilon: Annotated[float, Within(0.0, 1.0)] = 1e-5
    """Added to the variance in layer norms (GPT-Neo's value)."""

    def check(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"expected hidden_size to be a multiple of num_heads, got {self.hidden_size} and "
                f"{self.num_heads} in ModelConfig: change one of them"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class InitializationConfig(Config):
    """Where random weights start. The defaults are GPT-Neo's own."""

    standard_deviation: Annotated[float, Within(0.0, 1.0)] = 0.02
    """Of the normal distribution of every matrix and embedding (GPT-2's and GPT-Neo's value)."""

    output_projections: Literal["normal", "scaled", "zero"] = "normal"
    """The two matrices of a block that write to the residual stream: `normal` like all others,
    `scaled` by 1 / sqrt(2 * num_layers) (GPT-2), or `zero`: each block starts as the identity."""

    scale_queries: bool = False
    """Divide the query projection by sqrt(head size). GPT-Neo's attention has no such factor of
    its own, so without this its softmax starts sharper the wider the heads are."""
