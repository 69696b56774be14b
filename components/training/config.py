"""What training computes, and its declaration as a step."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from components.artifacts.errors import ConfigError
from components.artifacts.tokens import TOKENS
from components.model.config import InitializationConfig, ModelConfig
from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig(Config):
    """How the learning rates rise and fall: every rate is its peak times one factor."""

    kind: Literal["wsd", "cosine"] = "wsd"
    """`wsd`: warm up, hold, then fall in a line until the last step (warm-up, stable, decay).
    `cosine`: warm up, fall along half a cosine for `decay_steps`, then stay at the floor."""

    warmup_steps: Annotated[int, Within(0)] = 0
    """Steps of linear warm-up; 0 takes `warmup_share`."""

    warmup_share: Annotated[float, Within(0.0, 1.0)] = 0.02
    """Share of `max_steps` that warms up, where `warmup_steps` is 0; 0 for none."""

    hold_share: Annotated[float, Within(0.0, 1.0)] = 0.5
    """Share of `max_steps` after which `wsd` falls (nanochat and modded-nanogpt: 0.5 to 0.6)."""

    decay_steps: Annotated[int, Within(0)] = 0
    """Steps that `cosine` takes from the end of warm-up to the floor; 0 falls until the last step.
    GPT-CC fell for 25,000 of 100,000 steps and ran 72,500 at the floor."""

    floor_share: Annotated[float, Within(0.0, 1.0)] = 0.02
    """What is left at the end, as a share of the peak (GPT-CC: 0.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Config):
    """A training run: the model's shape, the optimizer, and how long."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The shape of the model."""

    initialization: InitializationConfig = field(default_factory=InitializationConfig)
    """Where random weights start."""

    pretrained_folder: str = ""
    """A Hugging Face folder of a GPT-Neo on this machine to start from; empty: random weights.
    Its files' hashes enter the key."""

    optimizer: Literal["adamw", "muon"] = "muon"
    """`adamw` for all tensors, or `muon` (Jordan et al. 2024) for the matrices of the blocks and
    AdamW for embeddings, biases and norms."""

    learning_rate: Annotated[float, Within(0.0, 1.0)] = 3e-3
    """Peak of AdamW."""

    beta1: Annotated[float, Within(0.0, 1.0)] = 0.9
    """AdamW's decay of the mean gradient."""

    beta2: Annotated[float, Within(0.0, 1.0)] = 0.95
    """AdamW's decay of the mean squared gradient."""

    epsilon: Annotated[float, Within(0.0, 1.0)] = 1e-8
    """Added to AdamW's denominator."""

    weight_decay: Annotated[float, Within(0.0, 10.0)] = 0.1
    """AdamW's decoupled weight decay, on matrices and embeddings; never on biases and norms."""

    muon_learning_rate: Annotated[float, Within(0.0, 1.0)] = 0.02
    """Peak of Muon."""

    muon_momentum: Annotated[float, Within(0.0, 1.0)] = 0.95
    """Muon's decay of the mean gradient (Nesterov)."""

    muon_weight_decay: Annotated[float, Within(0.0, 10.0)] = 0.1
    """Muon's decoupled weight decay."""

    gradient_clip: Annotated[float, Within(0.0)] = 0.0
    """Largest norm of all gradients together; 0 clips nothing."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How the learning rates rise and fall."""

    max_steps: Annotated[int, Within(1)] = 500
    """Updates of the weights."""

    batch_size: Annotated[int, Within(1, 65_536)] = 16
    """Blocks of `model.context_length` tokens in one pass."""

    gradient_accumulation: Annotated[int, Within(1, 65_536)] = 1
    """Passes whose gradients are averaged before an update."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What matrices are multiplied in while training; weights and sums stay float32. bfloat16
    needs hardware for it: with AVX512-BF16 it is about twice as fast, without it 10 to 50 times
    slower. Validation is always in float32."""

    seed: Annotated[int, Within(0)] = 0
    """Seeds the initial weights and the order of the blocks."""

    validate_every_steps: Annotated[int, Within(0)] = 0
    """Steps between looks at a part of the held-out documents; 0 looks at the end only."""

    validation_tokens: Annotated[int, Within(1)] = 32_768
    """Tokens of such a look, from the start of the held-out documents. Before the first step and
    after the last one, all held-out tokens are scored."""

    checkpoint_every_steps: Annotated[int, Within(0)] = 100
    """Steps between checkpoints that a killed run goes on from; 0 keeps the last step's only."""

    log_every_steps: Annotated[int, Within(1)] = 10
    """Steps between records of loss and learning rate; the loss is the mean since the last."""

    def check(self) -> None:
        if self.beta1 == 1.0 or self.beta2 == 1.0 or self.muon_momentum == 1.0:
            raise ConfigError(
                f"expected beta1, beta2 and muon_momentum below 1, got {self.beta1}, {self.beta2} "
                f"and {self.muon_momentum} in TrainingConfig: 1 never learns"
            )

    @property
    def blocks_per_step(self) -> int:
        """Blocks of one update."""
        return self.batch_size * self.gradient_accumulation

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one update learns from."""
        return self.blocks_per_step * self.model.context_length


STEP = Step(
    name="training",
    version=1,
    kind="model",
    summary="Train a GPT-Neo on token shards and measure it on held-out documents.",
    config=TrainingConfig,
    inputs={"tokens": TOKENS, "tokenizer": "tokenizer"},
    observed=True,
    undigested=frozenset({"timings"}),
    extra="torch",
)
