"""The tokens that a model is given for a problem."""

from collections.abc import Sequence

from components.model.text import TextCodec
from components.problems.benchmark import Problem

PROBE = "    return"
"""How most bodies begin."""


def keeps_boundary(codec: TextCodec, problems: Sequence[Problem]) -> bool:
    """Whether every prompt's tokens begin the tokens of prompt and body together.

    Where they do not, as with a tokenizer that joins a newline to the blanks behind it, a prompt
    that ends in a newline forces a boundary that the model never saw in training: 0 of HumanEval's
    164 prompts keep theirs under the stock GPT-2 pre-tokenizer, all do with isolated newlines.
    """
    for problem in problems:
        ids = codec.encode(problem.prompt)
        if codec.encode(problem.prompt + PROBE)[: len(ids)] != ids:
            return False
    return True


def prompt_ids(codec: TextCodec, text: str, limit: int) -> tuple[int, ...]:
    """The ids of a prompt after an end-of-text token, as documents begin in training.

    Args:
        codec: the model's tokenizer.
        text: the prompt.
        limit: most ids; a longer prompt loses its beginning, and the token before it.
    """
    return (codec.eos_id, *codec.encode(text))[-limit:]
