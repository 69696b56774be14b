"""What is generated, and the declaration of the step."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from components.artifacts.errors import ConfigError
from components.artifacts.tokens import TOKENS
from components.stage.config import Config, Within
from components.stage.step import Step

STOP_STRINGS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif")
"""PyCodeGPT's list (`eval_human_eval.py`): Codex's five with decorators added."""

FITTING_TOKENS = 256
"""New tokens where none are named and the context has room: 163 of HumanEval's 164 reference
solutions have no more in a vocabulary of 4,096."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig(Config):
    """How a model is sampled."""

    benchmarks: tuple[str, ...] = ("easy", "humaneval")
    """Benchmarks to write samples for: `easy`, `humaneval`, its infilling tasks, or paths of local
    files, as components/problems reads them."""

    samples_per_problem: Annotated[tuple[int, ...], Within(1, 10_000)] = (10,)
    """Samples of each problem: one number for all benchmarks, or one for each in their order."""

    max_new_tokens: Annotated[tuple[int, ...], Within(0, 65_536)] = (0,)
    """Tokens of a sample, at most: one number for all benchmarks, or one for each. 0 takes 256, or
    half of the model's context where that is less; what it came to is a measure. With 100, 30 of
    HumanEval's 164 reference solutions would be cut (measured with a vocabulary of 4,096)."""

    temperatures: Annotated[tuple[float, ...], Within(0.0, 10.0)] = (0.2,)
    """Divide the logits, ascending, each once: every problem is sampled at each. 0 takes the most
    likely token, and gives one sample a problem. 0.2 is usual for pass@1, 0.8 for pass@100."""

    top_p: Annotated[float, Within(0.0, 1.0)] = 0.95
    """Nucleus: the most likely tokens that together have this probability are kept; 1 is off."""

    top_k: Annotated[int, Within(0, 65_536)] = 0
    """How many of the most likely tokens are kept; 0 is off."""

    stop_strings: tuple[str, ...] = STOP_STRINGS
    """A sample ends before the earliest of these in its own text."""

    prompt: Literal["auto", "raw", "stripped"] = "auto"
    """Whether the blanks at a prompt's end are taken off before the model sees it. `auto` asks the
    tokenizer: raw where a prompt's tokens begin the tokens of prompt and solution together."""

    trim_incomplete: bool = True
    """Whether the lines of a statement that the limit of tokens cut are taken off a sample's end.
    Samples are parsed, never run; errors of the model's own stay."""

    seed: Annotated[int, Within(0)] = 0
    """Every (problem, temperature, sample) and every continuation has a random stream of its own
    made of it."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the model's matrices are multiplied in. `auto` takes bfloat16 on a GPU and on a
    processor that multiplies it (AVX512-BF16, AMX), float32 elsewhere; which it was is part of the
    identity. Attention scores and logits are float32 always."""

    batch_size: Annotated[int, Within(1, 65_536)] = 64
    """Rows that are sampled together; a batch is also what a crash costs."""

    num_continuations: Annotated[int, Within(0, 100_000)] = 128
    """Held-out Python passages that are continued by the trained and an untrained model. Real code
    has 3.8 lines that count in 96 tokens of a vocabulary of 4,096: 128 passages have about 480."""

    prefix_tokens: Annotated[int, Within(1, 65_536)] = 64
    """Tokens of a passage that a model is given, at most: whole lines from the left margin on."""

    continuation_tokens: Annotated[int, Within(1, 65_536)] = 96
    """Tokens that it writes, and that are compared with what really follows."""

    continuation_temperature: Annotated[float, Within(0.0, 10.0)] = 0.8
    """Divides the logits of continuations; `top_p` and `top_k` hold for them too. Small models
    loop at low temperatures: one line of 0.2's made up a sixth of all."""

    def check(self) -> None:
        """Refuse lists that do not fit the benchmarks."""
        for name in ("samples_per_problem", "max_new_tokens"):
            values = getattr(self, name)
            if len(values) not in (1, len(self.benchmarks)):
                raise ConfigError(
                    f"expected one value of {name} or one for each of {len(self.benchmarks)} "
                    f"benchmarks, got {list(values)!r} in GenerationConfig"
                )
        temperatures = list(self.temperatures)
        if not temperatures or temperatures != sorted(set(temperatures)):
            raise ConfigError(
                f"expected temperatures in ascending order, each once, got {temperatures!r} in "
                "GenerationConfig: sort them"
            )
        if "" in self.stop_strings:
            raise ConfigError(
                f"expected stop strings with text, got {list(self.stop_strings)!r} in "
                "GenerationConfig: an empty one would stop at once"
            )

    def settled(self, context: int) -> Self:
        """The config with a number for every 0 of `max_new_tokens`.

        Args:
            context: positions of the model; a prompt keeps at least half of them.
        """
        fitting = max(1, min(FITTING_TOKENS, context // 2))
        numbers = tuple(number or fitting for number in self.max_new_tokens)
        return dataclasses.replace(self, max_new_tokens=numbers)

    def for_benchmark(self, index: int) -> tuple[int, int]:
        """Samples a problem and new tokens of the benchmark of an index."""
        samples, tokens = self.samples_per_problem, self.max_new_tokens
        return samples[index % len(samples)], tokens[index % len(tokens)]


STEP = Step(
    name="generation",
    version=4,
    kind="samples",
    summary="Sample completions of benchmark problems, and continuations of held-out code.",
    config=GenerationConfig,
    inputs={"model": "model"},
    optional_inputs={"tokens": TOKENS},
    observed=True,
    extra="torch",
)
