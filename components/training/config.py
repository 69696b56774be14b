"""What training computes, and its declaration as a step."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from components.artifacts.errors import ConfigError
from components.artifacts.tokens import TOKENS
from components.model.config import InitializationConfig, ModelConfig
from components.stage.config import Config, Within
from components.stage.step import Step

logger = logging.getLogger("codekiln.training")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig(Config):
    """How the learning rates rise and fall: every rate is its peak times one factor."""

    kind: Literal["wsd", "cosine", "linear"] = "wsd"
    """`wsd`: warm up, hold, then fall in a line until the last step (warm-up, stable, decay).
    `cosine`: warm up, fall along half a cosine for `decay_steps`, then stay at the floor.
    `linear`: the same along a line."""

    warmup_steps: Annotated[int, Within(0)] = 0
    """Steps of linear warm-up; 0 takes `warmup_share`."""

    warmup_share: Annotated[float, Within(0.0, 1.0)] = 0.02
    """Share of `max_steps` that warms up, where `warmup_steps` is 0; 0 for none."""

    hold_share: Annotated[float, Within(0.0, 1.0)] = 0.5
    """Share of `max_steps` after which `wsd` falls (nanochat and modded-nanogpt: 0.5 to 0.6)."""

    decay_steps: Annotated[int, Within(0)] = 0
    """Steps that `cosine` and `linear` take from the end of warm-up to the floor; 0 falls until the
    last step. GPT-CC fell for 25,000 of 100,000 steps and ran 72,500 at the floor. Its card's
    misspelt `decap_steps` is taken for this, with a warning."""

    floor_share: Annotated[float, Within(0.0, 1.0)] = 0.02
    """What is left at the end, as a share of the peak (GPT-CC: 0.1)."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a schedule strictly, but for the misspelling in GPT-CC's model card."""
        if isinstance(value, Mapping) and "decap_steps" in value:
            if "decay_steps" in value:
                raise ConfigError(
                    f"expected one of decay_steps and decap_steps, got both in {dict(value)!r}: "
                    "leave the misspelt one out"
                )
            logger.warning("decap_steps, as in GPT-Code-Clippy's card, is read as decay_steps")
            value = {
                ("decay_steps" if name == "decap_steps" else name): number
                for name, number in value.items()
            }
        return super(ScheduleConfig, cls).from_json(value)

    def with_text(self, dotted: str, text: str) -> Self:
        """Change one field by its name; `decap_steps` is `decay_steps`."""
        if dotted.replace("-", "_") == "decap_steps":
            logger.warning("decap_steps, as in GPT-Code-Clippy's card, is read as decay_steps")
            dotted = "decay_steps"
        return super(ScheduleConfig, self).with_text(dotted, text)


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

    backend: Literal["torch", "jax"] = "torch"
    """Who computes: `torch` on processors and GPUs, `jax` on TPUs too. The same model, batches and
    updates; the last digits differ, so it is part of what is computed."""

    optimizer: Literal["adamw", "muon", "adafactor"] = "muon"
    """`adamw` or `adafactor` (Shazeer & Stern 2018: no second moments of matrices in memory) for
    all tensors, or `muon` (Jordan et al. 2024) for the matrices of the blocks and AdamW for
    embeddings, biases and norms."""

    learning_rate: Annotated[float, Within(0.0, 1.0)] = 3e-3
    """Peak of AdamW or Adafactor."""

    beta1: Annotated[float, Within(0.0, 1.0)] = 0.9
    """AdamW's decay of the mean gradient."""

    beta2: Annotated[float, Within(0.0, 1.0)] = 0.95
    """AdamW's decay of the mean squared gradient."""

    epsilon: Annotated[float, Within(0.0, 1.0)] = 1e-8
    """Added to AdamW's denominator."""

    weight_decay: Annotated[float, Within(0.0, 10.0)] = 0.1
    """Decoupled weight decay of AdamW or Adafactor, on matrices and embeddings; never on biases and
    norms."""

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
    """Blocks of `model.context_length` tokens in one pass, over all devices together."""

    gradient_accumulation: Annotated[int, Within(1, 65_536)] = 1
    """Passes whose gradients are averaged before an update."""

    ramp_from: Annotated[int, Within(0, 65_536)] = 0
    """Passes of the first update; they rise evenly to `gradient_accumulation` within `ramp_steps`.
    0 has no ramp (PyCodeGPT's `512K_150K` was one)."""

    ramp_steps: Annotated[int, Within(0, 1_000_000)] = 0
    """Updates until `gradient_accumulation` passes are reached, where `ramp_from` is not 0."""

    answer_marker: str = ""
    """Text after which a document is learned from, for fine-tuning on problems with answers: what
    stands before it, and it, is read and not learned. Empty learns from every token. GPT-CC's APPS
    documents have an answer after `\\nANSWER:\\n`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What matrices are multiplied in while training; weights and sums stay float32. bfloat16
    needs hardware for it: with AVX512-BF16 it is about twice as fast, without it 10 to 50 times
    slower. Validation is always in float32."""

    compile_model: bool = False
    """Compile the torch model first: half a minute or more, then a fifth faster on a CPU and twice
    as fast on a GPU. JAX always compiles."""

    seed: Annotated[int, Within(0)] = 0
    """Seeds the initial weights and the order of the blocks."""

    validate_every_steps: Annotated[int, Within(0)] = 0
    """Steps between looks at a part of the held-out documents; 0 looks at the end only."""

    validation_tokens: Annotated[int, Within(1)] = 32_768
    """Tokens of such a look, from the start of the held-out documents. Before the first step and
    after the last one, all held-out tokens are scored."""

    checkpoint_every_steps: Annotated[int, Within(0)] = 100
    """Steps between checkpoints that a killed run goes on from; 0 keeps the last step's only."""

    save_total_limit: Annotated[int, Within(2, 1000)] = 2
    """Checkpoints that are kept, the last ones; the best one is kept besides."""

    publish: Literal["last", "best"] = "last"
    """Whose weights become the model: the `last` step's, or those of the checkpoint whose look at
    held-out documents was `best`."""

    log_every_steps: Annotated[int, Within(1)] = 10
    """Steps between records of loss and learning rate; the loss is the mean since the last."""

    def check(self) -> None:
        if self.beta1 == 1.0 or self.beta2 == 1.0 or self.muon_momentum == 1.0:
            raise ConfigError(
                f"expected beta1, beta2 and muon_momentum below 1, got {self.beta1}, {self.beta2} "
                f"and {self.muon_momentum} in TrainingConfig: 1 never learns"
            )
        if self.ramp_from > self.gradient_accumulation or bool(self.ramp_from) != bool(
            self.ramp_steps
        ):
            raise ConfigError(
                f"expected ramp_from of 1 to gradient_accumulation with ramp_steps, or both 0, got "
                f"{self.ramp_from}, {self.gradient_accumulation} and {self.ramp_steps} in "
                "TrainingConfig"
            )
        if self.publish == "best" and not (
            self.validate_every_steps
            and self.checkpoint_every_steps
            and self.checkpoint_every_steps % self.validate_every_steps == 0
        ):
            raise ConfigError(
                "expected checkpoint_every_steps to be a multiple of validate_every_steps for "
                f"publish 'best', got {self.checkpoint_every_steps} and "
                f"{self.validate_every_steps} in TrainingConfig: the best is chosen among them"
            )

    @property
    def tokens_per_pass(self) -> int:
        """Tokens that one pass reads."""
        return self.batch_size * self.model.context_length


STEP = Step(
    name="training",
    version=3,
    kind="model",
    summary="Train a GPT-Neo on token shards and measure it on held-out documents.",
    config=TrainingConfig,
    inputs={"tokens": TOKENS, "tokenizer": "tokenizer"},
    observed=True,
    undigested=frozenset({"timings"}),
    distributed=True,
    extra="torch",
)
