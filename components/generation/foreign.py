"""Models of other architectures: transformers reads and runs them, we choose the tokens.

Shapes: B rows, G groups (distinct prompts), P columns of the longest prompt, V vocabulary.

Prompts are padded on the left and read together, each distinct one once; the cache is then spread
over the rows. Code that lies in a folder is never executed, pickled weights are never read.
"""

import inspect
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.artifacts.errors import ArtifactError, MissingExtraError
from components.generation.arithmetic import Arithmetic
from components.generation.projection import MIN_ROWS
from components.model.text import TextCodec

CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""What architectures call their context length; without any, a model such as Bloom has no bound."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""One of these holds a vocabulary."""

UNBOUNDED_CONTEXT = 2048
"""Taken where a config has none."""


class ForeignModel:
    """A model that transformers runs."""

    def __init__(self, model: Any, arithmetic: Arithmetic, where: str) -> None:
        self.model = model
        self.device = torch.device(arithmetic.device)
        self.where = where
        config = model.config.get_text_config(decoder=True)
        lengths = (getattr(config, name, None) for name in CONTEXT_NAMES)
        self.context_length: int = next((n for n in lengths if n), UNBOUNDED_CONTEXT)
        self.vocabulary_rows: int = model.get_output_embeddings().weight.shape[0]
        known = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in known
        self.takes_num_logits = "logits_to_keep" in known

    def decode(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> "ForeignDecoder":
        """Read prompts, [B] rows of ids."""
        return ForeignDecoder(self, prompts, new_tokens)

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, past: Any) -> Any:
        """One call of the model for the last token's logits."""
        extra: dict[str, Any] = {"position_ids": positions} if self.takes_positions else {}
        if self.takes_num_logits:
            extra["logits_to_keep"] = 1
        return self.model(
            input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, **extra
        )


class ForeignDecoder:
    """Rows of any problems that go on together."""

    def __init__(
        self, model: ForeignModel, prompts: Sequence[Sequence[int]], new_tokens: int
    ) -> None:
        """Read the prompts.

        Args:
            model: the model.
            prompts: [B] ids of each row; equal neighbours are one group and are read once.
            new_tokens: most tokens that a row will take.
        """
        self.model = model
        device = model.device
        groups = [(ids, len(list(rows))) for ids, rows in itertools.groupby(map(tuple, prompts))]
        lengths = torch.tensor([len(ids) for ids, _ in groups], device=device)
        self.column = int(lengths.max())
        ids = torch.zeros(len(groups), self.column, dtype=torch.long, device=device)
        for group, (prompt, _) in enumerate(groups):
            ids[group, self.column - len(prompt) :] = torch.tensor(prompt, device=device)
        columns = torch.arange(self.column + new_tokens, device=device)
        mask = (columns >= self.column - lengths[:, None]).long()  # [G, P + new]
        positions = (mask[:, : self.column].cumsum(-1) - 1).clamp(min=0)
        found = model.forward(ids, mask[:, : self.column], positions, None)
        self.past = found.past_key_values
        if not hasattr(self.past, "batch_select_indices"):
            raise ArtifactError(
                f"expected an architecture with a cache of keys and values, got "
                f"{type(model.model).__name__} in {model.where}: it cannot be sampled here"
            )
        self._num_rows = len(prompts)
        owners = torch.repeat_interleave(torch.tensor([count for _, count in groups]))
        owners = self._filled(owners.to(device))
        self.past.batch_select_indices(owners)
        self.mask, self.positions = mask[owners], lengths[owners]
        self.logits = found.logits[:, -1].float()[owners][: self._num_rows]
        """[B, V] of each row's next token."""

    @staticmethod
    def _filled(rows: Tensor) -> Tensor:
        """Rows filled up to MIN_ROWS by the last one."""
        return torch.cat([rows, rows[-1:].expand(max(0, MIN_ROWS - len(rows)))])

    def step(self, ids: Tensor) -> None:
        """Take the next token of each row in, [B], and find the logits after it."""
        ids = self._filled(ids.to(self.model.device))[:, None]
        self.column += 1
        mask = self.mask[:, : self.column]
        found = self.model.forward(ids, mask, self.positions[:, None], self.past)
        self.past = found.past_key_values
        self.positions = self.positions + 1
        self.logits = found.logits[: self._num_rows, -1].float()

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows only; `rows` is an ascending index tensor."""
        rows = rows.to(self.model.device)
        filled = self._filled(rows)
        self._num_rows = len(rows)
        self.past.batch_select_indices(filled)
        self.mask, self.positions = self.mask[filled], self.positions[filled]
        self.logits = self.logits[rows]


class ForeignCodec(TextCodec):
    """The tokenizer of a foreign folder; new tokens decode as they do behind others."""

    def __init__(self, tokenizer: Any, end_of_text: str) -> None:
        """Take a `tokenizers.Tokenizer` and the name of its end of text."""
        super().__init__(tokenizer, end_of_text)
        self._anchor = self.encode("x")[-1:]
        self._anchor_text = super().decode(self._anchor)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """As the base does it, but what is decoded never begins a text.

        SentencePiece's decoders take the blank off the token that begins one.
        """
        text = super().decode([*self._anchor, *ids], keep_special=keep_special)
        return text[len(self._anchor_text) :]


def load_foreign(folder: Path, arithmetic: Arithmetic) -> ForeignModel:
    """Read a model through transformers.

    Raises:
        MissingExtraError: transformers is not installed.
        ArtifactError: the folder is not of a model that it can read safely.
    """
    transformers = _transformers(folder)
    if not any(folder.glob("*.safetensors")):
        raise ArtifactError(
            f"expected weights as safetensors in {str(folder)!r}, got none: save the model with "
            "`save_pretrained`; pickled weights are not read, for they can run code"
        )
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=getattr(torch, arithmetic.dtype),
        )
        return ForeignModel(model.eval().to(arithmetic.device), arithmetic, str(folder))
    except Exception as error:  # whatever a foreign architecture raises
        raise ArtifactError(_refusal("a causal language model", folder, error)) from error


def load_foreign_codec(folder: Path, config: dict[str, Any]) -> TextCodec:
    """Read a tokenizer through transformers.

    Raises:
        MissingExtraError: transformers is not installed.
        ArtifactError: there is no fast tokenizer, or it has no end of text.
    """
    transformers = _transformers(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        # transformers makes an empty vocabulary of nothing for some architectures.
        raise ArtifactError(
            f"expected a tokenizer in {str(folder)!r}, got none of {', '.join(TOKENIZER_FILES)}: "
            "save the model's own with `save_pretrained`"
        )
    try:
        wrapped = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        tokenizer = wrapped.backend_tokenizer
        end = wrapped.eos_token or wrapped.convert_ids_to_tokens(_first(config["eos_token_id"]))
        return ForeignCodec(tokenizer, end)
    except Exception as error:  # whatever a foreign tokenizer raises
        raise ArtifactError(_refusal("a tokenizer with an end of text", folder, error)) from error


def _first(ids: Any) -> int:
    return int(ids[0] if isinstance(ids, list) else ids)


def _refusal(expected: str, folder: Path, error: Exception) -> str:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"expected {expected} in {str(folder)!r} that transformers reads without the folder's own "
        f"code, got {said}: save it with `save_pretrained`"
    )


def _transformers(folder: Path) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the model in {str(folder)!r} needs the package 'transformers', which is not "
            "installed: pip install 'codekiln[transformers]' (a GPT-Neo needs none)"
        ) from error
    return transformers
