"""Sampling from GPT-Neo-125M: ours against `generate` of transformers, the same prompts and rules.

Random weights at the published shape (12 layers, 768 wide, 50,257 rows, context 2,048), eight of
HumanEval's prompts in the tokens of a vocabulary that is trained here, n samples of each (first
argument, 4) of m new tokens (second argument, 32), temperature 0.8, top-p 0.95, no row ends early:
two minutes on two cores, and about twice that with 8 samples.
transformers is taken in float32 and bfloat16, with its dynamic and its static cache, and with
`--compile` in bfloat16 behind torch.compile too; ours in float32 and bfloat16. A round takes all of
them once; the best of each side then take turns. `--threads` sets torch's threads, by default every
core. Last line: one JSON object.

`ratio_hf` is wall time of the best of transformers over ours. The floor is ours without anything
but its matrix products. `greedy_equal`: the most likely tokens of both are the same in float32.
"""

import argparse
import functools
import importlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.corpus import read_corpus
from benchmarks.measuring import Cost, measure_in_turn, print_result, print_table, say
from components.generation.arithmetic import Arithmetic
from components.generation.completion import Prompt, Sampling, write_completions
from components.generation.decoding import PackedNeo
from components.generation.sampling import SampledModel, sample_neo
from components.model.config import InitializationConfig, ModelConfig
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.model.text import TextCodec
from components.problems.benchmark import load_benchmark
from components.tokenizer.bpe import train_bpe
from components.tokenizer.config import TokenizerConfig

SHAPE = ModelConfig(vocabulary_size=50_257, context_length=2048)
NUM_PROMPTS = 8
TEMPERATURE, TOP_P = 0.8, 0.95
DEVIATION = 0.06
"""Of the random weights: at GPT-Neo's own 0.02 all tokens are about equally likely."""

CORPUS_BYTES = 8_000_000
NUM_ROUNDS = 3


def main() -> None:
    """Measure all, compare and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    say(f"training a tokenizer of {SHAPE.vocabulary_size:,} on {CORPUS_BYTES / 1e6:.0f} MB ...")
    codec = _train_codec()
    neo = _random_model(codec.vocabulary_size)
    problems = load_benchmark("humaneval").problems
    texts = [problem.prompt for problem in problems[:: len(problems) // NUM_PROMPTS]]
    prompts = [[codec.eos_id, *codec.encode(text)] for text in texts[:NUM_PROMPTS]]
    theirs = _their_sides(neo, prompts, options)
    ours = {
        f"codekiln {dtype}": functools.partial(
            write_ours, _sampled(neo, codec, dtype), prompts, options
        )
        for dtype in ("float32", "bfloat16")
    }
    first = measure_in_turn({**theirs, **ours}, 1, "all sides")
    best_theirs = min(theirs, key=lambda name: first[name].wall_s)
    best_ours = min(ours, key=lambda name: first[name].wall_s)
    dtype = best_ours.split()[-1]
    products = functools.partial(multiply_only, _packed(neo, dtype), prompts, options)
    last = measure_in_turn(
        {best_theirs: theirs[best_theirs], best_ours: ours[best_ours], "floor": products},
        NUM_ROUNDS,
        "the best",
    )
    say("greedy tokens of both in float32 ...")
    equal = greedy_tokens(_sampled(neo, codec, "float32"), prompts, options.tokens)
    expected = their_greedy_tokens(_theirs(neo, torch.float32), prompts, options.tokens)
    _report(first, last, best_theirs, best_ours, options, torch.equal(equal, expected))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("samples", type=int, nargs="?", default=4, help="of each prompt (4)")
    parser.add_argument("tokens", type=int, nargs="?", default=32, help="of each sample (32)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile", action="store_true", help="torch.compile transformers too")
    return parser.parse_args()


def _train_codec() -> TextCodec:
    texts = [file.content.decode() for file in read_corpus((".py",), CORPUS_BYTES)]
    config = TokenizerConfig(vocabulary_size=SHAPE.vocabulary_size)
    return TextCodec(train_bpe(texts, config))


def _random_model(vocabulary_size: int) -> GptNeo:
    """Rows past the tokenizer's are zero: neither side finds them likely."""
    neo = initialize(SHAPE, 0, InitializationConfig(standard_deviation=DEVIATION)).eval()
    with torch.no_grad():
        neo.output_weight[vocabulary_size:] = 0
    return neo


@functools.cache
def _packed(neo: GptNeo, dtype: Any) -> PackedNeo:
    return PackedNeo(neo, Arithmetic("cpu", dtype))


def _sampled(neo: GptNeo, codec: TextCodec, dtype: str) -> SampledModel:
    arithmetic = Arithmetic("cpu", "float32" if dtype == "float32" else "bfloat16")
    model = sample_neo(lambda: neo, neo.config, codec, "random weights", arithmetic)
    model.weights()  # packed before anything is measured
    return model


def write_ours(
    model: SampledModel, prompts: Sequence[Sequence[int]], options: argparse.Namespace
) -> None:
    """What the step does for one batch, random numbers and decoding to text included."""
    rows = [
        Prompt(f"{place}/{number}", tuple(ids), TEMPERATURE)
        for place, ids in enumerate(prompts)
        for number in range(options.samples)
    ]
    sampling = Sampling(
        top_p=TOP_P,
        top_k=0,
        max_new_tokens=options.tokens,
        stop_strings=(),
        ends_at_eos=False,
        seed=0,
    )
    written = write_completions(model, rows, sampling)
    assert all(row.num_tokens == options.tokens for row in written)


