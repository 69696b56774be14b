"""What is measured, and the declaration of the step."""

from dataclasses import dataclass
from typing import Annotated

from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig(Config):
    """How samples are scored."""

    k: Annotated[tuple[int, ...], Within(1, 10_000)] = (1, 10, 100)
    """The k of pass@k, ascending. Those above the samples a problem has are left out and named."""

    resamples: Annotated[int, Within(100, 1_000_000)] = 2000
    """Resamples of the bootstrap."""

    level: Annotated[float, Within(0.5, 0.999)] = 0.95
    """Share of the resamples that an interval holds."""

    seed: Annotated[int, Within(0)] = 0
    """Seed of the bootstrap."""

    min_lines: Annotated[int, Within(0)] = 400
    """Lines of an author below which the share of lines that parse is reported with a warning:
    400 give an interval of about 5 points to each side."""

    max_infra_share: Annotated[float, Within(0.0, 1.0)] = 0.01
    """Share of the samples that may lack a verdict (`infra_error`); scoring refuses above it. They
    count neither as passed nor as failed; 0 allows none."""

    max_unsound_share: Annotated[float, Within(0.0, 1.0)] = 0.0
    """Share of a benchmark's problems that may be left out because their own solution fails here or
    the empty completion passes; scoring refuses above it. 0 is right for HumanEval and the easy
    set. Some problems of MBPP need objects that cannot pass between the sandbox's processes."""

    def check(self) -> None:
        """Refuse k out of order."""
        if not self.k or list(self.k) != sorted({*self.k}):
            raise ConfigError(
                f"expected ascending values of k, each once, got {list(self.k)!r} in ScoringConfig"
            )


STEP = Step(
    name="scoring",
    version=2,
    kind="scores",
    summary="Score verdicts: pass@k with bootstrap intervals, verdict classes, lines that parse.",
    config=ScoringConfig,
    inputs={"samples": "samples", "verdicts": "verdicts"},
    optional_inputs={"decontamination": DOCUMENTS},
    names_parents=True,
)
