"""Exact duplicates: documents of equal keys, which are the same in every process."""

import hashlib
import re

import numpy as np
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


def first_copies(keys: pa.ChunkedArray) -> Indices:
    """For every document the first one with the same key, which may be itself.

    Args:
        keys: [D] strings, the best documents first.

    Returns:
        [D] numbers of documents.
    """
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    copies: Indices = first[codes].astype(np.int64)
    return copies
