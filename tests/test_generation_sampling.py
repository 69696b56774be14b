"""Tokens are chosen as the config says, each row for itself, and rows end where they should."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.generation.choosing import choose_tokens, draw_uniforms
from components.generation.completion import (
    Completion,
    Prompt,
    Sampling,
    find_stop,
    write_completions,
)
from components.generation.config import STOP_STRINGS
from components.generation.decoding import RowDecoder
from components.generation.prompts import keeps_boundary, prompt_ids
from components.model.config import InitializationConfig, ModelConfig
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.model.text import END_OF_TEXT, TextCodec
from components.problems.benchmark import load_benchmark

SHAPE = ModelConfig(
    vocabulary_size=400, context_length=96, num_layers=4, num_heads=2, hidden_size=16, window=8
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> GptNeo:
    return initialize(SHAPE, 1, InitializationConfig(standard_deviation=0.3)).eval()


def _codec(use_regex: bool) -> TextCodec:
    """A byte-level tokenizer; with GPT-2's expression a newline joins the blanks behind it."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    newline = pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = (
        byte_level if use_regex else pre_tokenizers.Sequence([newline, byte_level])
    )
    tokenizer.decoder = decoders.ByteLevel()
    problems = load_benchmark("easy").problems
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [problem.prompt + problem.canonical_solution for problem in problems]
    tokenizer.train_from_iterator(texts, trainer)
    return TextCodec(tokenizer)


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return _codec(use_regex=False)


def _sampling(**changes: object) -> Sampling:
    values: dict[str, object] = {
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 0,
        "max_new_tokens": 24,
        "stop_strings": STOP_STRINGS,
        "ends_at_eos": True,
        "seed": 0,
        **changes,
    }
    return Sampling(**values)  # type: ignore[arg-type]


def test_rows_of_different_lengths_are_read_as_the_model_reads_each_alone(model: GptNeo) -> None:
    stream = np.random.default_rng(0)
    prompts = [tuple(stream.integers(0, 400, size).tolist()) for size in (3, 30, 30, 1, 17)]
    prompts[2] = prompts[1]
    forced = torch.from_numpy(stream.integers(0, 400, (20, len(prompts))))
    with torch.inference_mode():
        decoder = RowDecoder(model, prompts, len(forced))
        for step, ids in enumerate(forced):
            for row, prompt in enumerate(prompts):
                whole = torch.tensor([[*prompt, *forced[:step, row].tolist()]])
                expected = model(whole)[0, -1]
                torch.testing.assert_close(decoder.logits[row], expected, rtol=1e-4, atol=1e-4)
            decoder.step(ids)


def test_what_a_row_gets_does_not_depend_on_its_batch(model: GptNeo, codec: TextCodec) -> None:
    prompts = [Prompt(f"p/{n}", prompt_ids(codec, "def f" + "x" * n, 60)) for n in range(12)]
    together = write_completions(model, codec, prompts, _sampling())
    alone = [write_completions(model, codec, [prompt], _sampling())[0] for prompt in prompts]
    backwards = write_completions(model, codec, prompts[::-1], _sampling())[::-1]
    assert together == alone == backwards
    assert len({completion.text for completion in together}) > 6


def test_the_samples_of_a_problem_differ_and_the_seed_changes_them(
    model: GptNeo, codec: TextCodec
) -> None:
    prompts = [Prompt(f"p/{n}", (1, 2, 3)) for n in range(4)]
    first = write_completions(model, codec, prompts, _sampling())
    assert len({completion.text for completion in first}) == 4
    assert write_completions(model, codec, prompts, _sampling(seed=1)) != first
    assert write_completions(model, codec, prompts, _sampling()) == first


def test_rows_of_the_vocabulary_past_the_tokenizer_are_never_chosen(
    model: GptNeo, codec: TextCodec
) -> None:
    assert codec.vocabulary_size < SHAPE.vocabulary_size
    loud = initialize(SHAPE, 1)
    rows = loud.output_weight[codec.vocabulary_size :]
    with torch.no_grad():
        rows.normal_(0, 100, generator=torch.Generator().manual_seed(0))
    prompts = [Prompt(str(n), (n,)) for n in range(8)]
    sampling = _sampling(temperature=0.0, stop_strings=(), ends_at_eos=False)
    # An id that the tokenizer lacks decodes to nothing.
    assert all(row.text for row in write_completions(loud, codec, prompts, sampling))
    uniforms = torch.full((1,), 1 - 2**-53, dtype=torch.float64)
    logits = torch.zeros(1, 5)
    logits[:, 3:] = -torch.inf
    for top_p in (0.5, 1.0):
        chosen = choose_tokens(logits, uniforms, temperature=1.0, top_p=top_p, top_k=0)
        assert chosen.item() == 2


