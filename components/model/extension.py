"""Embedding rows of tokens that were added to a vocabulary: copies of a row that has a meaning.

GPT-CC added four tokens for runs of blanks and meant to start them as copies of the row of a tab;
its code wrote rows one too low and destroyed the row of `<|endoftext|>`.
"""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np

from components.artifacts.errors import ArtifactError
from components.model.config import ModelConfig
from components.model.names import TOKEN_EMBEDDING
from components.model.tensors import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """Which tokens were added to a vocabulary, and which token they start as."""

    new_token_ids: tuple[int, ...]
    """Empty where the tokenizer was trained, not extended."""

    copy_from_id: int | None
    """The token whose row they start as; None where there are no new tokens."""

    base_vocabulary_size: int
    """Rows before the extension."""

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Extension":
        """Read a tokenizer's `extension.json`.

        Raises:
            ArtifactError: keys are missing, or an id is not where it must be.
        """
        try:
            value = json.loads(data)
            new = tuple(int(token) for token in value["new_token_ids"])
            extension = cls(
                new_token_ids=new,
                copy_from_id=int(value["copy_from_id"]) if new else None,
                base_vocabulary_size=int(value["base_vocabulary_size"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"expected new_token_ids, copy_from_id and base_vocabulary_size in extension.json "
                f"of {where}, got {data[:80]!r} ({error!r}): make the tokenizer again"
            ) from None
        base, source = extension.base_vocabulary_size, extension.copy_from_id
        if new and not (source is not None and 0 <= source < base <= min(new)):
            raise ArtifactError(
                f"expected copy_from_id below base_vocabulary_size and new tokens from it on, got "
                f"{extension} in {where}: make the tokenizer again"
            )
        return extension


def grow_vocabulary(
    config: ModelConfig, tensors: Tensors, vocabulary_size: int, extension: Extension
) -> tuple[ModelConfig, Tensors]:
    """A model whose embedding has rows for the added tokens, each a copy of one row.

    All rows below the base vocabulary's size stay as they are.

    Args:
        config: of a model that has the base vocabulary's rows, or all rows already.
        tensors: its weights.
        vocabulary_size: rows that are wanted.
        extension: what was added.
    """
    old = tensors[TOKEN_EMBEDDING]
    rows = np.zeros((vocabulary_size, old.shape[1]), dtype=old.dtype)
    kept = min(len(old), vocabulary_size)
    rows[:kept] = old[:kept]
    if extension.copy_from_id is not None:
        rows[list(extension.new_token_ids)] = old[extension.copy_from_id]
    grown = dataclasses.replace(config, vocabulary_size=vocabulary_size)
    return grown, {**tensors, TOKEN_EMBEDDING: rows}
