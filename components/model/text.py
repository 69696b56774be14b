"""Text to token ids and back, for every step that reads a `tokenizer.json`.

Text is data: what spells a special token, such as `<|endoftext|>` in a tokenizer's own tests, is
encoded as ordinary text and can never end a document. Only steps place special ids.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from components.artifacts.artifact import Artifact
from components.artifacts.errors import CorruptArtifactError

END_OF_TEXT = "<|endoftext|>"
"""The token after each document; it also begins a prompt and pads a batch, as in GPT-2."""

FIM_TOKENS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
"""Fill-in-the-middle, named as in StarCoder (arXiv 2305.06161)."""

TOKENIZER_FILE = "tokenizer.json"


class TextCodec:
    """A byte-level tokenizer that loses nothing: `decode(encode(text)) == text` for any text."""

    def __init__(self, tokenizer: Any, end_of_text: str = END_OF_TEXT) -> None:
        """Take a `tokenizers.Tokenizer`; it must hold the token that ends a text."""
        tokenizer.encode_special_tokens = True  # text that spells a special token stays text
        tokenizer.no_padding()
        tokenizer.no_truncation()
        eos_id = tokenizer.token_to_id(end_of_text)
        if eos_id is None:
            raise CorruptArtifactError(
                f"expected the token {end_of_text!r} in a vocabulary of "
                f"{tokenizer.get_vocab_size()}, found none: give a tokenizer that has it"
            )
        self.tokenizer = tokenizer
        self.eos_id: int = eos_id
        """The id of the token that ends a text, as a rule `<|endoftext|>`."""
        self.vocabulary_size: int = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        """The rows that an embedding needs: the largest id + 1."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a `tokenizer.json`.

        Raises:
            CorruptArtifactError: it is none, or it lacks `<|endoftext|>`.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(data.decode())
        except Exception as error:  # tokenizers raises a bare Exception
            raise CorruptArtifactError(
                f"expected a {TOKENIZER_FILE} of Hugging Face tokenizers, got {data[:40]!r} "
                f"({str(error)[:200]}): run the tokenizer step again"
            ) from error
        return cls(tokenizer)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Read the `tokenizer.json` of a tokenizer or model artifact.

        Raises:
            CorruptArtifactError: there is none, or it is damaged.
        """
        for entry in artifact.manifest.files:
            if entry.name.split("/")[-1] == TOKENIZER_FILE:
                return cls.from_bytes(artifact.read(entry))
        raise CorruptArtifactError(
            f"expected a file {TOKENIZER_FILE!r}, found none in {artifact.storage.uri}: "
            "give the output of the tokenizer or the training step"
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without any special token."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text; the threads of `tokenizers` share the work."""
        encodings = self.tokenizer.encode_batch_fast([*texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """The text of ids.

        Args:
            ids: below `vocabulary_size`; a sequence of bytes that is no UTF-8 comes out with the
                replacement character, as it can where a model cuts a character in two.
            keep_special: spell special tokens; by default they leave no text.
        """
        text: str = self.tokenizer.decode([*ids], skip_special_tokens=not keep_special)
        return text

    def spells(self, ids: npt.NDArray[np.uint32], text: str) -> bool:
        """Whether `decode(ids) == text`: ten times as fast where the bytes of tokens only join.

        Args:
            ids: [tokens]
            text: what they should spell.
        """
        table = self._token_bytes
        if table is None:
            return self.decode(ids.tolist()) == text
        return b"".join(table[ids].tolist()) == text.encode()

    @functools.cached_property
    def _token_bytes(self) -> npt.NDArray[np.object_] | None:
        """The bytes of each id, of special ones none; None where a decoder does more than join."""
        from tokenizers.decoders import ByteLevel

        if not isinstance(self.tokenizer.decoder, ByteLevel):
            return None
        byte_of = {character: value for value, character in enumerate(_byte_characters())}
        added = self.tokenizer.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special}
        table = [b""] * self.vocabulary_size
        for token, place in self.tokenizer.get_vocab(with_added_tokens=True).items():
            if token not in special:
                table[place] = _spell_bytes(token, byte_of)
        return np.array(table, dtype=object)


def _spell_bytes(token: str, byte_of: dict[str, int]) -> bytes:
    """As the byte-level decoder does it: an added token that holds another character is text."""
    if all(character in byte_of for character in token):
        return bytes(byte_of[character] for character in token)
    return token.encode()


def _byte_characters() -> Iterable[str]:
    """How GPT-2 spells each byte: itself where it is printable, else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(value if value in printable else next(others)) for value in range(256)]
