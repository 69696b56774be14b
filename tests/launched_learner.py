"""A few updates of a small model by one process of a launch: what the tests of several start.

    python -m tests.launched_learner FOLDER CONFIG ...

For each CONFIG, a TrainingConfig as JSON with FSDP, how many devices share the weights, and PASSES,
how many an update has, it trains from the same weights, writes a checkpoint's state into
FOLDER/<number> and, on rank 0, losses and norms into FOLDER/<number>.json; for the last one,
predictions and weights too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.model.config import ModelConfig
from components.model.tensors import initial_tensors
from components.training.blocks import Batch
from components.training.config import TrainingConfig
from components.training.learner import Learner, make_learner

SHAPE = ModelConfig(
    vocabulary_size=64, context_length=24, num_layers=2, num_heads=2, hidden_size=32, window=8
)
BLOCKS = 8
STEPS = 6
BASE: dict[str, Any] = {
    "model": SHAPE.to_json(),
    "batch_size": BLOCKS,
    "optimizer": "adamw",
    "gradient_clip": 1.0,
    "learning_rate": 1e-3,
}


def passes(step: int) -> list[Batch]:
    """The batches of a step: two passes of rows that count up, a few tokens not learned."""
    found = []
    for index in range(2):
        random = np.random.default_rng([step, index])
        rows = (random.integers(0, 40, (BLOCKS, 1)) + np.arange(25)) * 7 % 64
        targets = np.where(random.random((BLOCKS, 24)) < 0.1, -1, rows[:, 1:])
        found.append(Batch(rows[:, :-1], targets))
    return found


def train(learner: Learner, steps: range, num_passes: int = 2) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    rows = []
    for step in steps:
        loss = learner.gradients(passes(step)[:num_passes])
        norm = learner.update(min(1.0, (step + 1) / 5), measure=True)
        assert norm is not None
        rows.append((loss, norm))
    return rows


def small_learner(seed: int = 0, **changes: Any) -> Learner:
    """A learner with random weights."""
    config = TrainingConfig.from_json({**BASE, **changes})
    return make_learner(config, SHAPE, initial_tensors(SHAPE, seed))


def run_launched(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    configs: Sequence[Mapping[str, Any]],
) -> None:
    """Start this file by a command, such as torchrun's, and wait for it."""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, "-m", "tests.launched_learner", str(folder), *map(json.dumps, configs)],
        check=False,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def check_like_one(folder: Path, number: int, devices: int, config: Mapping[str, Any]) -> None:
    """The run of that number has the losses of one device, and one device can go on from it."""
    alone = {name: value for name, value in config.items() if name not in ("FSDP", "PASSES")}
    num_passes = config.get("PASSES", 2)
    report = json.loads((folder / f"{number}.json").read_text())
    assert report["devices"] == devices
    one = small_learner(**alone)
    rows = np.array(train(one, range(STEPS), num_passes))
    assert np.abs(rows - np.array(report["rows"])).max() <= 5e-6
    if "nats" in report:
        nats = one.predict(*EVALUATED)
        assert np.abs(nats - report["nats"]).max() < 1e-5
        with np.load(folder / f"{number}.npz") as held:
            tensors = one.tensors()
            assert max(np.abs(held[name] - array).max() for name, array in tensors.items()) < 1e-4
    resumed = small_learner(seed=1, **alone)
    resumed.read(folder / str(number))
    rest = range(STEPS, STEPS + 3)
    again, whole = (np.array(train(each, rest, num_passes)) for each in (resumed, one))
    assert np.abs(again - whole).max() <= 1e-5


EVALUATED = (passes(99)[0].inputs[:5], passes(98)[0].inputs[:5])
"""Five rows: no number of devices divides them."""


def main() -> None:
    """Train each config, save, report."""
    folder, texts = Path(sys.argv[1]), sys.argv[2:]
    for number, text in enumerate(texts):
        changes = json.loads(text)
        os.environ["CODEKILN_FSDP"] = str(changes.pop("FSDP", 1))
        num_passes = changes.pop("PASSES", 2)
        learner = small_learner(**changes)
        report: dict[str, Any] = {"rows": train(learner, range(STEPS), num_passes)}
        report["devices"] = learner.num_devices
        path = folder / str(number)
        path.mkdir(exist_ok=True)
        learner.group.gather(None)
        learner.write(path)
        if number + 1 == len(texts):
            assert learner.is_finite()
            report["nats"] = learner.predict(*EVALUATED).tolist()
            tensors = learner.tensors()
            if learner.group.rank == 0:
                np.savez(folder / f"{number}.npz", **tensors)  # type: ignore[arg-type]
        if learner.group.rank == 0:
            (folder / f"{number}.json").write_text(json.dumps(report))
        learner.group.gather(None)
    os._exit(0)  # as a launched step ends: nothing is torn down


if __name__ == "__main__":
    main()
