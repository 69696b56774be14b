"""Tokens are chosen as the config says, each row for itself, and rows end where they should."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.generation.choosing import choose_tokens, draw_at_once, draw_uniforms
from components.generation.completion import (
    Completion,
    Prompt,
    Sampling,
    find_stop,
    write_completions,
)
from components.generation.config import STOP_STRINGS
from components.generation.prompts import keeps_boundary, prompt_of
from components.generation.sampling import SampledModel, sample_neo
from components.model.config import InitializationConfig, ModelConfig
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.model.text import END_OF_TEXT, TextCodec
from components.problems.benchmark import Problem, load_benchmark

SHAPE = ModelConfig(
    vocabulary_size=400, context_length=96, num_layers=4, num_heads=2, hidden_size=16, window=8
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _sampled(neo: GptNeo, codec: TextCodec) -> SampledModel:
    return sample_neo(lambda: neo, neo.config, codec, "here")


def _prompts(ids: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[Prompt]:
    return [Prompt(str(n), one, temperature) for n, one in enumerate(ids)]


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


@pytest.fixture(scope="module")
def model(codec: TextCodec) -> SampledModel:
    return _sampled(initialize(SHAPE, 1, InitializationConfig(standard_deviation=0.3)), codec)


def _sampling(**changes: object) -> Sampling:
    values: dict[str, object] = {
        "top_p": 0.95,
        "top_k": 0,
        "max_new_tokens": 24,
        "stop_strings": STOP_STRINGS,
        "ends_at_eos": True,
        "seed": 0,
        **changes,
    }
    return Sampling(**values)  # type: ignore[arg-type]


def test_what_a_row_gets_does_not_depend_on_its_batch(
    model: SampledModel, codec: TextCodec
) -> None:
    texts = ["def f" + "x" * n for n in range(12)]
    prompts = _prompts([(codec.eos_id, *codec.encode(text)) for text in texts])
    together = write_completions(model, prompts, _sampling())
    alone = [write_completions(model, [prompt], _sampling())[0] for prompt in prompts]
    backwards = write_completions(model, prompts[::-1], _sampling())[::-1]
    assert together == alone == backwards
    assert len({completion.text for completion in together}) > 6


def test_rows_of_several_temperatures_share_a_batch(model: SampledModel) -> None:
    mixed = [Prompt(f"p/{n}", (1, 2, 3), (0.0, 0.5, 1.5)[n % 3]) for n in range(9)]
    rows = write_completions(model, mixed, _sampling())
    for temperature in (0.0, 0.5, 1.5):
        some = [prompt for prompt in mixed if prompt.temperature == temperature]
        places = [n for n, prompt in enumerate(mixed) if prompt.temperature == temperature]
        assert write_completions(model, some, _sampling()) == [rows[n] for n in places]
    assert len({row.text for row in rows[::3]}) == 1
    assert len({row.text for row in rows}) > 4


def test_the_samples_of_a_problem_differ_and_the_seed_changes_them(model: SampledModel) -> None:
    prompts = _prompts([(1, 2, 3)] * 4)
    first = write_completions(model, prompts, _sampling())
    assert len({completion.text for completion in first}) == 4
    assert write_completions(model, prompts, _sampling(seed=1)) != first
    assert write_completions(model, prompts, _sampling()) == first


def test_rows_of_the_vocabulary_past_the_tokenizer_are_never_chosen(codec: TextCodec) -> None:
    assert codec.vocabulary_size < SHAPE.vocabulary_size
    loud = initialize(SHAPE, 1)
    rows = loud.output_weight[codec.vocabulary_size :]
    with torch.no_grad():
        rows.normal_(0, 100, generator=torch.Generator().manual_seed(0))
    prompts = _prompts([(n,) for n in range(8)], temperature=0.0)
    sampling = _sampling(stop_strings=(), ends_at_eos=False)
    # An id that the tokenizer lacks decodes to nothing.
    assert all(row.text for row in write_completions(_sampled(loud, codec), prompts, sampling))
    uniforms = torch.full((1,), 1 - 2**-53, dtype=torch.float64)
    logits = torch.zeros(1, 5)
    logits[:, 3:] = -torch.inf
    for top_p in (0.5, 1.0):
        chosen = choose_tokens(logits, uniforms, torch.ones(1), top_p=top_p, top_k=0)
        assert chosen.item() == 2


def test_a_completion_ends_before_its_earliest_stop_string(
    model: SampledModel, codec: TextCodec
) -> None:
    stops = ("e", "\n")
    prompts = _prompts([(n,) for n in range(40)])
    rows = write_completions(model, prompts, _sampling(stop_strings=stops))
    free = write_completions(model, prompts, _sampling(stop_strings=()))
    assert {row.finish for row in rows} >= {"stop", "length"}
    for row, whole in zip(rows, free, strict=True):
        assert not any(stop in row.text for stop in stops)
        end = find_stop(whole.text, stops)
        assert row.text == (whole.text[:end] if end >= 0 else whole.text)
        assert row.num_tokens <= whole.num_tokens
        assert (row.finish == "stop") == (end >= 0)


def test_the_end_of_text_token_ends_a_row_unless_it_is_forbidden(
    model: SampledModel, codec: TextCodec
) -> None:
    prompts = _prompts([(n,) for n in range(60)], temperature=10.0)
    flat = {"top_p": 1.0, "stop_strings": ()}
    rows = write_completions(model, prompts, _sampling(**flat))
    ended = [row for row in rows if row.finish == "eos"]
    assert ended
    assert all(END_OF_TEXT not in row.text for row in rows)
    kept = write_completions(model, prompts, _sampling(ends_at_eos=False, **flat))
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
    rows, temperatures = logits.expand(2000, -1), torch.full((2000,), temperature)
    chosen = choose_tokens(rows, grid, temperatures, top_p=top_p, top_k=top_k)
    at_once = draw_at_once(torch.softmax(rows / temperature, dim=-1), grid, top_p, top_k)
    assert torch.equal(chosen, at_once)
    counts = torch.bincount(chosen, minlength=len(scores)) / 2000
    mass = sum(probabilities[token] for token in kept)
    for token, share in enumerate(counts.tolist()):
        expected = probabilities[token] / mass if token in kept else 0.0
        assert abs(share - expected) <= 2e-3


def test_temperature_zero_takes_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    uniforms = torch.tensor([0.999, 0.0], dtype=torch.float64)
    chosen = choose_tokens(logits, uniforms, torch.zeros(2), top_p=0.1, top_k=0)
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
    model: SampledModel, codec: TextCodec
) -> None:
    problem = Problem("b", "b/0", "def f(x):\n", "f", "", "")
    ids = codec.encode(problem.prompt)
    whole = prompt_of(model, problem, stripped=False, limit=50)
    assert (whole.ids, whole.was_cut) == ((codec.eos_id, *ids), False)
    cut = prompt_of(model, problem, stripped=False, limit=2)
    assert (cut.ids, cut.was_cut) == (tuple(ids[-2:]), True)
    stripped = prompt_of(model, problem, stripped=True, limit=50)
    assert stripped.ids == (codec.eos_id, *codec.encode("def f(x):"))


def test_a_completion_holds_new_text_only(model: SampledModel, codec: TextCodec) -> None:
    prompt = Prompt("p", (codec.eos_id, *codec.encode("def add(a, b):\n")), 1.0)
    (row,) = write_completions(model, [prompt], _sampling(max_new_tokens=1))
    assert isinstance(row, Completion)
    assert row.num_tokens == 1
    assert "def add" not in row.text