def test_a_completion_ends_before_its_earliest_stop_string(model: GptNeo, codec: TextCodec) -> None:
    stops = ("e", "\n")
    prompts = [Prompt(str(n), (n,)) for n in range(40)]
    rows = write_completions(model, codec, prompts, _sampling(stop_strings=stops))
    free = write_completions(model, codec, prompts, _sampling(stop_strings=()))
    assert {row.finish for row in rows} >= {"stop", "length"}
    for row, whole in zip(rows, free, strict=True):
        assert not any(stop in row.text for stop in stops)
        end = find_stop(whole.text, stops)
        assert row.text == (whole.text[:end] if end >= 0 else whole.text)
        assert row.num_tokens <= whole.num_tokens
        assert (row.finish == "stop") == (end >= 0)


def test_the_end_of_text_token_ends_a_row_unless_it_is_forbidden(
    model: GptNeo, codec: TextCodec
) -> None:
    prompts = [Prompt(str(n), (n,)) for n in range(60)]
    flat = {"temperature": 10.0, "top_p": 1.0, "stop_strings": ()}
    rows = write_completions(model, codec, prompts, _sampling(**flat))
    ended = [row for row in rows if row.finish == "eos"]
    assert ended
    assert all(END_OF_TEXT not in row.text for row in rows)
    kept = write_completions(model, codec, prompts, _sampling(ends_at_eos=False, **flat))
    assert {(row.finish, row.num_tokens) for row in kept} == {("length", 24)}


def _nucleus(probabilities: Sequence[float], top_p: float, top_k: int) -> set[int]:
    """The kept tokens by definition; equals of the last one stay."""
    order = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])
    kept, mass = [], 0.0
    for token in order:
        if kept and (mass >= top_p or (top_k and len(kept) == top_k)):
            break
        kept.append(token)
        mass += probabilities[token]
    least = probabilities[kept[-1]]
    return {token for token in order if probabilities[token] >= least}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=12),
    st.sampled_from([0.3, 0.9, 1.0]),
    st.integers(0, 4),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_a_token_is_drawn_from_the_nucleus_in_proportion_to_its_probability(
    scores: list[int], top_p: float, top_k: int, temperature: float
) -> None:
    logits = torch.tensor([scores], dtype=torch.float32)
    probabilities = torch.softmax(logits / temperature, dim=-1)[0].tolist()
    kept = _nucleus(probabilities, top_p, top_k)
    if top_p == 1 and top_k == 0:
        kept = {*range(len(scores))}
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    chosen = choose_tokens(
        logits.expand(2000, -1), grid, temperature=temperature, top_p=top_p, top_k=top_k
    )
    counts = torch.bincount(chosen, minlength=len(scores)) / 2000
    mass = sum(probabilities[token] for token in kept)
    for token, share in enumerate(counts.tolist()):
        expected = probabilities[token] / mass if token in kept else 0.0
        assert abs(share - expected) <= 2e-3


def test_temperature_zero_takes_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    uniforms = torch.tensor([0.999, 0.0], dtype=torch.float64)
    chosen = choose_tokens(logits, uniforms, temperature=0.0, top_p=0.1, top_k=0)
    assert chosen.tolist() == [1, 0]


def test_every_row_has_random_numbers_of_its_own() -> None:
    many = draw_uniforms(3, ["a", "b", "c"], 5)
    assert (draw_uniforms(3, ["c"], 5)[0] == many[2]).all()
    assert len(np.unique(many)) == many.size
    assert (draw_uniforms(4, ["a"], 5) != many[0]).all()


def test_the_probe_knows_a_tokenizer_that_joins_newlines_to_blanks(codec: TextCodec) -> None:
    problems = load_benchmark("easy").problems
    assert keeps_boundary(codec, problems)
    assert not keeps_boundary(_codec(use_regex=True), problems)


def test_a_prompt_starts_a_document_and_loses_its_beginning_where_it_is_too_long(
    codec: TextCodec,
) -> None:
    ids = codec.encode("def f(x):\n")
    assert prompt_ids(codec, "def f(x):\n", 50) == (codec.eos_id, *ids)
    assert prompt_ids(codec, "def f(x):\n", 2) == tuple(ids[-2:])


def test_a_completion_holds_new_text_only(model: GptNeo, codec: TextCodec) -> None:
    prompt = Prompt("p", prompt_ids(codec, "def add(a, b):\n", 60))
    (row,) = write_completions(model, codec, [prompt], _sampling(max_new_tokens=1))
    assert isinstance(row, Completion)
    assert row.num_tokens == 1
    assert "def add" not in row.text
