"""What decontamination does, as a config, and the step's declaration."""

from dataclasses import dataclass
from typing import Annotated

from components.artifacts.documents import DOCUMENTS
from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class DecontaminationConfig(Config):
    """Which benchmarks must not be among the documents, and what counts as a trace of one."""

    benchmarks: tuple[str, ...] = ("humaneval",)
    """Benchmarks to look for: `humaneval`, `easy`, or paths of local files of HumanEval's schema.
    Their files' sha256 are part of the step's identity; an empty list finds nothing."""

    min_needle_characters: Annotated[int, Within(1, 100_000)] = 40
    """Characters that a docstring or a solution must have, whitespace collapsed, to be looked for
    as a substring. Shorter ones (`return x + y`) stand in any program."""

    min_needle_tokens: Annotated[int, Within(1, 10_000)] = 13
    """Tokens (words and punctuation marks) that it must have as well, three of them words."""

    ngram_words: Annotated[int, Within(2, 64)] = 13
    """Words in an n-gram, as GPT-3's and Llama 2's reports count overlap."""

    ngram_share: Annotated[float, Within(0.01, 1.0)] = 0.5
    """Share of one problem's distinct n-grams from which a document holds the problem."""


STEP = Step(
    name="decontamination",
    version=2,
    kind=DOCUMENTS,
    summary="Drop documents that hold a benchmark's problems, and say where.",
    config=DecontaminationConfig,
    inputs={"documents": DOCUMENTS},
    observed=True,
    extra="data",
)
