"""Many texts to token ids: fastokens where it proves equal to Hugging Face, else Hugging Face.

fastokens (Apache-2.0, Rust) reads our `tokenizer.json` and gives the ids of Hugging Face some 30
times as fast (the figures are in components/tokenizer/README.md). It is young, and a release cut
large texts wrongly (its issue 67), so only the release that the tests compare at every code point
is used, and only where it gives Hugging Face's ids on the texts of `probes.py` and on a sample of
what is to be encoded. Which of the two encodes never shows in the ids.
"""

import functools
import itertools
import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from components.model.probes import probe_texts
from components.model.text import TextCodec

logger = logging.getLogger("codekiln.encoding")

TokenIds = npt.NDArray[np.uint32]

PROVEN_VERSION = "0.3.5"
"""Of fastokens: another release is used when the tests hold with it and it is named here."""

DIFFERENT = "\u180e"
"""The one code point whose class differs: a blank for PCRE2, on which fastokens builds, and none
for Unicode since 6.3. Texts that hold it are Hugging Face's."""

NUM_SAMPLED, MAX_SAMPLED_CHARACTERS = 32, 8_000
"""How much of the texts themselves is probed: a quarter of a megabyte, 0.07 CPU seconds."""


MAX_REGEX_STACK_BYTES = 2**26
"""A run of 1 MB of newlines fits under `merged`; by default one of 5,000 stopped fastokens."""


class BatchEncoder:
    """Encodes many texts at once; special tokens that a text spells stay text."""

    def __init__(self, codec: TextCodec, texts: Sequence[Any] = ()) -> None:
        """Choose the encoder.

        Args:
            codec: encodes with Hugging Face: the oracle, and the one to fall back to.
            texts: what will be encoded, as str or in a column of Arrow; a sample is probed too.
        """
        self.codec = codec
        self._fast: Any = None
        self.refusal: str = ""
        """Why Hugging Face does the work, in a few words; empty where fastokens does."""
        self.num_slow = 0
        """Texts that Hugging Face encoded."""
        probes = [*probe_texts(codec), *sample(texts)]
        self._choose([text for text in probes if DIFFERENT not in text])

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """The ids of each text, as views of one array where the fast encoder made them."""
        alike = self._fast is not None and not any(DIFFERENT in text for text in texts)
        if alike:
            try:
                return encode_fast(self._fast, texts)
            except ValueError as error:  # a text met a limit of its regular expressions
                if len(texts) == 1:
                    warn_of_refusal(f"it failed on a text ({_shorten(error)})")
        if self._fast is None or len(texts) == 1:
            self.num_slow += len(texts)
            return self._encode_slowly(texts)
        return [ids for text in texts for ids in self.encode([text])]

    def _encode_slowly(self, texts: Sequence[str]) -> list[TokenIds]:
        return [np.array(ids, np.uint32) for ids in self.codec.encode_batch(texts)]

    def _choose(self, probes: Sequence[str]) -> None:
        try:
            self._fast = load_fast(self.codec)
            found = encode_fast(self._fast, probes)
        except ModuleNotFoundError:
            return self._refuse("it is not installed: pip install 'codekiln[data]'")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            return self._refuse(f"it does not take this tokenizer ({_shorten(error)})")
        expected = self._encode_slowly(probes)
        for text, ids, wanted in zip(probes, found, expected, strict=True):
            if not np.array_equal(ids, wanted):
                shown = text if len(text) <= 30 else text[:30] + "..."
                return self._refuse(f"its ids of {shown!r} are not Hugging Face's")
        return None

    def _refuse(self, reason: str) -> None:
        self._fast, self.refusal = None, reason
        warn_of_refusal(reason)


@functools.cache
def warn_of_refusal(reason: str) -> None:
    """Say it once a process, not once a shard."""
    logger.warning("Hugging Face encodes, slowly but the same ids: no fastokens, %s", reason)


def load_fast(codec: TextCodec) -> Any:
    """The `fastokens.Tokenizer` of a codec.

    Raises:
        ModuleNotFoundError: fastokens is not installed.
        ValueError: it cannot read this tokenizer, or is a release that is not proven.
    """
    return _load(codec.tokenizer.to_str())


@functools.lru_cache(maxsize=1)
def _load(tokenizer_json: str) -> Any:
    """Loading takes 0.2 CPU seconds; a process that encodes many shards does it once."""
    import fastokens

    if version("fastokens") != PROVEN_VERSION:
        raise ValueError(f"release {version('fastokens')} is not proven, {PROVEN_VERSION} is")
    return fastokens.Tokenizer.from_json_str(
        tokenizer_json, pcre2_max_jit_stack_size=MAX_REGEX_STACK_BYTES
    )


def encode_fast(tokenizer: Any, texts: Sequence[str]) -> list[TokenIds]:
    """The ids of each text by a `fastokens.Tokenizer`; special tokens are split as text is."""
    data, ends = tokenizer.encode_batch_flat(
        [*texts], add_special_tokens=False, split_special_tokens=True
    )
    ids, offsets = np.frombuffer(data, "<u4"), np.frombuffer(ends, "<u8").tolist()
    return [ids[start:end] for start, end in itertools.pairwise(offsets)]


def sample(texts: Sequence[Any]) -> list[str]:
    """The beginnings of some texts, evenly spread; a column of Arrow gives scalars."""
    step = max(len(texts) // NUM_SAMPLED, 1)
    chosen = range(0, len(texts), step)[:NUM_SAMPLED]
    return [str(texts[place])[:MAX_SAMPLED_CHARACTERS] for place in chosen]


def _shorten(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]
