"""Write completions of prompts, a batch at a time, and end each where it should."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from components.generation.choosing import choose_tokens, draw_uniforms
from components.generation.sampling import SampledModel
from components.model.text import TextCodec

COMPACT_SHARE = 0.8
"""Ended rows leave the batch once no larger share of it goes on. Leaving moves the keys of those
that stay: about two steps' time (128 rows of GPT-Neo-125M after 129 tokens), a fifth of each saved.
"""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when a row ends."""

    top_p: float
    top_k: int
    max_new_tokens: int
    stop_strings: tuple[str, ...]
    ends_at_eos: bool
    """Whether the end-of-text token may be chosen; it ends a row."""

    seed: int


@dataclass(frozen=True)
class Prompt:
    """One row to write."""

    name: str
    """Names the row's random stream."""

    ids: tuple[int, ...]
    temperature: float
    """Divides the logits; 0 takes the most likely token."""


@dataclass(frozen=True)
class Completion:
    """What was written for a prompt."""

    text: str
    """Cut before the earliest stop string."""

    num_tokens: int
    """Tokens chosen, those of the stop string and the end of text included."""

    finish: str
    """stop, eos or length."""


class _Row:
    """A completion under way."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.ids: list[int] = []
        self.finish = ""
        self.stops = stops
        # A stop string of n characters spans n tokens at most; a character cut in two costs 3 more.
        self.tail = max(map(len, stops), default=0) + 3

    def take(self, token: int, codec: TextCodec, limit: int) -> None:
        """Append a token, and see whether the row ends with it."""
        self.ids.append(token)
        if token == codec.eos_id:
            self.finish = "eos"
        elif self.stops and find_stop(codec.decode(self.ids[-self.tail :]), self.stops) >= 0:
            self.finish = "stop"
        elif len(self.ids) == limit:
            self.finish = "length"

    def complete(self, codec: TextCodec) -> Completion:
        """Decode the new tokens alone, and cut."""
        text = codec.decode([token for token in self.ids if token != codec.eos_id])
        end = find_stop(text, self.stops)
        if end < 0:
            return Completion(text, len(self.ids), self.finish)
        return Completion(text[:end], len(self.ids), "stop")


def find_stop(text: str, stops: Sequence[str]) -> int:
    """Where the earliest stop string begins, -1 where there is none."""
    return min((place for place in map(text.find, stops) if place >= 0), default=-1)


@torch.inference_mode()
def write_completions(
    model: SampledModel, prompts: Sequence[Prompt], sampling: Sampling
) -> list[Completion]:
    """Complete a batch of prompts.

    Args:
        model: the model with its tokenizer; ids past the tokenizer's are never chosen.
        prompts: rows; equal neighbours (the samples of a problem) are read once.
        sampling: how.

    Returns:
        A completion for each prompt, in order.
    """
    codec, limit = model.codec, sampling.max_new_tokens
    draws = draw_uniforms(sampling.seed, [prompt.name for prompt in prompts], limit)
    uniforms = torch.from_numpy(draws)
    temperatures = torch.tensor([prompt.temperature for prompt in prompts])
    decoder = model.decode([prompt.ids for prompt in prompts], limit)
    rows = [_Row(sampling.stop_strings) for _ in prompts]
    active = torch.arange(len(rows))
    for step in range(limit):
        logits = decoder.logits
        logits[:, codec.vocabulary_size :] = -torch.inf
        if not sampling.ends_at_eos:
            logits[:, codec.eos_id] = -torch.inf
        tokens = choose_tokens(
            logits,
            uniforms[active, step],
            temperatures[active],
            top_p=sampling.top_p,
            top_k=sampling.top_k,
        )
        for row, token in zip(active.tolist(), tokens.tolist(), strict=True):
            if not rows[row].finish:
                rows[row].take(token, codec, limit)
        alive = torch.tensor([not rows[row].finish for row in active.tolist()])
        if not alive.any():
            break
        if alive.sum() <= COMPACT_SHARE * len(alive):
            kept = alive.nonzero()[:, 0]
            decoder.keep(kept)
            active, tokens = active[kept], tokens[kept]
        decoder.step(tokens)
    return [row.complete(codec) for row in rows]
