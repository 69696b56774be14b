"""What the tokenizer step computes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.artifacts.tokens import MAX_VOCABULARY
from components.stage.config import Config, Within
from components.stage.step import Step

TOKENIZER = "tokenizer"
"""The kind of an artifact of a tokenizer, and the part that holds its files."""

NUM_BYTES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig(Config):
    """How text becomes token ids."""

    method: Literal["bpe", "extend"] = "bpe"
    """`bpe` trains a byte-level BPE on the documents; `extend` takes a given vocabulary and adds
    GPT-Code-Clippy's four tokens of blanks."""

    vocabulary_size: Annotated[int, Within(NUM_BYTES + 4, MAX_VOCABULARY)] = 32_768
    """`bpe`: tokens, special ones included; fewer come out where the text has no more pairs.
    PyCodeGPT has 32,000; a multiple of 128 suits matrix units."""

    newline: Literal["isolated", "attached", "merged"] = "isolated"
    """`bpe`: `isolated` makes every newline a token of its own; `attached` lets one newline join
    the punctuation before it, as in `):`; after both, text cut after a newline is a token prefix
    of the whole. `merged` lets newlines fuse with the blanks after them (PyCodeGPT), which makes
    the fewest tokens and breaks the prefix."""

    max_digits: Annotated[int, Within(1, 3)] = 3
    """`bpe`: the most digits in one token; 3 as in cl100k, 1 spells every number by digit."""

    fim_tokens: bool = False
    """`bpe`: reserve the special tokens <|fim_prefix|>, <|fim_middle|> and <|fim_suffix|>."""

    min_frequency: Annotated[int, Within(1, 1_000_000)] = 2
    """`bpe`: how often a pair must occur in the sample to be merged; 1 merges all."""

    max_training_bytes: Annotated[int, Within(1, 2**40)] = 1_000_000_000
    """`bpe`: UTF-8 bytes of documents to train on, taken in the order of a hash where there are
    more. Bounds the memory: 8 MB took 0.24 GB, 40 MB took 0.36 GB."""

    seed: Annotated[int, Within(0, None)] = 0
    """Of the hash that chooses the documents to train on and to measure."""

    base: str = ""
    """`extend`: a `tokenizer.json`, a folder with one, or a name on the Hugging Face Hub such as
    `openai-community/gpt2`; empty for `bpe`. The sha256 of the file is part of the identity."""

    context_length: Annotated[int, Within(1, 1_048_576)] = 2048
    """Tokens that the model can read; `model_max_length` of the Hugging Face tokenizer."""

    def check(self) -> None:
        """Refuse a base without `extend`, `extend` without a base, and new rows beside a base."""
        if self.method == "extend" and not self.base:
            raise ConfigError(
                f"expected base with method 'extend', got {self.base!r} in TokenizerConfig: "
                "give a tokenizer.json, its folder, or a name on the Hugging Face Hub"
            )
        if self.method == "bpe" and self.base:
            raise ConfigError(
                f"expected an empty base with method 'bpe', got {self.base!r} in TokenizerConfig: "
                "leave it out, or set method to 'extend'"
            )
        if self.method == "extend" and self.fim_tokens:
            raise ConfigError(
                "expected fim_tokens false with method 'extend', got True in TokenizerConfig: "
                "only 'bpe' reserves them"
            )


STEP = Step(
    name="tokenizer",
    version=2,
    kind=TOKENIZER,
    summary="Train a byte-level BPE on the documents, or extend a given vocabulary.",
    config=TokenizerConfig,
    inputs={"documents": DOCUMENTS},
    observed=True,
    extra="data",
)