@torch.inference_mode()
def multiply_only(
    packed: PackedNeo, prompts: Sequence[Sequence[int]], options: argparse.Namespace
) -> None:
    """The matrix products of the prompts and of every step, and nothing between them."""
    rows = len(prompts) * options.samples
    for size in (*map(len, prompts), *itertools.repeat(rows, options.tokens - 1)):
        x = torch.ones(size, SHAPE.hidden_size)
        for layer in packed.layers:
            layer.qkv(x)
            layer.out(x)
            layer.narrow(layer.widen(x))
        if size == rows:
            packed.output(x)
    packed.output(torch.ones(rows, SHAPE.hidden_size))


def _theirs(neo: GptNeo, dtype: torch.dtype) -> Any:
    """The same weights as transformers' model, without a token that ends a text."""
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    config = transformers.GPTNeoConfig(
        vocab_size=SHAPE.vocabulary_size,
        max_position_embeddings=SHAPE.context_length,
        hidden_size=SHAPE.hidden_size,
        num_layers=SHAPE.num_layers,
        num_heads=SHAPE.num_heads,
        attention_types=[[["global", "local"], SHAPE.num_layers // 2]],
        attention_dropout=0.0,
        embed_dropout=0.0,
        resid_dropout=0.0,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = transformers.GPTNeoForCausalLM(config)
    model.load_state_dict(neo.state_dict(), strict=False)
    model.tie_weights()
    return model.to(dtype).eval()


def _their_sides(
    neo: GptNeo, prompts: Sequence[Sequence[int]], options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    sides: dict[str, Callable[[], object]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = _theirs(neo, dtype)
        for cache in ("dynamic", "static"):
            name = f"transformers {str(dtype).removeprefix('torch.')} {cache}"
            sides[name] = functools.partial(write_theirs, model, prompts, options, cache)
    if options.compile:
        model = _theirs(neo, torch.bfloat16)
        model.forward = torch.compile(model.forward, dynamic=True)
        name = "transformers bfloat16 static compiled"
        sides[name] = functools.partial(write_theirs, model, prompts, options, "static")
        sides[name]()  # compiling is no part of the time
    return sides


def write_theirs(
    model: Any, prompts: Sequence[Sequence[int]], options: argparse.Namespace, cache: str
) -> None:
    """`generate` with as many sequences a prompt, prompts padded on the left."""
    ids, mask = _padded(prompts)
    settings: dict[str, Any] = {"cache_implementation": "static"} if cache == "static" else {}
    with torch.inference_mode():
        written = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            max_new_tokens=options.tokens,
            num_return_sequences=options.samples,
            **settings,
        )
    assert written.shape[1] == ids.shape[1] + options.tokens


def _padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(one)) + list(one) for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    return ids, mask


@torch.inference_mode()
def greedy_tokens(model: SampledModel, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
    """Our most likely tokens, [B, count]."""
    decoder = model.decode(prompts, count)
    tokens = [decoder.logits.argmax(dim=-1)]
    for _ in range(count - 1):
        decoder.step(tokens[-1])
        tokens.append(decoder.logits.argmax(dim=-1))
    return torch.stack(tokens, dim=1)


@torch.inference_mode()
def their_greedy_tokens(model: Any, prompts: Sequence[Sequence[int]], count: int) -> Tensor:
    """Those of transformers, [B, count]."""
    ids, mask = _padded(prompts)
    written = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=count)
    tokens: Tensor = written[:, ids.shape[1] :]
    return tokens


def _report(
    first: dict[str, Cost],
    last: dict[str, Cost],
    best_theirs: str,
    best_ours: str,
    options: argparse.Namespace,
    greedy_equal: bool,
) -> None:
    count = NUM_PROMPTS * options.samples * options.tokens
    print(
        f"{NUM_PROMPTS} prompts, {options.samples} samples of {options.tokens} tokens each, "
        f"{options.threads} threads; one round, then medians of {NUM_ROUNDS} rounds of the best"
    )
    print_table(
        ["side", "wall s", "CPU s", "tokens a s", "tokens a CPU s"],
        [
            [name, cost.wall_s, cost.cpu_s, count / cost.wall_s, count / cost.cpu_s]
            for name, cost in [*first.items(), *last.items()]
        ],
    )
    theirs, ours, floor = last[best_theirs], last[best_ours], last["floor"]
    print_result(
        {
            "ratio_hf": round(theirs.wall_s / ours.wall_s, 2),
            "ratio_hf_cpu": round(theirs.cpu_s / ours.cpu_s, 2),
            "greedy_equal": greedy_equal,
            "best_hf": best_theirs,
            "best_codekiln": best_ours,
            "tokens_per_s": round(count / ours.wall_s, 1),
            "tokens_per_s_hf": round(count / theirs.wall_s, 1),
            "floor_share": round(floor.wall_s / ours.wall_s, 2),
            "ratio_hf_float32": round(
                min(cost.wall_s for name, cost in first.items() if name.startswith(FLOAT32_HF))
                / first["codekiln float32"].wall_s,
                2,
            ),
            "samples": options.samples,
            "tokens": options.tokens,
            "threads": options.threads,
        }
    )


FLOAT32_HF = "transformers float32"


if __name__ == "__main__":
    main()
