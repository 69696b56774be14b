"""The fast encoder gives Hugging Face's ids, or Hugging Face does the work and it is said."""

import functools
import logging
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from components.artifacts.errors import CorruptArtifactError
from components.artifacts.tokens import read_tokens
from components.model import encoding
from components.model.encoding import BatchEncoder
from components.model.probes import probe_texts
from components.model.text import END_OF_TEXT, FIM_TOKENS, TextCodec
from components.tokenizer.bpe import train_bpe
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.extension import extend

KINDS = ("isolated", "attached", "merged", "extended")

HARD = st.one_of(
    st.text(),
    st.text(alphabet=" \t\r\n\f()_.:#=aZ09'\u00e9\u4e2d\U0001f600\u0301\u2028\u180e\u0085"),
    st.lists(
        st.sampled_from(
            [END_OF_TEXT, *FIM_TOKENS, "\n    ", "\n\n", "        ", "\r\n", "def f(x):"]
        )
    ).map("".join),
)


@functools.cache
def _texts() -> tuple[str, ...]:
    folder = Path(sysconfig.get_path("stdlib"))
    paths = sorted([*(folder / "email").glob("*.py"), *(folder / "encodings").glob("*.py")])
    return tuple(path.read_text(encoding="utf-8") for path in paths)


@functools.cache
def _codec(kind: str) -> TextCodec:
    """A tokenizer of ours, or a GPT-2-like base extended by blanks."""
    if kind != "extended":
        config = TokenizerConfig.from_json(
            {"vocabulary_size": 1500, "newline": kind, "fim_tokens": True}
        )
        return TextCodec.from_bytes(train_bpe(_texts()[:60], config).to_str().encode())
    base = train_bpe(_texts()[:60], TokenizerConfig(vocabulary_size=1500))
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return TextCodec.from_bytes(extend(base.to_str().encode(), "base")[0].to_str().encode())


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    encoding.warn_of_refusal.cache_clear()
    encoding._load.cache_clear()
    yield
    encoding._load.cache_clear()


