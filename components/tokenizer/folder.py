"""The tokenizer's files: what `transformers.AutoTokenizer` loads, and the extension."""

import json
from typing import Any

from tokenizers import Tokenizer

from components.artifacts.artifact import Draft
from components.artifacts.rows import draft_text
from components.model.text import END_OF_TEXT, TOKENIZER_FILE
from components.tokenizer.config import TOKENIZER, TokenizerConfig
from components.tokenizer.extension import Extension

SPECIAL_TOKENS = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}


def draft_files(tokenizer: Tokenizer, extension: Extension, config: TokenizerConfig) -> list[Draft]:
    """Spell a tokenizer as the files of a Hugging Face folder.

    `split_special_tokens` makes AutoTokenizer treat text that spells a special token as text, as
    in training; a caller who writes special tokens by name passes `split_special_tokens=False`.
    The class is named because AutoTokenizer would otherwise rebuild a GPT-2 tokenizer, with
    GPT-2's own pattern, from the `gpt_neo` of the model's config.
    """
    tokenizer_config = {
        **SPECIAL_TOKENS,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.context_length,
        "padding_side": "left",
        "split_special_tokens": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return [
        _draft(TOKENIZER_FILE, tokenizer.to_str(pretty=True) + "\n"),
        _draft("tokenizer_config.json", _spell(tokenizer_config)),
        _draft("special_tokens_map.json", _spell(SPECIAL_TOKENS)),
        _draft("extension.json", _spell(extension.to_json())),
    ]


def _draft(name: str, text: str) -> Draft:
    return draft_text(TOKENIZER, ".json", text, name=f"{TOKENIZER}/{name}")


def _spell(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
