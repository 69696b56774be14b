"""The loops that all bytes of a corpus go through, compiled: bytes in, arrays out.

A document is read once: bytes -> hashes of its words -> hashes of its n-grams -> the distinct ones
-> signature -> band keys. No word and no n-gram becomes a Python object, and the interpreter lock
is free meanwhile. Equal words have equal hashes in every process and on every little-endian
machine.

Legend: D documents, G hashes of one document, P permutations, W words of an n-gram.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Halves = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

U32, U64 = np.uint32, np.uint64
"""numba promotes the product of two uint32 to uint64, and mixes of signed and unsigned to floats:
every step names its type."""

WORD_FACTOR = U64(0xD1342543DE82EF95)
LENGTH_FACTOR = U64(0x9E3779B97F4A7C15)
GRAM_FACTOR = U64(0x2545F4914F6CDD1D)
"""Odd, so that multiplying loses nothing: words of up to eight bytes and one length never share a
hash."""

EMPTY = U32(0xFFFFFFFF)
"""The signature of the empty set in every place, as datasketch has it."""

LANES = 64
"""Hashes are padded to a multiple of it before they are permuted: whole vectors, no scalar rest."""

PADDING = 64
"""Bytes that are read behind a document: where the buffer ends before, it is copied."""

IS_WORD = np.zeros(256, dtype=np.bool_)
IS_WORD[np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz", "u1")] = 1


def _load_numba_without_blas() -> None:
    """Load the part of numba that asks for SciPy's BLAS, and let it find none.

    It would be loaded at the first call of any loop; SciPy's is then 0.15 s of a command's start,
    and no loop here multiplies matrices.
    """
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = cast(Any, None)  # how Python spells "do not import"
        importlib.import_module("numba.np.arraymath")
        del sys.modules[blas]


_load_numba_without_blas()


def compiled(function: Function) -> Function:
    """Compile a loop at its first call; the machine code is kept on disk where there is room.

    A container with a read-only root and no home has none: there every process compiles anew.
    What is kept is renewed when the function's own file changes, not when another one does that
    it calls into: loops call only within their file, but for `mix` and `table_size`, whose results
    never leave a call.
    """
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(Function, njit(nogil=True)(function))


def _build_load(_context: Any, data: Any, place: Any) -> Any:
    """The instructions of `_load_eight`, which numba has no expression for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, place), generate


_load_eight: Any = intrinsic(_build_load)
"""Eight bytes of an array from a place on as one little-endian integer, aligned or not."""