def _equal(encoder: BatchEncoder, texts: Sequence[str]) -> bool:
    assert not encoder.refusal
    found = [ids.tolist() for ids in encoder.encode(texts)]
    return found == encoder.codec.encode_batch(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_our_tokenizers_are_encoded_fast_with_hugging_faces_ids(kind: str) -> None:
    encoder = BatchEncoder(_codec(kind), _texts())
    assert _equal(encoder, [*_texts(), *probe_texts(encoder.codec), "", "\n"])


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_has_equal_ids_and_comes_back(kind: str) -> None:
    encoder = BatchEncoder(_codec(kind))

    @settings(deadline=None)
    @given(HARD)
    def check(text: str) -> None:
        (ids,) = encoder.encode([text])
        assert ids.tolist() == encoder.codec.encode(text)
        assert encoder.codec.decode(ids.tolist()) == text
        assert encoder.codec.spells(ids, text)

    check()


def _revealing(kind: str) -> TextCodec:
    """The pieces of a kind, with merges of every byte and its ASCII neighbours.

    An ordinary vocabulary hides most differences of pieces: it has no merge across them.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelt = dict(zip(NEIGHBOURS, map(_spell, NEIGHBOURS), strict=True))
    pairs = [(near, byte) for near in spelt.values() for byte in alphabet]
    merges = [*pairs, *((byte, near) for near, byte in pairs)]
    tokens = [*alphabet, *dict.fromkeys(left + right for left, right in merges), END_OF_TEXT]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [*dict.fromkeys(merges)]))
    tokenizer.pre_tokenizer = _codec(kind).tokenizer.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return TextCodec(tokenizer)


NEIGHBOURS = "a1 !\n\r"


def _spell(character: str) -> str:
    """A character as GPT-2 spells its byte."""
    ((token, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(character)
    return str(token)


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_point_is_of_one_class_for_both(kind: str) -> None:
    encoder = BatchEncoder(_revealing(kind))
    planes = [*range(0x80, 0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)]
    texts = ["".join(near + chr(code) for near in NEIGHBOURS + "a") for code in planes]
    assert _equal(encoder, texts)
    assert encoder.num_slow == 1


def test_the_code_point_that_differs_is_hugging_faces() -> None:
    codec = _revealing("isolated")
    text = f"x = '{encoding.DIFFERENT} '\n"
    assert REAL_ENCODE(encoding.load_fast(codec), [text])[0].tolist() != codec.encode(text)
    encoder = BatchEncoder(codec)
    texts = ["a\n", text, "b\n"]
    assert _equal(encoder, texts)
    assert encoder.num_slow == 1


def test_a_release_that_was_not_proven_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "version", lambda _name: "0.3.6")
    assert "0.3.6 is not proven" in BatchEncoder(_codec("isolated")).refusal


def test_texts_that_are_cut_for_threads_have_equal_ids() -> None:
    random = np.random.default_rng(0)
    runs = ["\n", " ", "\t", "\r\n", "x", "\u00e9", "=", "7", "ab_", "\u4e2d"]
    texts = []
    for _ in range(20):
        pieces = random.choice(runs, 60).tolist()
        counts = random.choice([1, 2, 40, 1_100, 3_000], 60).tolist()
        texts.append("".join(piece * count for piece, count in zip(pieces, counts, strict=True)))
    assert min(map(len, texts)) > 16_384
    for kind in KINDS:
        assert _equal(BatchEncoder(_codec(kind)), texts)


def test_text_that_spells_a_special_token_is_text() -> None:
    encoder = BatchEncoder(_codec("isolated"))
    assert not encoder.refusal
    special = {encoder.codec.tokenizer.token_to_id(name) for name in (END_OF_TEXT, *FIM_TOKENS)}
    (ids,) = encoder.encode(["".join((END_OF_TEXT, *FIM_TOKENS))])
    assert not special & {*ids.tolist()}


def _swapped(tokenizer: Any, texts: Sequence[str]) -> list[encoding.TokenIds]:
    found = [ids.copy() for ids in REAL_ENCODE(tokenizer, texts)]
    for ids in found:
        if len(ids) > 2_000:
            ids[[0, 1]] = ids[[1, 0]]
    return found


REAL_ENCODE = encoding.encode_fast


def test_an_encoder_with_other_ids_is_refused_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoding, "encode_fast", _swapped)
    with caplog.at_level(logging.WARNING):
        encoder = BatchEncoder(_codec("isolated"))
        BatchEncoder(_codec("isolated"))
    assert "are not Hugging Face's" in encoder.refusal
    assert caplog.text.count("Hugging Face encodes") == 1
    text = _texts()[0]
    assert encoder.encode([text])[0].tolist() == encoder.codec.encode(text)


def test_a_difference_that_only_the_corpus_shows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = "rarely_seen_name = 1\n"
    codec = _codec("isolated")

    def encode(tokenizer: Any, texts: Sequence[str]) -> list[encoding.TokenIds]:
        found = REAL_ENCODE(tokenizer, texts)
        return [ids[:-1] if rare in text else ids for ids, text in zip(found, texts, strict=True)]

    monkeypatch.setattr(encoding, "encode_fast", encode)
    assert not BatchEncoder(codec).refusal
    assert BatchEncoder(codec, ["x = 1\n"] * 99 + [rare] * 50).refusal


class _Panic(BaseException):
    """What a panic in Rust looks like."""


def _raise(error: BaseException) -> Callable[..., Any]:
    def call(*_arguments: Any, **_named: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("error", [ValueError("no such pattern"), _Panic("index out of range")])
def test_an_encoder_that_cannot_read_a_tokenizer_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(encoding, "load_fast", _raise(error))
    encoder = BatchEncoder(_codec("isolated"))
    assert "does not take this tokenizer" in encoder.refusal
    assert encoder.encode(["x = 1\n"])[0].tolist() == encoder.codec.encode("x = 1\n")


def test_ctrl_c_while_probing_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "load_fast", _raise(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        BatchEncoder(_codec("isolated"))


def test_a_text_on_which_it_fails_is_encoded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = BatchEncoder(_codec("isolated"))

    def encode(tokenizer: Any, texts: Sequence[str]) -> list[encoding.TokenIds]:
        if "hard\n" in texts:
            raise ValueError("match limit exceeded")
        return REAL_ENCODE(tokenizer, texts)

    monkeypatch.setattr(encoding, "encode_fast", encode)
    texts = ["x = 1\n", "hard\n", "y = 2\n"]
    assert [ids.tolist() for ids in encoder.encode(texts)] == encoder.codec.encode_batch(texts)
    assert encoder.num_slow == 1
    assert not encoder.refusal


def test_without_the_package_the_digests_are_the_same_and_the_steps_say_so(
    make_step: Any,
    documents_of: Any,
    document: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rows = [
        document(f"{place}.py", text, repo=f"me/{place % 5}")
        for place, text in enumerate(_texts()[:25])
    ]
    documents = documents_of(rows[:9], rows[9:])
    found = []
    for installed in (True, False):
        if not installed:
            monkeypatch.setitem(sys.modules, "fastokens", None)
            encoding._load.cache_clear()
        root = str(tmp_path / str(installed))
        made = make_step("tokenizer", {"documents": documents}, vocabulary_size=600, data_root=root)
        inputs = {"documents": documents, "tokenizer": made.artifact}
        packed = make_step("packing", inputs, validation_fraction=0.4, data_root=root)
        for outcome in (made, packed):
            assert outcome.artifact.manifest.measures["fast_encoder"] == float(installed)
            summary = outcome.artifact.storage.read("summary.md").decode()
            assert ("Hugging Face" in summary and "fastokens encoded" not in summary) != installed
        found.append((made.artifact.manifest.digest, packed.artifact.manifest.digest))
        assert read_tokens(packed.artifact, "training")
    assert found[0] == found[1]


def test_spells_knows_what_a_decoder_gives_back() -> None:
    codec = _codec("extended")
    ids = np.array(codec.encode("def f():\n        return 1\n"), np.uint32)
    assert codec.spells(ids, "def f():\n        return 1\n")
    assert not codec.spells(ids, "def f():\n        return 2\n")
    assert not codec.spells(ids[:-1], "def f():\n        return 1\n")
    assert codec.spells(np.array([*ids, codec.eos_id]), codec.decode([*ids.tolist(), codec.eos_id]))
    other = TextCodec.from_bytes(codec.tokenizer.to_str().encode())
    other.tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip("d", 1, 0)])
    assert other.spells(ids, other.decode(ids.tolist()))
    assert not other.spells(ids, "def f():\n        return 1\n")


def test_a_normaliser_that_loses_text_is_noticed() -> None:
    codec = TextCodec.from_bytes(_codec("isolated").tokenizer.to_str().encode())
    codec.tokenizer.normalizer = normalizers.NFC()
    encoder = BatchEncoder(codec)
    (ids,) = encoder.encode(["cafe\u0301"])
    assert ids.tolist() == codec.encode("cafe\u0301")
    assert not codec.spells(ids, "cafe\u0301")


def test_an_added_token_with_plain_text_is_matched_as_hugging_face_does() -> None:
    codec = TextCodec.from_bytes(_codec("isolated").tokenizer.to_str().encode())
    codec.tokenizer.add_tokens([AddedToken("self.assert", normalized=False)])
    assert _equal(BatchEncoder(codec), ["        self.assertEqual(self.assert_)\n"])


@pytest.mark.parametrize("data", [b"", b"{}", b'{"model": {}}', b"\xff", b"[1, 2]", b"PAR1"])
def test_a_file_that_is_no_tokenizer_is_an_error_of_one_line(data: bytes) -> None:
    with pytest.raises(CorruptArtifactError, match="run the tokenizer step again") as caught:
        TextCodec.from_bytes(data)
    assert "\n" not in str(caught.value)
