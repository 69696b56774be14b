"""What dedup does, as a config, and the step's declaration."""

from dataclasses import dataclass
from typing import Annotated, Literal

from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.stage.config import Config, Within
from components.stage.step import Step

MAX_PERMUTATIONS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupConfig(Config):
    """Which documents count as copies of one another."""

    exact_key: Literal["sha256", "gpt_cc"] = "sha256"
    """What two exact duplicates share: `sha256` of the content, or `gpt_cc`, the sequence of word
    characters alone, as GPT-Code-Clippy compared files. `gpt_cc` also drops files that differ,
    such as `a = b + c` beside `a = b - c`; it is there to repeat that system."""

    near: bool = True
    """Whether near duplicates are dropped too; off leaves only the exact ones to drop."""

    threshold: Annotated[float, Within(0.01, 1.0)] = 0.7
    """Jaccard similarity of the sets of word n-grams from which two documents are near duplicates.
    0.7 is the value of The Stack (arXiv 2211.15533)."""

    ngram_words: Annotated[int, Within(1, 32)] = 5
    """Words in an n-gram. Documents with fewer words are compared exactly only."""

    splitter: Literal["runs", "bigcode"] = "runs"
    """What a word is: `runs` of the characters A-Z a-z 0-9 _, or `bigcode`, the pieces between any
    two other characters, empty ones too: there the indentation votes for similarity."""

    bands: Annotated[int, Within(1, 512)] = 42
    """Bands of a signature; two documents that agree in one whole band are compared. More bands
    find more pairs."""

    rows: Annotated[int, Within(1, 64)] = 6
    """Permutations in a band: bands x rows is the length of a signature. A pair of similarity s is
    found with probability 1 - (1 - s^rows)^bands: 0.995 for 0.7 with 42 x 6."""

    keep: Literal["best", "extremes"] = "best"
    """What stays of a cluster: the `best` copy alone, or `extremes`: as many as it takes that each
    document dropped reaches the threshold with one that stays (CodeParrot)."""

    max_comparisons: Annotated[int, Within(0)] = 10_000
    """Documents of one bucket that a document is held against, at most, the next ones by rank; 0
    takes all. It bounds what a bucket of many unlike documents costs, which is quadratic; what is
    left out is counted as `pairs_skipped`."""

    seed: Annotated[int, Within(0, 2**32 - 1)] = 1
    """Seed of the permutations, as `datasketch.MinHash(seed=...)` takes it."""

    @property
    def num_permutations(self) -> int:
        """The length of a signature."""
        return self.bands * self.rows

    @property
    def recall(self) -> float:
        """The probability that a pair exactly at the threshold is found, by formula."""
        return float(1.0 - (1.0 - self.threshold**self.rows) ** self.bands)

    def check(self) -> None:
        """Refuse signatures longer than memory is meant for."""
        if self.num_permutations > MAX_PERMUTATIONS:
            raise ConfigError(
                f"expected bands x rows at most {MAX_PERMUTATIONS}, got {self.bands} x {self.rows} "
                f"= {self.num_permutations} in DedupConfig: take fewer bands"
            )


STEP = Step(
    name="dedup",
    version=2,
    kind=DOCUMENTS,
    summary="Drop exact and near duplicates, keep the best copy of each cluster.",
    config=DedupConfig,
    inputs={"documents": DOCUMENTS},
    extra="data",
)
