"""MinHash signatures, bit-identical to `datasketch.MinHash(scheme="affine32")`.

datasketch 2 hashes an element to 32 bits, finalises the hash with MurmurHash3's fmix32 and takes,
for every permutation (a, b), the least `a * hash + b` modulo 2**32.
"""

import numpy as np
import numpy.typing as npt

from components.dedup.kernels import sign_documents
from components.dedup.shingles import GramSets

Signatures = npt.NDArray[np.uint32]


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
    signatures = np.empty((len(sets), num_permutations), dtype=np.uint32)
    factors, summands = permutations(num_permutations, seed)
    sign_documents(sets.hashes, sets.offsets[1:], factors, summands, signatures)
    return signatures
