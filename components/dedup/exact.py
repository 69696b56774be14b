"""Exact duplicates: documents of equal keys, which are the same in every process."""

import hashlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.dedup.shingles import Indices

_NO_WORD = re.compile(r"\W+")


def gpt_cc_key(content: str) -> str:
    """GPT-Code-Clippy's key (deduplication.py of CodedotAl/gpt-code-clippy), hashed.

    It joins the runs of word characters and forgets what stands between them, so different
    programs share a key: `a = b + c` and `a = b - c`, or `{}` and `[]`. Their streaming variant
    used Python's `hash`, salted anew in every process; sha256 is not.
    """
    return hashlib.sha256(" ".join(_NO_WORD.split(content)).encode()).hexdigest()


def view_numbers(array: pa.Array, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A column of numbers without nulls as numpy sees it.

    Not `to_numpy`, which imports pandas where there is one, for 0.1 s.
    """
    numbers = np.frombuffer(array.buffers()[1] or b"", dtype)
    return numbers[array.offset : array.offset + len(array)]


def first_copies(keys: pa.ChunkedArray) -> Indices:
    """For every document the first one with the same key, which may be itself.

    Args:
        keys: [D] strings, the best documents first.

    Returns:
        [D] numbers of documents.
    """
    codes = view_numbers(keys.combine_chunks().dictionary_encode().indices, np.int32)
    _, first = np.unique(codes, return_index=True)
    copies: Indices = first[codes].astype(np.int64)
    return copies
