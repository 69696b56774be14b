"""The tokens that a model is given for a problem."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.generation.sampling import SampledModel
from components.model.text import TextCodec
from components.problems.benchmark import Problem

PROBE = "    return"
"""How most bodies begin."""

PromptForm = Literal["left_to_right", "prefix_suffix_middle"]

NUM_MARKS = 4
"""Tokens of an infilling prompt beside its texts: the start, and three marks."""


@dataclass(frozen=True)
class ProblemPrompt:
    """A problem as a model reads it."""

    ids: tuple[int, ...]
    form: PromptForm
    """Whether the suffix of an infilling problem was shown, or there is none or no way to."""

    was_cut: bool
    """Whether it lost its beginning, or the end of its suffix."""


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


def prompt_of(
    model: SampledModel, problem: Problem, *, stripped: bool, limit: int
) -> ProblemPrompt:
    """What a model is given for a problem, behind the token that begins a document.

    Args:
        model: the model with its tokenizer.
        problem: a problem; with a suffix it is one of infilling.
        stripped: whether the blanks at the prompt's end are taken off. An infilling prompt stays
            whole: what is missing begins exactly where it ends.
        limit: most ids.
    """
    if problem.suffix:
        if model.infilling_ids is not None and limit > NUM_MARKS:
            return _infilling_prompt(model, problem, limit)
        stripped = False
    text = problem.prompt.rstrip() if stripped else problem.prompt
    ids = model.codec.encode(text)
    return ProblemPrompt(cut_prompt(model.start_id, ids, limit), "left_to_right", len(ids) >= limit)


def cut_prompt(start_id: int, ids: Sequence[int], limit: int) -> tuple[int, ...]:
    """Ids behind the start token; where there are too many, the last ones without it."""
    return (start_id, *ids)[-limit:]


def _infilling_prompt(model: SampledModel, problem: Problem, limit: int) -> ProblemPrompt:
    """`<prefix> P <suffix> S <middle>` (Bavarian et al. 2022, arXiv 2207.14255), as packing trains.

    Where it is too long, the suffix loses its end down to half of the room, then the prefix its
    beginning: what lies next to the hole stays.
    """
    assert model.infilling_ids is not None
    prefix_mark, suffix_mark, middle_mark = model.infilling_ids
    prefix, suffix = model.codec.encode(problem.prompt), model.codec.encode(problem.suffix)
    room = limit - NUM_MARKS
    kept_suffix = suffix[: max(room - len(prefix), room // 2)]
    kept_prefix = prefix[max(0, len(prefix) + len(kept_suffix) - room) :]
    ids = (model.start_id, prefix_mark, *kept_prefix, suffix_mark, *kept_suffix, middle_mark)
    was_cut = len(kept_prefix) + len(kept_suffix) < len(prefix) + len(suffix)
    return ProblemPrompt(ids, "prefix_suffix_middle", was_cut)
