"""The layers of near-dedup, each against its definition or a peer."""

import itertools
import random
import re
import struct
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from components.dedup import clusters, kernels, shingles
from components.dedup.bands import Buckets, band_keys, buckets_of
from components.dedup.clusters import Forest, Join, keep_extremes
from components.dedup.exact import first_copies, gpt_cc_key
from components.dedup.kernels import EMPTY
from components.dedup.shingles import GramSets, Texts, gram_sets, hash_slabs
from components.dedup.signatures import permutations, sign
from components.dedup.verification import HeldSets, jaccard

MASK = (1 << 64) - 1
TEXTS = st.text(alphabet="ab_Z09@[`{/:^ \n\t\x7f\u00e9\U0001f600", max_size=150)


def mixed(value: int) -> int:
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & MASK
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def word_hash(word: bytes) -> int:
    if not word:
        return 0
    value = len(word) * int(kernels.LENGTH_FACTOR) & MASK
    for start in range(0, len(word), 8):
        chunk = int.from_bytes(word[start : start + 8], "little")
        value = (value ^ chunk) * int(kernels.WORD_FACTOR) & MASK
        value ^= value >> 32
    return value


def gram_hash(words: "list[int]") -> int:
    value = 0
    for word in words:
        value = value * int(kernels.GRAM_FACTOR) + word & MASK
    return max(1, mixed(value))


def words_of(text: str, splitter: str) -> list[str]:
    if splitter == "runs":
        return re.findall(r"[A-Za-z0-9_]+", text)
    return re.split(r"[^A-Za-z0-9_]", text)


def grams_by_definition(text: str, ngram_words: int, splitter: str) -> set[int]:
    words = [word_hash(word.encode()) for word in words_of(text, splitter)]
    starts = range(len(words) - ngram_words + 1)
    return {gram_hash(words[start : start + ngram_words]) for start in starts}


@given(st.lists(TEXTS, max_size=8), st.sampled_from([1, 2, 5]))
@settings(max_examples=150, deadline=None)
def test_gram_sets_are_those_of_the_definition(texts: list[str], ngram_words: int):
    for splitter in ("runs", "bigcode"):
        sets = gram_sets([text.encode() for text in texts], ngram_words, splitter)
        assert len(sets) == len(texts)
        for number, text in enumerate(texts):
            hashes = sets[number].tolist()
            assert len(hashes) == len({*hashes})
            assert {*hashes} == grams_by_definition(text, ngram_words, splitter)


@pytest.mark.parametrize("shift", [0, 1, 7, 8, 63])
def test_every_byte_is_a_word_character_or_none_wherever_it_stands(shift: int):
    data = b"." * shift + b"".join(b"x" + bytes([byte]) + b"y " for byte in range(256))
    sets = gram_sets([data], 1, "runs")
    words = re.findall(rb"[A-Za-z0-9_]+", data)
    assert {*sets[0].tolist()} == {gram_hash([word_hash(word)]) for word in words}


@given(st.text(alphabet="aZ_ 9", max_size=40), st.integers(0, 20))
@settings(deadline=None)
def test_what_stands_behind_a_document_does_not_change_its_hashes(text: str, behind: int):
    """Words near the end of a buffer are read byte by byte, others eight bytes at a time."""
    data = text.encode()
    sets = gram_sets([data, b"." * behind, data], 1, "runs")
    assert sets[0].tolist() == sets[2].tolist()


