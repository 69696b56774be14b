"""MinHash signatures, bit-identical to `datasketch.MinHash(scheme="affine32")`.

datasketch 2 hashes an element to 32 bits, finalises the hash with MurmurHash3's fmix32 and takes,
for every permutation (a, b), the least `a * hash + b` modulo 2**32.
"""

import numpy as np
import numpy.typing as npt

from components.dedup.shingles import GramSets

Signatures = npt.NDArray[np.uint32]

EMPTY = np.uint32(0xFFFFFFFF)
"""The signature of the empty set in every place, as datasketch has it."""

TILE_GRAMS = 512
"""n-grams permuted at once: with 252 permutations half a MiB, which stays in the L2 cache."""


def permutations(num_permutations: int, seed: int) -> tuple[Signatures, Signatures]:
    """The factors and summands of the permutations, drawn as datasketch draws them.

    Returns:
        a, odd, and b; both [num_permutations].
    """
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, num_permutations, dtype=np.uint32)
    summands = generator.randint(0, 1 << 32, num_permutations, dtype=np.uint32)
    return factors * np.uint32(2) + np.uint32(1), summands


def sign(sets: GramSets, num_permutations: int, seed: int) -> Signatures:
    """The signatures of D sets; an element's 32-bit hash is the low half of its 64-bit one.

    Returns:
        [D, num_permutations].
    """
    factors, summands = permutations(num_permutations, seed)
    hashes = _fmix32(sets.hashes.astype(np.uint32))
    signatures = np.full((len(sets), num_permutations), EMPTY, dtype=np.uint32)
    tile = np.empty((num_permutations, TILE_GRAMS), dtype=np.uint32)
    for document, signature in enumerate(signatures):
        end = int(sets.offsets[document + 1])
        for start in range(int(sets.offsets[document]), end, TILE_GRAMS):
            part = hashes[start : min(end, start + TILE_GRAMS)]
            permuted = tile[:, : len(part)]
            np.multiply(factors[:, None], part, out=permuted)
            permuted += summands[:, None]
            np.minimum(signature, permuted.min(axis=1), out=signature)
    return signatures


def _fmix32(hashes: Signatures) -> Signatures:
    hashes = hashes ^ (hashes >> np.uint32(16))
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes
