"""Any causal language model's folder is sampled by the same rules, and none of its code is run."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from components.artifacts.errors import ArtifactError, ConfigError, MissingExtraError
from components.generation.arithmetic import Arithmetic
from components.generation.completion import Prompt, Sampling, write_completions
from components.generation.config import GenerationConfig
from components.generation.decoding import PackedNeo
from components.generation.foreign import ForeignModel
from components.generation.models import ModelSource
from components.generation.prompts import prompt_of
from components.generation.run import sample_problems
from components.generation.sampling import open_model
from components.model.config import ModelConfig
from components.model.folder import export_model
from components.model.initialization import initialize
from components.model.text import END_OF_TEXT, FIM_TOKENS
from components.problems.benchmark import Problem, load_benchmark
from components.stage.engine import LocalEngine

transformers = pytest.importorskip("transformers")

VOCABULARY = 320
STOPS = ("\ndef", "\nclass")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _tokenizer(end: str = END_OF_TEXT, more: tuple[str, ...] = ()) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 10,
        special_tokens=[end, *more],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["def f(x):\n    return x\n"] * 9, trainer)
    return tokenizer


def _save(folder: Path, model: Any, tokenizer: Tokenizer, end: str = END_OF_TEXT) -> Path:
    torch.manual_seed(0)
    model.save_pretrained(folder)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    wrapped.save_pretrained(folder)
    return folder


def _llama(**changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.4,
        "bos_token_id": 1,
        "eos_token_id": 0,
        **changes,
    }
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))


def _gpt2() -> Any:
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=128,
            initializer_range=0.4,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _bloom() -> Any:
    """Its positions come from the mask alone."""
    torch.manual_seed(0)
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(
            vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4
        )
    )


@pytest.fixture
def neo_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "neo"
    folder.mkdir()
    shape = ModelConfig(
        vocabulary_size=VOCABULARY, context_length=160, num_layers=2, num_heads=2, hidden_size=16
    )
    for name, data in export_model(initialize(shape, 1), bos_id=0, eos_id=0).items():
        (folder / name).write_bytes(data)
    (folder / "tokenizer.json").write_text(_tokenizer(more=FIM_TOKENS).to_str())
    return folder


SAMPLING = Sampling(
    top_p=0.95, top_k=0, max_new_tokens=20, stop_strings=(), ends_at_eos=False, seed=0
)


@pytest.mark.parametrize("make", [_llama, _gpt2, _bloom])
def test_another_architecture_writes_what_transformers_would(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    folder = _save(tmp_path / "model", make(), _tokenizer())
    model = open_model(folder)
    assert isinstance(model.weights(), ForeignModel)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = [(5, 6, 7), (5, 6, 7), (9, 10, 11, 12, 13, 14, 15), (4,)]
    with torch.inference_mode():
        decoder = model.decode(prompts, 16)
        rows = [list(prompt) for prompt in prompts]
        for step in range(16):
            for row, logits in zip(rows, decoder.logits, strict=True):
                expected = theirs(torch.tensor([row])).logits[0, -1]
                torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
            tokens = decoder.logits.argmax(-1)
            for row, token in zip(rows, tokens.tolist(), strict=True):
                row.append(token)
            if step == 9:
                decoder.keep(torch.tensor([0, 2, 3]))
                del rows[1]
                tokens = tokens[[0, 2, 3]]
            decoder.step(tokens)


def test_its_rows_have_streams_and_ends_of_their_own_too(tmp_path: Path) -> None:
    model = open_model(_save(tmp_path / "model", _llama(), _tokenizer()))
    prompts = [Prompt(str(n), (1, 5 + n // 3), 1.0) for n in range(12)]
    together = write_completions(model, prompts, SAMPLING)
    assert write_completions(model, prompts[::-1], SAMPLING)[::-1] == together
    assert [write_completions(model, [one], SAMPLING)[0] for one in prompts] == together
    assert len({row.text for row in together}) == 12


def test_its_prompts_begin_with_its_own_token_and_end_with_its_own(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", _llama(), _tokenizer("</s>", ("<s>",)), "</s>")
    model = open_model(folder)
    assert (model.start_id, model.codec.eos_id) == (1, 0)
    assert model.architecture == "llama"
    assert model.context_length == 128
    problem = Problem("b", "b/0", "def f(x):\n", "f", "", "")
    assert prompt_of(model, problem, stripped=False, limit=50).ids[0] == 1


def test_new_tokens_keep_the_blank_that_sentencepiece_takes_off_a_beginning(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["</s>"], show_progress=False)
    tokenizer.train_from_iterator(["x return x + y"] * 9, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    codec = open_model(_save(tmp_path / "model", _llama(), tokenizer, "</s>")).codec
    ids = codec.encode("x return x")
    assert codec.decode(ids[1:]) == " return x"


def test_gpt_neo_takes_the_fast_path_without_transformers(
    neo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    model = open_model(neo_folder, Arithmetic())
    assert isinstance(model.weights(), PackedNeo)
    assert model.infilling_ids is not None


def test_a_missing_transformers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _save(tmp_path / "model", _llama(), _tokenizer())
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingExtraError, match=r"pip install 'codekiln\[transformers\]'"
    ) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)


def _without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _torn_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")


def _own_code(folder: Path) -> None:
    """A model type that only code in the folder would know."""
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "evil"
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "modeling_evil.Evil")
    (folder / "config.json").write_text(json.dumps(config))


def _no_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2")


@pytest.mark.parametrize(
    "spoil", [_without_tokenizer, _pickled, _torn_weights, _own_code, _no_config]
)
@pytest.mark.parametrize("kind", ["llama", "neo"])
def test_a_folder_that_cannot_be_used_is_one_line(
    spoil: Callable[[Path], None], kind: str, tmp_path: Path, neo_folder: Path
) -> None:
    folder = neo_folder if kind == "neo" else _save(tmp_path / "model", _llama(), _tokenizer())
    spoil(folder)
    with pytest.raises(ArtifactError, match="expected") as caught:
        open_model(folder).weights()
    assert "\n" not in str(caught.value)


def test_code_in_a_folder_is_not_run_even_where_it_is_offered(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", _llama(), _tokenizer())
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    for name in ("config.json", "tokenizer_config.json"):
        value = json.loads((folder / name).read_text())
        value["auto_map"] = {
            "AutoConfig": "evil.Evil",
            "AutoModelForCausalLM": "evil.Evil",
            "AutoTokenizer": ["evil.Evil", "evil.Evil"],
        }
        (folder / name).write_text(json.dumps(value))
    assert open_model(folder).architecture == "llama"
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["llama", "neo"])
def test_a_vocabulary_that_does_not_fit_is_one_line(
    kind: str, tmp_path: Path, neo_folder: Path
) -> None:
    folder = neo_folder if kind == "neo" else _save(tmp_path / "model", _llama(), _tokenizer())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"<extra{n}>" for n in range(100)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ArtifactError, match=r"at most 320 ids, as many .* got 3\d\d ") as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)


def _infilling(prompt: str = "def f(x):\n", suffix: str = "    return y\n") -> Problem:
    return Problem("holes", "holes/0", prompt, "f", "    y = x\n", "", suffix)


def test_a_hole_is_shown_with_both_sides_where_the_vocabulary_has_the_marks(
    neo_folder: Path, tmp_path: Path
) -> None:
    model, problem = open_model(neo_folder), _infilling()
    encode, named = model.codec.encode, model.codec.tokenizer.token_to_id
    prefix, middle, suffix = (named(name) for name in FIM_TOKENS)
    given = prompt_of(model, problem, stripped=True, limit=90)
    assert given.form == "prefix_suffix_middle"
    head, tail = encode(problem.prompt), encode(problem.suffix)
    assert given.ids == (model.start_id, prefix, *head, suffix, *tail, middle)
    assert not given.was_cut
    short = prompt_of(model, problem, stripped=False, limit=12)
    assert short.was_cut
    assert len(short.ids) == 12
    assert short.ids[:2] == given.ids[:2]
    assert short.ids[-1] == middle
    marked = short.ids.index(suffix)
    assert short.ids[2:marked] == tuple(head[-(marked - 2) :])
    assert short.ids[marked + 1 : -1] == tuple(tail[: 12 - marked - 2])

    blind = open_model(_save(tmp_path / "model", _llama(), _tokenizer()))
    unseen = prompt_of(blind, problem, stripped=True, limit=90)
    assert unseen.form == "left_to_right"
    assert unseen.ids == (blind.start_id, *blind.codec.encode(problem.prompt))


@pytest.mark.parametrize("kind", ["llama", "neo"])
def test_the_problems_of_a_benchmark_are_sampled_from_a_folder_alone(
    kind: str, tmp_path: Path, neo_folder: Path
) -> None:
    folder = neo_folder if kind == "neo" else _save(tmp_path / "model", _llama(), _tokenizer())
    config = GenerationConfig(
        benchmarks=("easy",),
        samples_per_problem=(2,),
        temperatures=(0.0, 0.8),
        max_new_tokens=(4,),
        stop_strings=STOPS,
        dtype="float32",
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = ModelSource.of_folder(folder)
    with LocalEngine(1, 1) as engine:
        rows, text = sample_problems(source, config, scratch, engine)
        files = sorted(path.name for path in scratch.iterdir())
        again, _ = sample_problems(source, config, scratch, engine)
        more, _ = sample_problems(
            source, GenerationConfig.from_json({**config.to_json(), "seed": 1}), scratch, engine
        )
        torn = scratch / files[0]
        torn.write_bytes(b"".join(torn.read_bytes().splitlines(keepends=True)[:-1]))
        mended, _ = sample_problems(source, config, scratch, engine)
    assert rows == again == mended
    assert rows != more
    assert len([*scratch.iterdir()]) == 2 * len(files)
    problems = load_benchmark("easy").problems
    assert [(row["task_id"], row["temperature"], row["sample"]) for row in rows] == [
        (problem.task_id, *which)
        for problem in problems
        for which in ((0.0, 0), (0.8, 0), (0.8, 1))
    ]
    assert ("gpt_neo" if kind == "neo" else "llama") in text
    too_long = GenerationConfig.from_json({**config.to_json(), "max_new_tokens": [160]})
    with pytest.raises(ConfigError, match=r"max_new_tokens of at most (127|159)"):
        sample_problems(source, too_long, scratch, engine)
