"""The declaration of a step: its name, version, config, inputs, and where its code is.

A declaration is light: it names the modules that do the work, and they are imported only when the
step runs. So a pipeline compiles, and help is printed, without torch or numba.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import components
from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.errors import MissingExtraError
from components.artifacts.storage import Storage
from components.artifacts.tally import Tally
from components.stage.config import Config, unknown_name
from components.stage.engine import Engine


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a step says of its work, beside the rows it wrote."""

    tally: Tally
    """Counts; where documents flow, what came in equals what was kept plus what was dropped."""

    measures: Mapping[str, float] = field(default_factory=dict)
    """Results that are numbers, under stable names: the metrics that Kubeflow shows."""

    markdown: str = ""
    """A few lines or a table to read; the funnel is added to it."""

    html: str | None = None
    """A self-contained page, where a picture says more."""


class RunStep(Protocol):
    """A step's work: read inputs, write shards, report."""

    def __call__(
        self,
        inputs: Mapping[str, Artifact],
        output: ArtifactWriter,
        config: Any,
        engine: Engine,
    ) -> Report: ...


class FollowStep(Protocol):
    """What a process behind the first does: it helps to make the artifact and writes none of it."""

    def __call__(
        self, inputs: Mapping[str, Artifact], output: Storage, config: Any, engine: Engine
    ) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the graph: a room, a command, a Kubeflow component."""

    name: str
    version: int
    """Raised by hand when the step's output changes for the same identity."""

    kind: str
    """The kind of the artifact that comes out."""

    summary: str
    """One line for help and documentation."""

    config: type[Config]
    inputs: Mapping[str, str]
    """Input name to the kind that is expected."""

    optional_inputs: Mapping[str, str] = field(default_factory=dict)
    """Inputs that the step does without where none is given; the graph gives them all."""

    observed: bool = False
    """Whether the room's `observation.py` adds what it sees of its source to the identity."""

    estimates: bool = False
    """Whether the room's `estimate.py` says what a run would cost before it asks anything: the
    flag `--dry-run`."""

    presets: tuple[str, ...] = ()
    """Published configs that the flag `--preset` begins with; functions of the room's
    `presets.py`."""

    names_parents: bool = False
    """Whether the output names its parents' keys and configs, so that their keys enter its key:
    parents of other configs can have equal digests."""

    undigested: frozenset[str] = frozenset()
    """Parts for people only, which no digest covers."""

    distributed: bool = False
    """Whether several processes may make the artifact together: those behind the first call the
    room's `follow`, and only the first publishes."""

    extra: str = ""
    """The extra of the distribution that brings what the step imports."""

    def all_inputs(self) -> dict[str, str]:
        """Every input's kind by its name, optional ones last."""
        return {**self.inputs, **self.optional_inputs}

    def load_run(self) -> RunStep:
        """Import the step's `run`.

        Raises:
            MissingExtraError: one of its dependencies is not installed.
        """
        return cast(RunStep, self._load("run", "run"))

    def load_follow(self) -> FollowStep:
        """Import what a process behind the first does.

        Raises:
            MissingExtraError: one of its dependencies is not installed.
        """
        return cast(FollowStep, self._load("run", "follow"))

    def observe(self, config: Config) -> dict[str, Any]:
        """What the step sees of its source that decides what comes out; empty for most."""
        if not self.observed:
            return {}
        observation: dict[str, Any] = self._load("observation", "observe")(config)
        return observation

    def preset(self, name: str) -> Config:
        """A published config.

        Raises:
            ConfigError: there is none; the nearest is named.
        """
        if name not in self.presets:
            raise unknown_name("preset", name, {*self.presets}, f"codekiln {self.name}")
        config: Config = self._load("presets", name.replace("-", "_"))()
        return config

    def estimate(self, config: Config) -> str:
        """What a run would cost, in a few lines."""
        text: str = self._load("estimate", "estimate")(config)
        return text

    def _load(self, module: str, name: str) -> Any:
        try:
            loaded = importlib.import_module(f"components.{self.name}.{module}")
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] in {"components", "pipelines"}:
                raise
            raise MissingExtraError(
                f"step {self.name} needs the package {error.name!r}, which is not installed: "
                f"pip install 'codekiln[{self.extra}]'"
            ) from error
        return getattr(loaded, name)


def find_step(name: str) -> Step:
    """The step of a name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    steps = step_names()
    if name not in steps:
        raise unknown_name("step", name, set(steps), "codekiln")
    step: Step = importlib.import_module(f"components.{name}.config").STEP
    return step


STEP_ORDER = (
    "crawl",
    "clean",
    "dedup",
    "decontamination",
    "tokenizer",
    "packing",
    "training",
    "generation",
    "sandbox",
    "scoring",
    "publishing",
)
"""The steps in the order of the graph."""


def step_names() -> tuple[str, ...]:
    """The names of the steps, in the order of the graph."""
    rooms = {module.name for module in pkgutil.iter_modules(components.__path__)}
    return tuple(name for name in STEP_ORDER if name in rooms)
