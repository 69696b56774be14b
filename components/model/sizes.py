"""The published sizes of GPT-Neo, for recipes that take one by name. Light: no torch.

EleutherAI's configurations of gpt-neo-125M, -350M (withdrawn, its weights were broken), -1.3B and
-2.7B: context 2,048, window 256, alternating attention. GPT-Code-Clippy trained 125M and 1.3B.
"""

from components.artifacts.errors import ConfigError
from components.model.config import ModelConfig

GPT_NEO_VOCABULARY = 50_257
"""GPT-2's byte-level BPE."""

SIZES = {
    "125M": ModelConfig(context_length=2048, num_layers=12, num_heads=12, hidden_size=768),
    "350M": ModelConfig(context_length=2048, num_layers=24, num_heads=16, hidden_size=1024),
    "1.3B": ModelConfig(context_length=2048, num_layers=24, num_heads=16, hidden_size=2048),
    "2.7B": ModelConfig(context_length=2048, num_layers=32, num_heads=20, hidden_size=2560),
}


def published_size(name: str) -> ModelConfig:
    """The shape of a published GPT-Neo; its vocabulary is the tokenizer's.

    Raises:
        ConfigError: there is no such size.
    """
    if name not in SIZES:
        raise ConfigError(f"expected a size of GPT-Neo, got {name!r}: one of {', '.join(SIZES)}")
    return SIZES[name]
