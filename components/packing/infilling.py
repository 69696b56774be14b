"""Fill-in-the-middle: a training document cut in three, its middle moved to the end.

Bavarian et al., "Efficient Training of Language Models to Fill in the Middle" (arXiv 2207.14255),
at the level of documents and characters: both cuts are uniform over the document's characters, and
each part is encoded alone. What happens to a document follows from its sha256 and the seed: not
from its shard, its place or a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

import numpy as np

from components.artifacts.errors import ConfigError
from components.model.encoding import TokenIds
from components.model.text import FIM_TOKENS, TextCodec
from components.packing.config import PackingConfig


@dataclass(frozen=True, slots=True)
class Cut:
    """A document cut in three: `prefix + middle + suffix` is its text."""

    prefix: str
    middle: str
    suffix: str
    suffix_first: bool
    """SPM, else PSM."""

    @property
    def parts(self) -> tuple[str, str, str]:
        """In the order of the text."""
        return self.prefix, self.middle, self.suffix


@dataclass(frozen=True, slots=True)
class Infilling:
    """Which documents are cut, and the special tokens that mark their parts."""

    rate: float
    spm_share: float
    seed: int
    prefix_id: int
    middle_id: int
    suffix_id: int

    @classmethod
    def of(cls, config: PackingConfig, codec: TextCodec) -> Self | None:
        """The infilling of a config; None where it is off.

        Raises:
            ConfigError: it is on, and the vocabulary has no tokens for it.
        """
        if not config.fim_rate:
            return None
        ids = {name: codec.tokenizer.token_to_id(name) for name in FIM_TOKENS}
        missing = [name for name, place in ids.items() if place is None]
        if missing:
            raise ConfigError(
                f"expected a tokenizer with {', '.join(FIM_TOKENS)} for fim_rate "
                f"{config.fim_rate!r} of PackingConfig, found no {missing[0]!r}: train one with "
                "fim_tokens, or set fim_rate to 0"
            )
        prefix, middle, suffix = (ids[name] for name in FIM_TOKENS)
        return cls(config.fim_rate, config.fim_spm_share, config.seed, prefix, middle, suffix)

    def cut(self, text: str, content_sha256: str) -> Cut | None:
        """Cut a document; None where it stays as it is.

        Args:
            text: the whole document.
            content_sha256: its digest, from which all choices follow.
        """
        chosen, order, first, second = _draw(f"{self.seed}\0fim\0{content_sha256}")
        if not text or chosen >= self.rate:
            return None
        low, high = sorted(int(share * (len(text) + 1)) for share in (first, second))
        return Cut(text[:low], text[low:high], text[high:], order < self.spm_share)

    def arrange(self, cut: Cut, parts: Sequence[TokenIds]) -> TokenIds:
        """The ids of a cut document, without its EOS.

        PSM is `<prefix> P <suffix> S <middle> M`. SPM is `<prefix> <suffix> S <middle> P M`, the
        variant of the paper's appendix D that StarCoder trains too: in it a model that completes
        PSM also completes SPM.

        Args:
            cut: what was cut.
            parts: the ids of prefix, middle and suffix.
        """
        prefix, middle, suffix = parts
        marks = (np.array([mark], np.uint32) for mark in (self.prefix_id, self.suffix_id))
        of_prefix, of_suffix = marks
        of_middle = np.array([self.middle_id], np.uint32)
        if cut.suffix_first:
            return np.concatenate([of_prefix, of_suffix, suffix, of_middle, prefix, middle])
        return np.concatenate([of_prefix, prefix, of_suffix, suffix, of_middle, middle])


def _draw(name: str) -> tuple[float, float, float, float]:
    """Four numbers, uniform in [0, 1) to 53 bits."""
    digest = sha256(name.encode()).digest()
    numbers = (int.from_bytes(digest[8 * place : 8 * place + 8], "big") for place in range(4))
    first, second, third, fourth = ((number >> 11) / 2**53 for number in numbers)
    return first, second, third, fourth
