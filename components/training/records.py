"""What a run tells of itself: records that are reproduced, timings that are not, and who gets them.

Records and timings are always kept as JSON lines, in the artifact and, while the run lasts, in its
scratch folder. TensorBoard and Weights & Biases get them besides where the environment says so; the
key of the latter is read by its own library from WANDB_API_KEY or its login file.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from components.artifacts.errors import MissingExtraError

Row = dict[str, Any]

RECORDS_NAME = "records.jsonl"
TENSORBOARD_VARIABLE = "CODEKILN_TENSORBOARD"
WANDB_VARIABLE = "CODEKILN_WANDB_PROJECT"


@dataclass
class History:
    """What a run tells of itself; part of every checkpoint."""

    records: list[Row] = field(default_factory=list)
    """Losses, learning rates and validations; the same in every run of an equal config."""

    timings: list[Row] = field(default_factory=list)
    """Wall time, processor time, speed and memory."""

    losses: list[float] = field(default_factory=list)
    """Of the steps since the last record."""

    seconds: float = 0.0
    """Wall time of the steps so far, over all processes that worked on the run."""

    cpu_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The history as a JSON value."""
        return dataclasses.asdict(self)


class Tracker(Protocol):
    """Somebody who is told of a run while it lasts."""

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, at a step."""

    def close(self) -> None:
        """The run has ended."""


@contextlib.contextmanager
def trackers(scratch: Path, name: str, config: Mapping[str, Any]) -> Iterator[list[Tracker]]:
    """Those that the environment asks for, and the file of JSON lines, until the run has ended.

    Args:
        scratch: the step's scratch folder.
        name: of the run.
        config: what is trained, for those who show it.

    Raises:
        MissingExtraError: the library of one is not installed.
    """
    with contextlib.ExitStack() as stack:
        found: list[Tracker] = []

        def add(tracker: Tracker) -> None:
            stack.callback(tracker.close)
            found.append(tracker)

        add(JsonLines(scratch / RECORDS_NAME))
        if folder := os.environ.get(TENSORBOARD_VARIABLE):
            add(TensorBoard(Path(folder) / name))
        if project := os.environ.get(WANDB_VARIABLE):
            add(WeightsAndBiases(project, name, config))
        yield found


class JsonLines:
    """A line a record, flushed at once; a resumed run goes on in the same file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files that TensorBoard shows."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise _missing("tensorboardX", TENSORBOARD_VARIABLE) from error
        self._writer = SummaryWriter(str(folder))

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Add each number as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A run in a project of Weights & Biases; steps that were told twice are told again."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise _missing("wandb", WANDB_VARIABLE) from error
        self._run = wandb.init(
            project=project, name=name, id=name, resume="allow", config=dict(config)
        )

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers under their own step, which may go back after a resume."""
        self._run.log({"training_step": step, **values})

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


def _missing(package: str, variable: str) -> MissingExtraError:
    return MissingExtraError(
        f"training needs the package {package!r} because {variable} is set, it is not installed: "
        "pip install 'codekiln[tracking]', or unset the variable"
    )
