"""The factor of the learning rates at each step, and how many passes a step makes."""

import functools
import itertools
import math

from components.training.config import ScheduleConfig, TrainingConfig


def learning_rate_factor(schedule: ScheduleConfig, step: int, max_steps: int) -> float:
    """What the peak learning rates are multiplied with in a step.

    Args:
        schedule: its form.
        step: from 0; the first step of a warm-up of n has 1 / n.
        max_steps: steps of the run.
    """
    warmup = warmup_steps(schedule, max_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "wsd":
        start = max(warmup, round(schedule.hold_share * max_steps))
        left = _share_left(step, start, max_steps)
        return schedule.floor_share + (1 - schedule.floor_share) * left
    end = warmup + schedule.decay_steps if schedule.decay_steps else max_steps
    left = _share_left(step, warmup, end)
    if schedule.kind == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return schedule.floor_share + (1 - schedule.floor_share) * left


def warmup_steps(schedule: ScheduleConfig, max_steps: int) -> int:
    """Steps of warm-up."""
    return schedule.warmup_steps or round(schedule.warmup_share * max_steps)


def passes_of_step(config: TrainingConfig, step: int) -> int:
    """Passes whose gradients a step averages: `gradient_accumulation`, or less on the ramp."""
    last = config.gradient_accumulation
    if step >= config.ramp_steps:
        return last
    return config.ramp_from + (last - config.ramp_from) * step // config.ramp_steps


def passes_before(config: TrainingConfig, step: int) -> int:
    """Passes of all earlier steps: where a step's data begins."""
    ramped = min(step, config.ramp_steps)
    return _ramp(config)[ramped] + (step - ramped) * config.gradient_accumulation


def tokens_before(config: TrainingConfig, step: int) -> int:
    """Tokens that all earlier steps read."""
    return passes_before(config, step) * config.tokens_per_pass


@functools.lru_cache(maxsize=4)
def _ramp(config: TrainingConfig) -> tuple[int, ...]:
    """Passes before each step of the ramp, and before the first one after it."""
    passes = (passes_of_step(config, step) for step in range(config.ramp_steps))
    return tuple(itertools.accumulate(passes, initial=0))


def _share_left(step: int, start: int, end: int) -> float:
    """1 until `start`, then in a line to 0 at `end`, then 0."""
    if step <= start:
        return 1.0
    return max(0.0, (end - step) / (end - start)) if end > start else 0.0
