"""The step writes every sample and continuation once, in order, with the same bytes every time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import sha256_hex
from components.artifacts.errors import ConfigError
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.artifacts.tokens import draft_tokens
from components.generation.arithmetic import Arithmetic
from components.generation.config import GenerationConfig
from components.generation.models import ModelSource, load_model
from components.model.config import InitializationConfig, ModelConfig
from components.model.folder import export_model
from components.model.initialization import initialize
from components.model.text import END_OF_TEXT, TextCodec
from components.problems.benchmark import load_benchmark

SHAPE = {"context_length": 96, "num_layers": 2, "num_heads": 2, "hidden_size": 16, "window": 8}
INITIALIZATION = InitializationConfig(standard_deviation=0.1)
CONFIG: dict[str, Any] = {
    "benchmarks": ["easy"],
    "samples_per_problem": [2],
    "max_new_tokens": [8],
    "temperatures": [0.5, 1.0],
    "num_continuations": 5,
    "prefix_tokens": 8,
    "continuation_tokens": 12,
    "batch_size": 50,
    "dtype": "float32",
}


@pytest.fixture(autouse=True)
def _threads() -> Any:
    """The step sets torch's threads in its process, which here is the tests'."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    """A small random model that was trained with seed 3, and a held-out split."""
    codec, tokenizer = _tokenizer()
    shape = ModelConfig(vocabulary_size=codec.vocabulary_size + 7, **SHAPE)
    files = export_model(
        initialize(shape, 11, INITIALIZATION), bos_id=codec.eos_id, eos_id=codec.eos_id
    )
    drafts = [
        Draft(part="model", suffix="", data=data, rows=1, digest=sha256_hex(data), name=name)
        for name, data in {f"model/{n}": d for n, d in files.items()}.items()
    ]
    drafts.append(
        Draft(
            part="model",
            suffix="",
            data=tokenizer,
            rows=1,
            digest=sha256_hex(tokenizer),
            name="model/tokenizer.json",
        )
    )
    training = {"config": {"seed": 3, "initialization": INITIALIZATION.to_json()}}
    return {
        "model": _publish(tmp_path / "model", "model", drafts, training),
        "tokens": _publish(tmp_path / "tokens", "tokens", _tokens(codec), {}),
    }


def _tokenizer() -> tuple[TextCodec, bytes]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["def f(x):\n    return x\n"] * 9, trainer)
    data = tokenizer.to_str().encode()
    return TextCodec(tokenizer), data


def _documents() -> dict[str, str]:
    return {f"d{n}.py": f"def f{n}(x):\n    return x + {n}\n\n\ny = f{n}({n})\n" for n in range(9)}


def _tokens(codec: TextCodec) -> list[Draft]:
    ids: list[int] = []
    offsets, sources = [0], []
    for n, (path, text) in enumerate(_documents().items()):
        ids += [*codec.encode(text), codec.eos_id]
        offsets.append(len(ids))
        language = "Shell" if n == 4 else "Python"
        sources.append(
            {
                "source": "test",
                "repo": "me/mine",
                "commit": "1",
                "path": path,
                "sha256": "",
                "size": len(text),
                "language": language,
                "license": "MIT",
            }
        )
    index = {"eos_id": codec.eos_id, "tokenizer_digest": "", "vocabulary_size": 300}
    return draft_tokens("validation", np.array(ids, np.uint16), offsets, sources, index)


def _publish(folder: Path, kind: str, drafts: list[Draft], config: Mapping[str, Any]) -> Artifact:
    storage = open_storage(str(folder))
    writer = ArtifactWriter(storage)
    writer.commit(0, drafts, Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(committed[0])
    manifest = Manifest(
        step="test",
        version=1,
        kind=kind,
        key="0" * 32,
        digest=digest_of_files(files, frozenset()),
        files=files,
        tally=Tally(),
        measures={},
        config=config,
        parents={},
        code_version="test",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def test_samples_come_in_the_order_of_problems_and_continuations_by_author(
    make_step: Callable[..., Any], inputs: dict[str, Artifact]
) -> None:
    artifact = make_step("generation", inputs, **CONFIG).artifact
    samples = read_rows(artifact, "samples")
    problems = load_benchmark("easy").problems
    assert [(row["task_id"], row["temperature"], row["sample"]) for row in samples] == [
        (problem.task_id, temperature, number)
        for problem in problems
        for temperature in (0.5, 1.0)
        for number in range(2)
    ]
    assert [row["prompt"] for row in samples[::4]] == [problem.prompt for problem in problems]
    assert all(1 <= row["num_tokens"] <= 8 for row in samples)
    measures = artifact.manifest.measures
    assert measures["num_samples"] == len(samples)
    assert measures["tokens_generated"] == sum(row["num_tokens"] for row in samples)
    stopped = sum(row["finish"] == "stop" for row in samples) / len(samples)
    assert measures["finished_by_stop"] == pytest.approx(stopped)
    continuations = read_rows(artifact, "continuations")
    assert [(row["author"], row["index"]) for row in continuations] == [
        (author, index) for author in ("trained", "untrained", "real") for index in range(5)
    ]


def test_held_out_passages_are_python_and_what_is_real_is_what_follows(
    make_step: Callable[..., Any], inputs: dict[str, Artifact]
) -> None:
    rows = read_rows(make_step("generation", inputs, **CONFIG).artifact, "continuations")
    texts = _documents()
    by_author: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_author.setdefault(row["author"], []).append(row)
    for row in by_author["real"]:
        assert row["prefix"] + row["text"] in texts[row["path"]]
        assert row["path"] != "d4.py"
    assert len({row["path"] for row in by_author["real"]}) == 5
    for author in ("trained", "untrained"):
        assert [row["prefix"] for row in by_author[author]] == [
            row["prefix"] for row in by_author["real"]
        ]
    assert [row["text"] for row in by_author["trained"]] != [
        row["text"] for row in by_author["untrained"]
    ]


def test_the_untrained_model_has_the_weights_that_training_began_with(
    inputs: dict[str, Artifact],
) -> None:
    source = ModelSource.of_artifact(inputs["model"])
    trained, untrained = (
        load_model(source, author, Arithmetic()) for author in ("trained", "untrained")
    )
    shape = ModelConfig(vocabulary_size=untrained.vocabulary_rows, **SHAPE)
    began = initialize(shape, 3, INITIALIZATION)
    prompts = [(1, 2, 3, 4)] * 8
    with torch.inference_mode():
        expected = began(torch.tensor(prompts))[:, -1]
        torch.testing.assert_close(untrained.decode(prompts, 1).logits, expected)
        assert not torch.allclose(trained.decode(prompts, 1).logits, expected)


def test_the_bytes_are_the_same_for_any_workers_and_batches_and_after_a_crash(
    make_step: Callable[..., Any],
    inputs: dict[str, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = make_step("generation", inputs, workers=1, data_root=str(tmp_path / "1"), **CONFIG)
    two = make_step("generation", inputs, workers=2, data_root=str(tmp_path / "2"), **CONFIG)
    assert one.artifact.manifest.to_bytes() == two.artifact.manifest.to_bytes()
    root = str(tmp_path / "indexed")
    indexed = make_step("generation", inputs, engine="indexed", workers=2, data_root=root, **CONFIG)
    assert one.artifact.manifest.to_bytes() == indexed.artifact.manifest.to_bytes()
    small = make_step("generation", inputs, **{**CONFIG, "batch_size": 7})
    assert small.artifact.manifest.digest == one.artifact.manifest.digest

    calls: list[Any] = []

    def dies_at_the_third(batch: Any, **where: Any) -> Any:
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_batch(batch, **where)

    import components.generation.run as run_module

    write_batch = run_module.write_batch
    monkeypatch.setattr(run_module, "write_batch", dies_at_the_third)
    root = str(tmp_path / "3")
    with pytest.raises(KeyboardInterrupt):
        make_step("generation", inputs, data_root=root, **CONFIG)
    again = make_step("generation", inputs, data_root=root, **CONFIG)
    assert again.artifact.manifest.to_bytes() == one.artifact.manifest.to_bytes()
    planned = 5 + 3  # 248 rows of samples in batches of 50; one batch of each author
    assert len(calls) == planned + 1  # the one that died is written again, the two before are not


def test_long_prompts_are_cut_from_the_left_and_counted(
    make_step: Callable[..., Any], inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    problem = {
        "task_id": "long/0",
        "prompt": "# " + "z" * 500 + "\ndef f(x):\n",
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(f):\n    assert f(1) == 1\n",
    }
    path.write_text(json.dumps(problem) + "\n")
    config = {**CONFIG, "benchmarks": [str(path)]}
    artifact = make_step("generation", inputs, **config).artifact
    assert artifact.manifest.measures["prompts_cut"] == 4
    assert read_rows(artifact, "samples")[0]["prompt"] == problem["prompt"]


@pytest.mark.parametrize(("context", "tokens"), [(4096, 256), (512, 256), (128, 64), (1, 1)])
def test_new_tokens_that_nobody_named_leave_half_the_context_to_the_prompt(
    context: int, tokens: int
) -> None:
    assert GenerationConfig().settled(context).max_new_tokens == (tokens,)
    named = GenerationConfig(max_new_tokens=(7, 0)).settled(context)
    assert named.max_new_tokens == (7, tokens)


def test_a_small_model_is_sampled_without_a_number_and_says_what_it_took(
    make_step: Callable[..., Any], inputs: dict[str, Artifact]
) -> None:
    config = {**CONFIG, "samples_per_problem": [1], "temperatures": [0], "max_new_tokens": [0]}
    outcome = make_step("generation", inputs, **config)
    assert outcome.artifact.manifest.measures["max_new_tokens"] == 48
    summary = (Path(outcome.artifact.storage.uri) / "summary.md").read_text()
    assert "at most 48 tokens, of a context of 96" in summary


@pytest.mark.parametrize(
    "changes",
    [
        {"max_new_tokens": [96]},
        {"continuation_tokens": 90},
        {"samples_per_problem": [1, 2]},
        {"stop_strings": [""]},
        {"temperatures": []},
        {"temperatures": [0.8, 0.2]},
        {"temperatures": [0.2, 0.2]},
        {"benchmarks": ["nonsense"]},
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(
    make_step: Callable[..., Any], inputs: dict[str, Artifact], changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_step("generation", inputs, **{**CONFIG, **changes})
    assert "\n" not in str(caught.value)


def test_fewer_passages_than_asked_for_are_said(
    make_step: Callable[..., Any], inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    outcome = make_step("generation", inputs, **{**CONFIG, "num_continuations": 500})
    found = outcome.artifact.manifest.measures["num_continuations"]
    assert 0 < found < 500
    summary = (Path(outcome.artifact.storage.uri) / "summary.md").read_text()
    assert f"has {found:.0f} Python passages" in summary