GUARDED = """
import ctypes, mmap
import numpy as np
from components.dedup.shingles import Texts, gram_sets, hash_slabs

memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
page = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + mmap.PAGESIZE
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
text = b"return a_long_name + 1"
for splitter in ("runs", "bigcode"):
    data = np.frombuffer(memory, np.uint8)[mmap.PAGESIZE - len(text) : mmap.PAGESIZE]
    data[:] = list(text)
    sets = next(hash_slabs(Texts(data, np.array([0, len(text)])), np.arange(1), 2, splitter))
    print(sets[0].tolist() == gram_sets([text, b"." * 100], 2, splitter)[0].tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect(2) is called as Linux has it")
def test_nothing_is_read_behind_the_end_of_a_buffer():
    command = [sys.executable, "-c", GUARDED]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.split()) == (0, ["True", "True"]), ended.stderr


@given(st.lists(TEXTS, max_size=12), st.sampled_from([1, 70, 10_000]), st.data())
@settings(max_examples=60, deadline=None)
def test_slabs_of_any_column_give_the_sets_of_the_documents_asked_for(
    texts: list[str], slab_bytes: int, data: st.DataObject
):
    wanted = [place for place in range(len(texts)) if data.draw(st.booleans())]
    cut = data.draw(st.integers(0, len(texts)))
    column = pa.chunked_array([texts[:cut], texts[cut:]], pa.string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "SLAB_BYTES", slab_bytes)
        view = Texts.of_column(column)
        found = [
            sets[number].tolist()
            for sets in hash_slabs(view, np.array(wanted, np.int64), 2, "runs")
            for number in range(len(sets))
        ]
    whole = gram_sets([texts[place].encode() for place in wanted], 2, "runs")
    assert found == [whole[number].tolist() for number in range(len(wanted))]


def test_a_column_of_several_chunks_is_joined_behind_long_offsets():
    view = Texts.of_column(pa.chunked_array([["a b c"], ["d e"]], pa.string()))
    assert view.offsets.dtype == np.int64
    assert np.diff(view.offsets).tolist() == [5, 3]


def test_indentation_votes_for_similarity_with_bigcodes_splitter_only():
    left, right = b"        a\n        b\n        c\n", b"        x\n        y\n        z\n"
    for splitter, expected in (("runs", 0.0), ("bigcode", 0.25)):
        sets = gram_sets([left, right], 3, splitter)
        held = HeldSets(sets)
        assert (jaccard(held, np.array([0]), np.array([1]))[0] > 0) == (expected > 0)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from([1, 7, 252]), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_signatures_are_bit_identical_to_datasketch(texts: list[str], length: int, seed: int):
    sets = gram_sets([text.encode() for text in texts], 2, "runs")
    signed = sign(sets, length, seed)
    for document in range(len(sets)):
        peer = MinHash(
            num_perm=length,
            seed=seed,
            scheme="affine32",
            hashfunc=lambda data: struct.unpack("<I", data)[0],
        )
        for gram in sets[document].tolist():
            peer.update(struct.pack("<I", gram & 0xFFFFFFFF))
        assert signed[document].tolist() == peer.hashvalues.tolist()


@pytest.mark.parametrize("grams", [1, 63, 64, 65, 1500])
def test_sets_of_any_size_are_signed_as_datasketch_signs_them(grams: int):
    """Hashes are permuted in whole vectors: what fills the last one must not show."""
    text = " ".join(f"w{i}" for i in range(grams + 4))
    sets = gram_sets([text.encode()], 5, "runs")
    assert len(sets[0]) == grams
    peer = MinHash(num_perm=64, scheme="affine32", hashfunc=lambda data: int(data))
    for gram in sets[0].tolist():
        peer.update(str(gram & 0xFFFFFFFF))
    assert sign(sets, 64, 1)[0].tolist() == peer.hashvalues.tolist()


def test_permutations_are_datasketchs():
    factors, summands = permutations(252, 1)
    peer = MinHash(num_perm=252, seed=1, scheme="affine32").permutations
    assert factors.tolist() == list(peer[0])
    assert summands.tolist() == list(peer[1])


def test_the_empty_set_has_datasketchs_empty_signature():
    sets = gram_sets([b"too short"], 5, "runs")
    assert (sign(sets, 4, 1) == EMPTY).all()


def test_band_keys_are_equal_exactly_where_all_rows_are():
    generator = np.random.default_rng(0)
    signed = generator.integers(0, 2, (40, 12), dtype=np.uint32)
    keys = band_keys(signed, bands=4, rows=3)
    assert keys.shape == (4, 40)
    for band, left, right in itertools.product(range(4), range(40), range(40)):
        rows = slice(3 * band, 3 * band + 3)
        equal = (signed[left, rows] == signed[right, rows]).all()
        assert (keys[band, left] == keys[band, right]) == equal


@given(st.lists(st.integers(0, 5), max_size=30))
@settings(deadline=None)
def test_buckets_give_every_pair_of_equal_keys_once(keys: list[int]):
    buckets = buckets_of(np.array(keys, np.uint64), np.arange(len(keys)) * 10)
    groups = np.split(buckets.members, buckets.starts()[1:])
    pairs = [pair for group in groups for pair in itertools.combinations(group.tolist(), 2)]
    expected = [
        (10 * left, 10 * right)
        for left, right in itertools.combinations(range(len(keys)), 2)
        if keys[left] == keys[right]
    ]
    assert sorted(pairs) == expected


def held_sets(sets: "Sequence[set[int]]") -> HeldSets:
    """Sets in memory, as the join asks for them."""
    offsets = np.cumsum([0, *map(len, sets)])
    flat = [value for one in sets for value in sorted(one)]
    return HeldSets(GramSets(offsets, np.array(flat, np.uint64)))


@given(st.lists(st.sets(st.integers(1, 30)), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_jaccard_is_intersection_over_union(sets: "list[set[int]]", data: st.DataObject):
    number = st.integers(0, len(sets) - 1)
    pairs = data.draw(st.lists(st.tuples(number, number), max_size=12))
    left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    values = jaccard(held_sets(sets), left, right)
    expected = [
        len(sets[one] & sets[two]) / len(sets[one] | sets[two]) if sets[one] | sets[two] else 0.0
        for one, two in pairs
    ]
    assert values.tolist() == expected


def components_of(size: int, pairs: "list[tuple[int, int]]") -> list[int]:
    """The lowest document of each one's component, the slow way."""
    lowest = list(range(size))
    for _ in range(size):
        for left, right in pairs:
            lowest[left] = lowest[right] = min(lowest[left], lowest[right])
    return lowest


