"""The loop: batches, losses, updates, records, checkpoints; whatever backend computes."""

import logging
import math
import time
from collections.abc import Sequence

from components.artifacts.errors import StepFailedError
from components.model.config import ModelConfig
from components.stage.lifeline import TerminatedError
from components.stage.progress import LINE_INTERVAL_S, progress
from components.training.blocks import Batch, BlockStream
from components.training.checkpoints import Checkpoint, Checkpoints
from components.training.config import TrainingConfig
from components.training.flops import model_flops_utilisation
from components.training.learner import Learner, Nats
from components.training.preemption import Termination
from components.training.records import History, Tracker
from components.training.schedule import (
    learning_rate_factor,
    passes_before,
    passes_of_step,
    tokens_before,
)
from components.training.validation import HeldOut, token_nats

logger = logging.getLogger("codekiln.training")


class Trainer:
    """Trains one model; a killed run goes on at its last checkpoint."""

    def __init__(
        self,
        config: TrainingConfig,
        shape: ModelConfig,
        learner: Learner,
        stream: BlockStream,
        held_out: HeldOut,
        checkpoints: Checkpoints,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """Put a run together.

        Args:
            config: what is computed.
            shape: of the model, with its vocabulary.
            learner: who computes.
            stream: the training tokens.
            held_out: the documents that the model is judged by.
            checkpoints: what an earlier run of this artifact left, and where this one saves.
            trackers: who is told besides.
        """
        self.history = History()
        self._config = config
        self._shape = shape
        self._learner = learner
        self._stream = stream
        self._held_out = held_out
        self._sample = held_out.sample(config.validation_tokens)
        self._checkpoints = checkpoints
        self._trackers = trackers
        self._termination = Termination()
        self._validation: float | None = None
        self._step = 0
        self._said = time.monotonic()

    def train(self) -> None:
        """Train until the last step.

        Raises:
            StepFailedError: the loss or a weight is not a number any more, or memory is short.
            TerminatedError: SIGTERM came; a checkpoint is saved.
        """
        self._resume(self._checkpoints.last())
        with self._termination.watched():
            if self._step == 0:
                self._validate(self._held_out)
            left = range(self._step, self._config.max_steps)
            for _ in progress(left, label="training", total=len(left), unit="step", lines=False):
                self._advance()

    def finish(self) -> Nats:
        """Score all held-out tokens with the weights that are published; the nats of each."""
        if self._config.publish == "best" and (best := self._checkpoints.best()):
            logger.info("publishing the weights of step %d, the best look", best.step)
            self._learner.read(best.state)
        nats = self._nats(self._held_out)
        score = self._held_out.score(nats)
        self._record(validation_loss=score.loss, bits_per_byte=score.bits_per_byte)
        self._checkpoints.settle()
        self._learner.group.gather(None)  # the first removes all of them once it has published
        return nats

    def _advance(self) -> None:
        """One step, and what falls due after it."""
        config = self._config
        wall, cpu = time.perf_counter(), time.process_time()
        factor = learning_rate_factor(config.schedule, self._step, config.max_steps)
        last = self._step + 1 == config.max_steps
        logged = last or (self._step + 1) % config.log_every_steps == 0
        self.history.losses.append(self._gradients())
        norm = self._learner.update(factor, measure=logged)
        self._step += 1
        self._validation = None
        self.history.seconds += time.perf_counter() - wall
        self.history.cpu_seconds += time.process_time() - cpu
        if logged:
            self._log(config.learning_rate * factor, norm)
        if _due(self._step, config.validate_every_steps) and not last:
            self._validate(self._sample)
        terminated = any(self._learner.group.gather(self._termination.asked))
        if last or terminated or _due(self._step, config.checkpoint_every_steps):
            self._save()
        if terminated and not last:
            self._checkpoints.settle()
            raise TerminatedError(
                f"terminated after step {self._step} of {config.max_steps}: run again to go on"
            )

    def _gradients(self) -> float:
        """Gradients of one step; its loss."""
        loss = self._learner.gradients(self._batches())
        if not math.isfinite(loss):
            raise self._failed(f"a finite loss, got {loss}")
        return loss

    def _batches(self) -> list[Batch]:
        config = self._config
        first = passes_before(config, self._step)
        return [
            self._stream.batch(config.seed, first + index, config.batch_size)
            for index in range(passes_of_step(config, self._step))
        ]

    def _log(self, learning_rate: float, gradient_norm: float | None) -> None:
        history, config = self.history, self._config
        loss = sum(history.losses) / len(history.losses)
        history.losses.clear()
        tokens = tokens_before(config, self._step)
        values = {"tokens": tokens, "training_loss": loss, "learning_rate": learning_rate}
        if gradient_norm is not None:
            values["gradient_norm"] = gradient_norm
        self._record(**values)
        self._time(tokens)
        if time.monotonic() - self._said >= LINE_INTERVAL_S:
            self._said = time.monotonic()
            speed = history.timings[-1]["tokens_per_second"]
            logger.info(
                "step %d of %d: loss %.3f, %.0f tokens/s", self._step, config.max_steps, loss, speed
            )

    def _time(self, tokens: int) -> None:
        """Note how fast it goes: on average, since the first step."""
        history, learner = self.history, self._learner
        speed = tokens / history.seconds
        timing = {
            "seconds": round(history.seconds, 3),
            "cpu_seconds": round(history.cpu_seconds, 3),
            "tokens_per_second": round(speed, 1),
            "peak_memory_bytes": learner.peak_memory_bytes(),
        }
        used = model_flops_utilisation(
            self._shape,
            self._config.model.context_length,
            speed,
            learner.device_name,
            learner.num_devices,
        )
        if used is not None:
            timing["mfu"] = round(used, 4)
        history.timings.append({"step": self._step, **timing})
        self._tell(timing)

    def _validate(self, held_out: HeldOut) -> None:
        score = held_out.score(self._nats(held_out))
        self._validation = score.bits_per_byte
        self._record(validation_loss=score.loss, bits_per_byte=score.bits_per_byte)
        logger.info("step %d: validation %.3f bits per byte", self._step, score.bits_per_byte)

    def _nats(self, held_out: HeldOut) -> Nats:
        length = self._config.model.context_length
        return token_nats(self._learner.predict, held_out.ids, length, self._learner.num_devices)

    def _record(self, **values: float) -> None:
        self.history.records.append({"step": self._step, **values})
        self._tell(values)

    def _tell(self, values: dict[str, float]) -> None:
        for tracker in self._trackers:
            tracker.tell(self._step, values)

    def _save(self) -> None:
        if not self._learner.is_finite():
            raise self._failed("finite weights, got others")
        self._checkpoints.save(
            self._step, self._learner.write, self.history.to_json(), self._validation
        )

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        self._step = checkpoint.step
        self._learner.read(checkpoint.state)
        self.history = History(**checkpoint.history)
        logger.info("going on after step %d of %d", self._step, self._config.max_steps)

    def _failed(self, what: str) -> StepFailedError:
        """An error that names the step and its batch."""
        config = self._config
        starts = self._stream.starts(
            config.seed, passes_before(config, self._step), config.batch_size
        )
        shard, place = self._stream.locate(int(starts[0]))
        return StepFailedError(
            f"expected {what} after {self._step} steps, in the batch whose first block begins at "
            f"training token {starts[0]} (token {place} of shard {shard}): the last good "
            "checkpoint is kept; lower learning_rate or set gradient_clip"
        )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
