"""Open the folder of any causal language model of Hugging Face for sampling.

GPT-Neo takes the fast path of `decoding.py`; every other architecture goes through transformers.
Nothing of a folder is executed: weights are safetensors, and code that lies in it is not loaded.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from components.artifacts.errors import ArtifactError
from components.generation.arithmetic import Arithmetic
from components.generation.decoding import NeoDecoder, PackedNeo
from components.generation.foreign import ForeignModel, load_foreign, load_foreign_codec
from components.model.config import ModelConfig
from components.model.folder import CONFIG_NAME, WEIGHTS_NAME, read_config, read_folder
from components.model.neo import GptNeo
from components.model.text import END_OF_TEXT, TOKENIZER_FILE, TextCodec

NEO = "gpt_neo"

INFILLING_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
)
"""The marks of prefix, suffix and middle: ours and Qwen's, StarCoder's, SantaCoder's."""


class Decoder(Protocol):
    """Rows that go on together, a token a step."""

    logits: Tensor
    """[B, V] of each row's next token, float32."""

    def step(self, ids: Tensor) -> None:
        """Take the next token of each row in, [B], and find the logits after it."""

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows only; `rows` is an ascending index tensor."""


@dataclass(frozen=True)
class SampledModel:
    """A model that is ready to write."""

    weights: Callable[[], PackedNeo | ForeignModel] = field(repr=False)
    """Read and packed at the first call: who only plans needs none."""

    codec: TextCodec = field(repr=False)
    context_length: int
    """Positions, in tokens: prompt and new tokens together."""

    architecture: str
    """transformers' `model_type`, such as gpt_neo."""

    vocabulary_rows: int
    """Logits a token; the tokenizer may have fewer ids, which padding explains."""

    start_id: int
    """The token that begins a prompt, as documents begin in training."""

    infilling_ids: tuple[int, int, int] | None
    """The marks of prefix, suffix and middle; None where the tokenizer has none."""

    def decode(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Decoder:
        """Read prompts, [B] rows of ids; equal neighbours are read once."""
        weights = self.weights()
        if isinstance(weights, PackedNeo):
            return NeoDecoder(weights, prompts, new_tokens)
        return weights.decode(prompts, new_tokens)


def open_model(folder: Path, arithmetic: Arithmetic | None = None) -> SampledModel:
    """Open a model's folder, as codekiln or transformers saved it.

    Args:
        folder: config.json, safetensors and a tokenizer.
        arithmetic: where it computes; by default in float32 on the processor.

    Raises:
        ArtifactError: a file is missing or is something else, or the tokenizer does not fit.
        MissingExtraError: the architecture needs transformers, which is not installed.
    """
    arithmetic = arithmetic or Arithmetic()
    config = _read_json(folder / CONFIG_NAME)
    if _is_fast(folder, config):
        shape = read_config((folder / CONFIG_NAME).read_bytes(), str(folder))
        codec, start = _neo_codec(folder, config), _start(config)
        return sample_neo(lambda: read_folder(folder), shape, codec, str(folder), arithmetic, start)
    weights, codec = load_foreign(folder, arithmetic), load_foreign_codec(folder, config)
    return _checked(
        SampledModel(
            weights=lambda: weights,
            codec=codec,
            context_length=weights.context_length,
            architecture=str(config.get("model_type", "unknown")),
            vocabulary_rows=weights.vocabulary_rows,
            start_id=codec.eos_id if (start := _start(config)) is None else start,
            infilling_ids=find_infilling(codec),
        ),
        str(folder),
    )


def sample_neo(
    read: Callable[[], GptNeo],
    shape: ModelConfig,
    codec: TextCodec,
    where: str,
    arithmetic: Arithmetic | None = None,
    start_id: int | None = None,
) -> SampledModel:
    """A GPT-Neo of ours for sampling.

    Args:
        read: gives its weights.
        shape: what it is like.
        codec: its tokenizer.
        where: the folder, for error messages.
        arithmetic: where it computes.
        start_id: the token that begins a prompt; by default end of text.

    Raises:
        ArtifactError: the tokenizer does not fit.
    """
    return _checked(
        SampledModel(
            weights=functools.cache(lambda: PackedNeo(read(), arithmetic or Arithmetic())),
            codec=codec,
            context_length=shape.context_length,
            architecture=NEO,
            vocabulary_rows=shape.vocabulary_size,
            start_id=codec.eos_id if start_id is None else start_id,
            infilling_ids=find_infilling(codec),
        ),
        where,
    )


def find_infilling(codec: TextCodec) -> tuple[int, int, int] | None:
    """The ids of prefix, suffix and middle, by the names that a vocabulary may have for them."""
    for names in INFILLING_TOKENS:
        prefix, suffix, middle = (codec.tokenizer.token_to_id(name) for name in names)
        if prefix is not None and suffix is not None and middle is not None:
            return prefix, suffix, middle
    return None


def _checked(model: SampledModel, where: str) -> SampledModel:
    ids, rows = model.codec.vocabulary_size, model.vocabulary_rows
    if ids > rows:
        raise ArtifactError(
            f"expected a tokenizer of at most {rows} ids, as many as the model has rows, got {ids} "
            f"in {where}: give the tokenizer that the model was trained with"
        )
    if not 0 <= model.start_id < rows:
        raise ArtifactError(
            f"expected bos_token_id below {rows}, got {model.start_id} in {CONFIG_NAME} of "
            f"{where}: correct it"
        )
    return model


def _is_fast(folder: Path, config: dict[str, Any]) -> bool:
    """Whether it is a GPT-Neo as we build it: others of its type attend in another pattern."""
    if config.get("model_type") != NEO or not (folder / WEIGHTS_NAME).is_file():
        return False
    try:
        read_config((folder / CONFIG_NAME).read_bytes(), str(folder))
    except ArtifactError:
        return False
    return True


def _start(config: dict[str, Any]) -> int | None:
    start = config.get("bos_token_id")
    return start if isinstance(start, int) else None


def _neo_codec(folder: Path, config: dict[str, Any]) -> TextCodec:
    """A tokenizer without transformers, where it names its end of text as GPT-2 and we do."""
    path = folder / TOKENIZER_FILE
    data = path.read_bytes() if path.is_file() else b""
    named = json.dumps(END_OF_TEXT).encode() in data
    return TextCodec.from_bytes(data) if named else load_foreign_codec(folder, config)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(
            f"expected a model's {CONFIG_NAME} in {str(path.parent)!r}, got none that can be read "
            f"({reason}): give the folder of a Hugging Face causal language model"
        ) from None
    if not isinstance(value, dict):
        raise ArtifactError(
            f"expected a JSON object in {str(path)!r}, got {type(value).__name__}: give the folder "
            "of a Hugging Face causal language model"
        )
    return value
