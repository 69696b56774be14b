"""The loop: batches, losses, updates, records, checkpoints."""

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.artifacts.errors import StepFailedError
from components.model.neo import GptNeo
from components.stage.progress import LINE_INTERVAL_S, progress
from components.training.blocks import BlockStream
from components.training.checkpoint import load_checkpoint, save_checkpoint
from components.training.config import TrainingConfig
from components.training.loss import next_token_loss
from components.training.optimizer import Optimizer
from components.training.schedule import learning_rate_factor
from components.training.validation import HeldOut, Nats, token_nats

logger = logging.getLogger("codekiln.training")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Row = dict[str, Any]


@dataclass
class History:
    """What a run tells of itself; part of every checkpoint."""

    records: list[Row] = field(default_factory=list)
    """Losses, learning rates and validations; the same in every run of an equal config."""

    timings: list[Row] = field(default_factory=list)
    """Wall time, processor time and speed."""

    losses: list[float] = field(default_factory=list)
    """Of the steps since the last record."""

    seconds: float = 0.0
    """Wall time of the steps so far, over all processes that worked on the run."""

    cpu_seconds: float = 0.0


class Trainer:
    """Trains one model; a killed run goes on at its last checkpoint."""

    def __init__(
        self,
        config: TrainingConfig,
        model: GptNeo,
        stream: BlockStream,
        held_out: HeldOut,
        scratch: Path,
    ) -> None:
        self.model = model
        self.history = History()
        self._config = config
        self._stream = stream
        self._held_out = held_out
        self._sample = held_out.sample(config.validation_tokens)
        self._scratch = scratch
        self._optimizer = Optimizer(model, config)
        self._dtype = DTYPES[config.dtype]
        self._step = 0
        self._said = time.monotonic()

    def train(self) -> None:
        """Train until the last step.

        Raises:
            StepFailedError: the loss or a weight is not a number any more.
        """
        self._resume()
        if self._step == 0:
            self._validate(self._held_out)
        left = range(self._step, self._config.max_steps)
        for _ in progress(left, label="training", total=len(left), unit="step", lines=False):
            self._advance()

    def finish(self) -> Nats:
        """Score all held-out tokens with the trained model; the nats of each."""
        nats = token_nats(self.model, self._held_out.ids)
        score = self._held_out.score(nats)
        self._record(validation_loss=score.loss, bits_per_byte=score.bits_per_byte)
        return nats

    def _advance(self) -> None:
        """One step, and what falls due after it."""
        config = self._config
        wall, cpu = time.perf_counter(), time.process_time()
        factor = learning_rate_factor(config.schedule, self._step, config.max_steps)
        self.history.losses.append(self._backward())
        self._optimizer.step(factor)
        self._step += 1
        self.history.seconds += time.perf_counter() - wall
        self.history.cpu_seconds += time.process_time() - cpu
        last = self._step == config.max_steps
        if last or self._step % config.log_every_steps == 0:
            self._log(config.learning_rate * factor)
        if _due(self._step, config.validate_every_steps) and not last:
            self._validate(self._sample)
        if last or _due(self._step, config.checkpoint_every_steps):
            self._save()

    def _backward(self) -> float:
        """Gradients of one step; its loss."""
        config = self._config
        blocks = torch.from_numpy(
            self._stream.batch(config.seed, self._step, config.blocks_per_step)
        )
        total = 0.0
        for part in torch.split(blocks, config.batch_size):
            with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype == torch.bfloat16):
                hidden = self.model.hidden(part[:, :-1])
            loss = next_token_loss(hidden, self.model.output_weight, part[:, 1:], self._dtype)
            share = loss / config.gradient_accumulation
            torch.autograd.backward(share)
            total += share.item()
        if not math.isfinite(total):
            raise self._failed(f"a finite loss, got {total}")
        return total

    def _log(self, learning_rate: float) -> None:
        history = self.history
        loss = sum(history.losses) / len(history.losses)
        history.losses.clear()
        tokens = self._step * self._config.tokens_per_step
        self._record(tokens=tokens, training_loss=loss, learning_rate=learning_rate)
        speed = tokens / history.seconds
        history.timings.append(
            {
                "step": self._step,
                "seconds": round(history.seconds, 3),
                "cpu_seconds": round(history.cpu_seconds, 3),
                "tokens_per_second": round(speed, 1),
            }
        )
        if time.monotonic() - self._said >= LINE_INTERVAL_S:
            self._said = time.monotonic()
            logger.info(
                "step %d of %d: loss %.3f, %.0f tokens/s",
                self._step,
                self._config.max_steps,
                loss,
                speed,
            )

    def _validate(self, held_out: HeldOut) -> None:
        score = held_out.score(token_nats(self.model, held_out.ids))
        self._record(validation_loss=score.loss, bits_per_byte=score.bits_per_byte)
        logger.info("step %d: validation %.3f bits per byte", self._step, score.bits_per_byte)

    def _record(self, **values: float) -> None:
        self.history.records.append({"step": self._step, **values})

    def _save(self) -> None:
        state = {name: tensor.detach() for name, tensor in self.model.state_dict().items()}
        if not all(_finite(tensor) for tensor in state.values()):
            raise self._failed("finite weights, got others")
        history = {name: getattr(self.history, name) for name in _HISTORY_FIELDS}
        save_checkpoint(
            self._scratch,
            self._step,
            {
                "step": self._step,
                "model": state,
                "optimizer": self._optimizer.state_dict(),
                "history": history,
            },
        )

    def _resume(self) -> None:
        state = load_checkpoint(self._scratch)
        if state is None:
            return
        self._step = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])
        logger.info("going on after step %d of %d", self._step, self._config.max_steps)

    def _failed(self, what: str) -> StepFailedError:
        """An error that names the step and its batch."""
        config = self._config
        starts = self._stream.starts(config.seed, self._step, config.blocks_per_step)
        return StepFailedError(
            f"expected {what} after {self._step} steps, in the batch of {len(starts)} blocks whose "
            f"first begins at training token {starts[0]}: the last good checkpoint is kept in "
            f"{self._scratch}; lower learning_rate or set gradient_clip"
        )


_HISTORY_FIELDS = ("records", "timings", "losses", "seconds", "cpu_seconds")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
