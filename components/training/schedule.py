"""The factor of the learning rates at each step."""

import math

from components.training.config import ScheduleConfig


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
    return schedule.floor_share + (1 - schedule.floor_share) * (1 - math.cos(math.pi * left)) / 2


def warmup_steps(schedule: ScheduleConfig, max_steps: int) -> int:
    """Steps of warm-up."""
    return schedule.warmup_steps or round(schedule.warmup_share * max_steps)


def _share_left(step: int, start: int, end: int) -> float:
    """1 until `start`, then in a line to 0 at `end`, then 0."""
    if step <= start:
        return 1.0
    return max(0.0, (end - step) / (end - start)) if end > start else 0.0
