"""Exact duplicates: documents of equal keys, which are the same in every process."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from components.dedup.shingles import Indices

_NO_WORD = re.compile(r"\W+")


def gpt_cc_key(content: str) -> str:
    """GPT-Code-Clippy's key (deduplication.py of CodedotAl/gpt-code-clippy), hashed.

    It joins the runs of word characters and forgets what stands between them, so different
    programs share a key: `a = b + c` and `a = b - c`, or `{}` and `[]`. Their streaming variant
    used Python's `hash`, salted anew in every process; sha256 is not.
    """
    return hashlib.sha256(" ".join(_NO_WORD.split(content)).encode()).hexdigest()


def first_copies(keys: Sequence[str]) -> Indices:
    """For every document the first one with the same key, which may be itself.

    Args:
        keys: [D] keys, the best documents first.

    Returns:
        [D] numbers of documents.
    """
    _, first, which = np.unique(np.array(keys, "S"), return_index=True, return_inverse=True)
    return first[which].astype(np.int64)
