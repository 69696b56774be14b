"""How many samples of each problem were judged and passed, at each temperature.

Shapes: T temperatures, P problems.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.scoring.passatk import pass_at_k

Row = Mapping[str, Any]
SampleKey = tuple[str, str, float, int]

NO_VERDICT = "infra_error"
"""The verdict of a sample that the sandbox could not judge: it counts neither way."""

UNKNOWN_TEMPERATURE = -1.0
"""Of samples whose file does not say theirs."""


def spell_temperature(temperature: float) -> str:
    """A temperature as people read it."""
    return "not said" if temperature == UNKNOWN_TEMPERATURE else f"{temperature:g}"


def key_of(row: Row) -> SampleKey:
    """What names a sample."""
    return row["benchmark"], row["task_id"], row["temperature"], row["sample"]


@dataclass(frozen=True)
class Counts:
    """The samples of one benchmark, counted."""

    tasks: tuple[str, ...]
    """[P] in the order of the samples."""

    temperatures: tuple[float, ...]
    """[T] ascending."""

    drawn: tuple[tuple[int, ...], ...]
    """[T][P] samples, those without a verdict included."""

    judged: tuple[tuple[int, ...], ...]
    """[T][P] samples with a verdict."""

    passed: tuple[tuple[int, ...], ...]
    """[T][P] samples that passed."""

    @property
    def n(self) -> int:
        """Samples that every problem has at every temperature, those without a verdict included."""
        return min(map(min, self.drawn))

    def n_at(self, place: int) -> int:
        """Samples that every problem has at one temperature."""
        return min(self.drawn[place])

    def judged_tasks(self, k: int) -> list[int]:
        """Places of the problems with k verdicts or more at every temperature."""
        return [
            place for place in range(len(self.tasks)) if min(row[place] for row in self.judged) >= k
        ]

    def values(self, temperature: int, tasks: Sequence[int], k: int) -> list[float]:
        """pass@k of some problems at one temperature, both by their places."""
        judged, passed = self.judged[temperature], self.passed[temperature]
        return [pass_at_k(judged[task], passed[task], k) for task in tasks]


def count_samples(
    samples: Sequence[Row], verdicts: Mapping[SampleKey, Row], unsound: frozenset[str] = frozenset()
) -> Counts:
    """Count the samples of one benchmark.

    Args:
        samples: of one benchmark.
        verdicts: by the sample's name.
        unsound: tasks that do not count.

    Returns:
        The counts; at a temperature that a task has no sample of it has 0.
    """
    drawn: Counter[tuple[str, float]] = Counter()
    judged, passed = drawn.copy(), drawn.copy()
    for sample in samples:
        place = sample["task_id"], sample["temperature"]
        verdict = verdicts[key_of(sample)]["verdict"]
        drawn[place] += 1
        judged[place] += verdict != NO_VERDICT
        passed[place] += verdict == "passed"
    tasks = tuple(
        task for task in dict.fromkeys(row["task_id"] for row in samples) if task not in unsound
    )
    temperatures = tuple(sorted({row["temperature"] for row in samples}))

    def table(counter: Counter[tuple[str, float]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(counter[task, heat] for task in tasks) for heat in temperatures)

    return Counts(tasks, temperatures, table(drawn), table(judged), table(passed))