@given(st.data(), st.integers(1, 25))
@settings(deadline=None)
def test_the_forest_finds_the_components_in_any_order(data: st.DataObject, size: int):
    numbers = st.integers(0, size - 1)
    pairs = data.draw(st.lists(st.tuples(numbers, numbers), max_size=40))
    forest = Forest(size)
    for start in range(0, len(pairs), 7):
        part = np.array(pairs[start : start + 7], dtype=np.int64)
        forest.union(part[:, 0], part[:, 1])
    assert forest.roots().tolist() == components_of(size, pairs)


@given(
    st.lists(st.sets(st.integers(1, 6), min_size=1), min_size=2, max_size=12),
    st.data(),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_the_join_unites_exactly_the_similar_pairs_that_share_a_bucket(
    numbers: "list[set[int]]", data: st.DataObject, threshold: float
):
    size = len(numbers)
    band = st.lists(st.integers(0, 3), min_size=size, max_size=size)
    bands = data.draw(st.lists(band, max_size=4))
    join = Join(held_sets(numbers), threshold, 0)
    join.join_bands(buckets_of(np.array(keys, np.uint64), np.arange(size)) for keys in bands)
    similar = [
        (left, right)
        for left, right in itertools.combinations(range(size), 2)
        if any(keys[left] == keys[right] for keys in bands)
        and len(numbers[left] & numbers[right]) / len(numbers[left] | numbers[right]) >= threshold
    ]
    assert join.forest.roots().tolist() == components_of(size, similar)
    sharing = sum(
        any(keys[left] == keys[right] for keys in bands)
        for left, right in itertools.combinations(range(size), 2)
    )
    assert join.num_similar <= join.num_compared <= sharing  # no pair twice


@given(
    st.lists(st.sets(st.integers(1, 6), min_size=1), min_size=2, max_size=12),
    st.data(),
    st.sampled_from([0.3, 0.5, 0.7]),
)
@settings(max_examples=150, deadline=None)
def test_extremes_are_what_codeparrots_loop_keeps(
    numbers: "list[set[int]]", data: st.DataObject, threshold: float
):
    size = len(numbers)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    best = np.array([labels.index(label) for label in labels], np.int64)
    kept = keep_extremes(best, held_sets(numbers), threshold)
    extremes: list[int] = []
    for place, label in enumerate(labels):
        rivals = [one for one in extremes if labels[one] == label]
        alike = [
            one
            for one in rivals
            if len(numbers[one] & numbers[place]) / len(numbers[one] | numbers[place]) >= threshold
        ]
        assert kept[place] == (alike[0] if alike else place)
        extremes += [] if alike else [place]


def test_a_large_bucket_of_copies_costs_a_comparison_each():
    join = Join(held_sets([{1, 2, 3}] * 500), 0.7, 0)
    same = Buckets(np.arange(500), np.zeros(500, np.int64))
    join.join_bands([same] * 10)
    assert join.num_compared == 499
    assert set(join.forest.roots().tolist()) == {0}


def test_pairs_that_proved_different_are_not_compared_again_however_many_there_are(monkeypatch):
    monkeypatch.setattr(clusters, "FIRST_PAIRS", 4)
    size = 60
    join = Join(held_sets([{1, 2, 3, 10 + number} for number in range(size)]), 0.7, 0)
    join.join_bands([Buckets(np.arange(size), np.zeros(size, np.int64))] * 3)
    assert join.num_compared == size * (size - 1) // 2
    assert join.num_similar == 0


def test_a_bucket_larger_than_the_limit_says_what_it_left_out():
    size = 50
    sets = held_sets([{1, 2, 3, 10 + number} for number in range(size - 1)] + [{1, 2, 3, 10}])
    bucket = Buckets(np.arange(size), np.zeros(size, np.int64))
    whole, limited = Join(sets, 0.7, 0), Join(sets, 0.7, 5)
    whole.join_bands([bucket])
    limited.join_bands([bucket])
    assert (whole.num_similar, whole.num_skipped) == (1, 0)
    assert limited.num_similar == 0
    assert limited.num_compared + limited.num_skipped == size * (size - 1) // 2


def test_the_default_bands_find_nearly_all_pairs_at_the_threshold():
    shuffle = random.Random(7)
    found, pairs = 0, 300
    for _ in range(pairs):
        shared = {shuffle.getrandbits(64) for _ in range(140)}
        sides = [shared | {shuffle.getrandbits(64) for _ in range(30)} for _ in range(2)]
        flat = np.array([*sorted(sides[0]), *sorted(sides[1])], dtype=np.uint64)
        sets = GramSets(np.array([0, 170, 340]), flat)
        assert jaccard(HeldSets(sets), np.array([0]), np.array([1])).tolist() == [0.7]
        keys = band_keys(sign(sets, 252, 1), 42, 6)
        found += bool((keys[:, 0] == keys[:, 1]).any())
    assert found >= 0.98 * pairs


def test_gpt_ccs_key_takes_different_programs_for_equal():
    for left, right in (("a = b + c", "a = b - c"), ("{}", "[]"), ("x < y", "x > y")):
        assert gpt_cc_key(left) == gpt_cc_key(right)
    assert gpt_cc_key("a = b") != gpt_cc_key("a = c")


def test_keys_are_equal_in_processes_with_different_hash_seeds():
    code = (
        "from components.dedup.exact import gpt_cc_key;"
        "from components.dedup.shingles import gram_sets;"
        "print(gpt_cc_key('a = b'), gram_sets([b'a b c d e f'], 5, 'runs').hashes.tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_the_loops_start_without_scipys_linear_algebra_and_leave_it_to_others():
    code = (
        "import sys\n"
        "from components.dedup.shingles import gram_sets\n"
        "gram_sets([b'a b c d e f'], 5, 'runs')\n"
        "print('scipy.linalg' in sys.modules)\n"
        "import scipy.linalg.cython_blas\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert printed.stdout.split() == [b"False"]


def test_first_copies_are_the_lowest_of_equal_keys():
    keys = pa.chunked_array([["b", "a"], ["b", "c", "a"]], pa.large_string())
    assert first_copies(keys).tolist() == [0, 1, 0, 3, 1]
    assert first_copies(pa.chunked_array([[]], pa.large_string())).tolist() == []
