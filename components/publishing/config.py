"""The step's config and its declaration."""

from dataclasses import dataclass
from typing import Annotated

from components.artifacts.errors import ConfigError
from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishingConfig(Config):
    """What is published, under which name, and what may not be."""

    title: str = "codekiln-tiny"
    """Name of the model on its card and above the report; one line."""

    recipe: str = "tiny"
    """The recipe that made the model: the card's command to make it again is
    `codekiln run <recipe>`."""

    allowed_licenses: tuple[str, ...] = ()
    """SPDX identifiers that the training data may carry. One file under another licence, or under
    `unknown`, refuses the publication. `A OR B` needs one of the two in the list, `A AND B` both.
    `permissive` stands for the list that `clean` knows by this name. Empty: report the licences and
    refuse nothing."""

    opt_out: tuple[str, ...] = ()
    """Who must not be in the training data, as the crawl's `opt_out` spells it: one file of theirs
    refuses the publication. A crawl that was withdrawn is refused without this."""

    num_sample_problems: Annotated[int, Within(0, 164)] = 6
    """Problems of each benchmark whose prompt, completion and verdict the report prints."""

    num_continuations: Annotated[int, Within(0, 100)] = 4
    """Held-out prefixes whose continuations the report prints side by side."""

    num_clusters: Annotated[int, Within(0, 100)] = 5
    """Clusters of near duplicates that the report prints, the largest first."""

    num_spans: Annotated[int, Within(0, 1000)] = 12
    """Spans shared with a benchmark that the report prints."""

    def check(self) -> None:
        """Refuse names that would break the card's front matter or its command."""
        for name in ("title", "recipe"):
            value = getattr(self, name)
            if not value.strip() or not value.isprintable():
                raise ConfigError(f"expected {name} to be one printable line, got {value!r}")


STEP = Step(
    name="publishing",
    version=2,
    kind="publication",
    summary="Make the model folder with its cards and provenance, and the report.",
    config=PublishingConfig,
    inputs={
        "crawl": "documents",
        "clean": "documents",
        "dedup": "documents",
        "decontamination": "documents",
        "tokenizer": "tokenizer",
        "tokens": "tokens",
        "model": "model",
        "samples": "samples",
        "verdicts": "verdicts",
        "scores": "scores",
    },
    names_parents=True,
    undigested=frozenset({"report"}),
)
