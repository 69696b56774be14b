"""Extend a given vocabulary by GPT-Code-Clippy's four tokens of blanks.

GPT-Code-Clippy registered them as special tokens, so that a decoder that skips special tokens lost
the indentation, and wrote the tab's embedding over that of `<|endoftext|>`. Here they are ordinary
tokens, and `Extension` tells training which rows are new.
"""

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer

from components.artifacts.errors import ArtifactError
from components.model.text import TextCodec

BLANKS = ("\t\t", "  ", "    ", "        ")
"""In the order of GPT-Code-Clippy's ids 50257 to 50260."""


@dataclass(frozen=True, slots=True)
class Extension:
    """Which rows of the embedding are new, and how they begin."""

    new_token_ids: tuple[int, ...]
    copy_from_id: int | None
    """The new rows begin as copies of this one: the tab's."""

    base_vocabulary_size: int
    """Rows of the embedding before any was added."""

    def to_json(self) -> dict[str, Any]:
        """The extension as a JSON value."""
        return {
            "new_token_ids": [*self.new_token_ids],
            "copy_from_id": self.copy_from_id,
            "base_vocabulary_size": self.base_vocabulary_size,
        }


def extend(base: bytes, source: str) -> tuple[Tokenizer, Extension]:
    """Add the tokens of blanks to a vocabulary, directly after its last id.

    Args:
        base: a `tokenizer.json` of a byte-level vocabulary with `<|endoftext|>`.
        source: what to call it in an error.

    Raises:
        ArtifactError: it is none, it has no token for the tab, or its ids have gaps.
    """
    codec = TextCodec.from_bytes(base)
    tab = codec.encode("\t")
    if len(tab) != 1 or codec.decode(tab) != "\t":
        raise ArtifactError(
            f"expected a byte-level vocabulary with one token for the tab, got ids {tab} in "
            f"{source!r}: give another base, such as GPT-2's"
        )
    size = codec.vocabulary_size
    tokenizer: Tokenizer = codec.tokenizer
    new = [blanks for blanks in BLANKS if tokenizer.token_to_id(blanks) is None]
    tokenizer.add_tokens([AddedToken(blanks, special=False, normalized=False) for blanks in new])
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    ids = tuple(vocabulary[blanks] for blanks in new)
    if ids != tuple(range(size, size + len(new))):
        raise ArtifactError(
            f"expected the new tokens at ids {size} onwards, got {ids} in {source!r}: "
            "the ids of the base have gaps; give another base"
        )
    return tokenizer, Extension(ids, tab[0], size)
