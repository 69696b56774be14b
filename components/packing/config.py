"""What the packing step computes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.artifacts.tokens import TOKENS
from components.stage.config import Config, Within
from components.stage.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class PackingConfig(Config):
    """How documents are split and laid out as tokens."""

    validation_fraction: Annotated[float, Within(0.0, 0.5)] = 0.02
    """Share of the corpus's bytes that is held out for validation, at most; 0 holds out only
    `always_validation`."""

    validation_max_bytes: Annotated[int, Within(0, 2**40)] = 64_000_000
    """UTF-8 bytes that are held out, at most: validation costs time, and a few million tokens
    measure a loss to a few thousandths."""

    validation_min_repositories: Annotated[int, Within(1, 10_000)] = 3
    """No repository may fill more than one part in this many of what is held out, so that
    validation never is the style of one project."""

    always_training: tuple[str, ...] = ()
    """Repositories that are never held out, such as `cpython`: every project imitates it."""

    always_validation: tuple[str, ...] = ()
    """Repositories that are held out whatever their size; they count against the limits."""

    seed: Annotated[int, Within(0, None)] = 0
    """Of the hash that orders the repositories."""

    packing: Literal["stream", "best_fit"] = "stream"
    """How training tokens are laid out. `stream`: documents one after another, cut into blocks of
    any length when training reads them. `best_fit`: blocks of `block_length`, in which no document
    that fits one is cut (Ding et al. 2024, arXiv 2404.10830); shards are packed one by one."""

    block_length: Annotated[int, Within(2, 65_536)] = 1024
    """Tokens of a block with `best_fit`: must be training's `model.context_length`, which refuses
    another. `stream` does not use it."""

    star_weight: Annotated[float, Within(0.0, 9.0)] = 0.0
    """Repeats training documents by their repository's stars: each stands 1 + star_weight *
    min(log10(stars + 1), 5) / 5 times, fractions decided by the document's hash. 1 is PyCodeGPT's
    weight, 0 repeats nothing."""

    function_share: Annotated[float, Within(0.0, 0.9)] = 0.0
    """Share of each shard's training tokens that are short documented functions, taken out of its
    Python documents and added as documents of their own, as far as there are some; 0 adds none."""

    function_max_lines: Annotated[int, Within(3, 10_000)] = 30
    """Lines that such a function may have, docstring included."""

    function_max_copies: Annotated[int, Within(1, 64)] = 4
    """How often a function may be added to reach the share: up to four passes over the same text
    teach nearly as much as new text (Muennighoff et al. 2023, arXiv 2305.16264)."""

    fim_rate: Annotated[float, Within(0.0, 1.0)] = 0.0
    """Share of the training documents that are rearranged for fill-in-the-middle; 0 for none. Needs
    a tokenizer with `fim_tokens`. Bavarian et al. (arXiv 2207.14255) find 0.5 to 0.9 free of harm
    to left-to-right modelling; StarCoder has 0.5."""

    fim_spm_share: Annotated[float, Within(0.0, 1.0)] = 0.5
    """Share of these that have the suffix first (SPM), the others the prefix (PSM); 0.5 as in
    Bavarian et al."""

    def check(self) -> None:
        """Refuse a repository on both lists."""
        both = sorted({*self.always_training} & {*self.always_validation})
        if both:
            raise ConfigError(
                f"expected each repository on one list, got {both[0]!r} in always_training and in "
                "always_validation of PackingConfig: take it off one"
            )


STEP = Step(
    name="packing",
    version=1,
    kind=TOKENS,
    summary="Encode documents as token shards, and hold out whole repositories.",
    config=PackingConfig,
    inputs={"documents": DOCUMENTS, "tokenizer": "tokenizer"},
    extra="data",
)