def _build_first_bit(_context: Any, bits: Any) -> Any:
    """The instruction of `_first_bit`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(bits), generate


_first_bit: Any = intrinsic(_build_first_bit)
"""The place of the lowest bit that is set in a uint64 other than 0."""


@compiled
def _hash_word(data: Bytes, start: int, end: int) -> Any:
    """The hash of the bytes from start to end, at least one: eight at a time, then the rest."""
    value = U64(end - start) * LENGTH_FACTOR
    while end - start > 8:
        value = (value ^ _load_eight(data, start)) * WORD_FACTOR
        value ^= value >> U64(32)
        start += 8
    kept = ~U64(0) >> U64(64 - 8 * (end - start))
    value = (value ^ (_load_eight(data, start) & kept)) * WORD_FACTOR
    return value ^ (value >> U64(32))


@compiled
def _mark_eight(chunk: Any) -> Any:
    """Which of eight bytes belong to words, a bit a byte, the first byte lowest.

    Eight comparisons in one register: of bytes below 128, adding 128 - c sets the high bit of
    those from c on, and nothing is carried over.
    """
    low = chunk & U64(0x7F7F7F7F7F7F7F7F)
    folded = low | U64(0x2020202020202020)
    letters = (folded + U64(0x1F1F1F1F1F1F1F1F)) & ~(folded + U64(0x0505050505050505))
    digits = (low + U64(0x5050505050505050)) & ~(low + U64(0x4646464646464646))
    underscores = ~((low ^ U64(0x5F5F5F5F5F5F5F5F)) + U64(0x7F7F7F7F7F7F7F7F))
    marked = (letters | digits | underscores) & ~chunk & U64(0x8080808080808080)
    return ((marked >> U64(7)) * U64(0x0102040810204080)) >> U64(56)


@compiled
def _mark_block(data: Bytes, start: int, end: int) -> Any:
    """Which of the 64 bytes from start on belong to words, a bit a byte; none from `end` on."""
    bits = U64(0)
    for eighth in range(8):
        bits |= _mark_eight(_load_eight(data, start + 8 * eighth)) << U64(8 * eighth)
    if end - start < 64:
        bits &= (U64(1) << U64(end - start)) - U64(1)
    return bits


@compiled
def split_runs(data: Bytes, start: int, end: int, edges: Indices, words: Hashes) -> int:
    """Hash every run of word characters of one document into `words`; returns how many.

    Two passes, because a branch at every end of a word costs more than the rest: the first writes
    down where runs begin and end, 64 bytes at a time; the second hashes between. PADDING bytes
    behind `end` are read, and change nothing.
    """
    count = 0
    before = U64(0)
    for base in range(start, end, 64):
        bits = _mark_block(data, base, end)
        changes = bits ^ (bits << U64(1) | before)
        before = bits >> U64(63)
        while changes != U64(0):
            edges[count] = base + np.int64(_first_bit(changes))
            count += 1
            changes &= changes - U64(1)
    edges[count] = end
    runs = (count + 1) // 2
    for run in range(runs):
        words[run] = _hash_word(data, edges[2 * run], edges[2 * run + 1])
    return runs


@compiled
def split_bigcode(data: Bytes, start: int, end: int, words: Hashes) -> int:
    """Hash every piece between two other characters, empty ones too; returns how many.

    UTF-8's continuation bytes belong to the character before them. PADDING bytes behind `end` are
    read, and change nothing.
    """
    count, first = 0, start
    for place in range(start, end):
        byte = data[place]
        if IS_WORD[byte]:
            continue
        if byte & 0xC0 == 0x80:
            first = place + 1
            continue
        words[count] = _hash_word(data, first, place) if place > first else U64(0)
        count += 1
        first = place + 1
    words[count] = _hash_word(data, first, end) if end > first else U64(0)
    return count + 1


@compiled
def mix(value: Any) -> Any:
    """MurmurHash3's fmix64: every bit depends on every bit."""
    value ^= value >> U64(33)
    value *= U64(0xFF51AFD7ED558CCD)
    value ^= value >> U64(33)
    value *= U64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> U64(33))


@compiled
def hash_grams(words: Hashes, count: int, gram_words: int, grams: Hashes) -> int:
    """Hash the W-gram that begins at each of `count` words into `grams`; returns how many."""
    total = max(0, count - gram_words + 1)
    for start in range(total):
        value = words[start]
        for place in range(1, gram_words):
            value = value * GRAM_FACTOR + words[start + place]
        grams[start] = mix(value)
    return total


@compiled
def take_distinct(grams: Hashes, count: int, table: Hashes, distinct: Hashes) -> int:
    """Copy each of `count` hashes once, in the order of first sight; returns how many.

    Args:
        grams: hashes; 0, which marks an empty place of the table, counts as 1.
        count: how many of them.
        table: scratch of at least `table_size(count)`.
        distinct: where they go.
    """
    size = table_size(count)
    table[:size] = 0
    last = U64(size - 1)
    total = 0
    for index in range(count):
        value = max(grams[index], U64(1))
        place = value & last
        while table[place] != U64(0) and table[place] != value:
            place = (place + U64(1)) & last
        if table[place] == U64(0):
            table[place] = value
            distinct[total] = value
            total += 1
    return total


@compiled
def table_size(count: int) -> int:
    """Places of an open hash table that is at most half full: a power of two."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@compiled
def sign_one(
    grams: Hashes, count: int, factors: Halves, summands: Halves, halves: Halves, signature: Halves
) -> None:
    """The MinHash signature of one set, as `datasketch.MinHash(scheme="affine32")` has it.

    The inner loop runs over hashes, not over permutations: it keeps the least one in a register.

    Args:
        grams: [G] distinct hashes; the low half of each is the element's 32-bit hash.
        count: G.
        factors: [P] of the permutations.
        summands: [P] of the permutations.
        halves: scratch of at least G + LANES.
        signature: [P], the result.
    """
    if count == 0:
        signature[:] = EMPTY
        return
    for index in range(count):
        half = U32(grams[index])
        half ^= half >> U32(16)
        half = U32(half * U32(0x85EBCA6B))
        half ^= half >> U32(13)
        half = U32(half * U32(0xC2B2AE35))
        halves[index] = half ^ (half >> U32(16))
    padded = (count + LANES - 1) // LANES * LANES
    halves[count:padded] = halves[0]
    for permutation in range(len(factors)):
        factor, summand, least = factors[permutation], summands[permutation], EMPTY
        for index in range(padded):
            least = min(least, U32(U32(factor * halves[index]) + summand))
        signature[permutation] = least


@compiled
def hash_bands(signature: Halves, rows: int, keys: Hashes) -> None:
    """The key of every band of one signature; equal rows give equal keys."""
    for band in range(len(keys)):
        value = U64(0)
        for row in range(rows):
            value = mix(value * GRAM_FACTOR + U64(signature[band * rows + row]))
        keys[band] = value


@compiled
def hash_documents(
    data: Bytes,
    offsets: Any,
    documents: Indices,
    is_bigcode: bool,
    gram_words: int,
    scratch: Hashes,
    hashes: Hashes,
    ends: Indices,
) -> int:
    """The distinct n-gram hashes of some documents, one document after another.

    Args:
        data: bytes of all documents of a buffer.
        offsets: where each begins; one more place holds the end of the last.
        documents: [D] which are wanted.
        is_bigcode: whether words are split as BigCode does.
        gram_words: W.
        scratch: as many as `scratch_size` says for the longest document.
        hashes: where they go; room for a hash a byte and one a document.
        ends: [D], where each document's hashes end.

    Returns:
        How many hashes there are.
    """
    longest = 0
    for document in documents:
        longest = max(longest, offsets[document + 1] - offsets[document])
    room = longest + 2
    words, grams = scratch[:room], scratch[room : 2 * room]
    edges, table = scratch[room : 2 * room].view(np.int64), scratch[2 * room :]
    total = 0
    for number in range(len(documents)):
        start, end = int(offsets[documents[number]]), int(offsets[documents[number] + 1])
        text = data
        if end + PADDING > len(data):
            text = np.zeros(end - start + PADDING, dtype=np.uint8)
            text[: end - start] = data[start:end]
            start, end = 0, end - start
        if is_bigcode:
            count = split_bigcode(text, start, end, words)
        else:
            count = split_runs(text, start, end, edges, words)
        count = hash_grams(words, count, gram_words, grams)
        total += take_distinct(grams, count, table, hashes[total:])
        ends[number] = total
    return total


@compiled
def scratch_size(longest: int) -> int:
    """Places that `hash_documents` needs beside its result: words, n-grams and their table.

    Args:
        longest: bytes of the longest document.
    """
    return 2 * (longest + 2) + table_size(longest + 2)


@compiled
def sign_documents(
    hashes: Hashes, ends: Indices, factors: Halves, summands: Halves, signatures: Halves
) -> None:
    """The signatures [D, P] of documents whose hashes end at `ends`, as `sign_one` does each."""
    longest, start = 0, 0
    for end in ends:
        longest = max(longest, end - start)
        start = end
    halves = np.empty(longest + LANES, dtype=np.uint32)
    start = 0
    for number in range(len(ends)):
        end = ends[number]
        sign_one(hashes[start:end], end - start, factors, summands, halves, signatures[number])
        start = end


@compiled
def band_documents(signatures: Halves, rows: int, keys: Hashes) -> None:
    """The band keys [D, bands] of signatures [D, bands * rows]."""
    for number in range(len(signatures)):
        hash_bands(signatures[number], rows, keys[number])
