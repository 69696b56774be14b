"""The names and shapes of GPT-Neo's tensors: the checkpoint contract with transformers. Light.

They are those of `GPTNeoForCausalLM` in transformers, without `lm_head.weight`, which is the token
embedding itself.
"""

import math
from typing import Literal

from components.model.config import ModelConfig

AttentionKind = Literal["global", "local"]

TOKEN_EMBEDDING = "transformer.wte.weight"
POSITION_EMBEDDING = "transformer.wpe.weight"
BLOCKS = "transformer.h."
QUERY = ".attn.attention.q_proj.weight"
OUTPUT_PROJECTIONS = (".attn.attention.out_proj.weight", ".mlp.c_proj.weight")

IGNORED_SUFFIXES = (".attn.attention.bias", ".attn.attention.masked_bias", "lm_head.weight")
"""What older checkpoints hold beside the weights: mask buffers, and the tied output layer."""


def attention_kinds(num_layers: int) -> tuple[AttentionKind, ...]:
    """The attention of each block: global, local, global, ..."""
    return tuple("local" if layer % 2 else "global" for layer in range(num_layers))


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor of a model, in the order of the layers."""
    hidden, inner = config.hidden_size, 4 * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        TOKEN_EMBEDDING: (config.vocabulary_size, hidden),
        POSITION_EMBEDDING: (config.context_length, hidden),
    }
    block: dict[str, tuple[int, ...]] = {
        "ln_1.weight": (hidden,),
        "ln_1.bias": (hidden,),
        "attn.attention.q_proj.weight": (hidden, hidden),
        "attn.attention.k_proj.weight": (hidden, hidden),
        "attn.attention.v_proj.weight": (hidden, hidden),
        "attn.attention.out_proj.weight": (hidden, hidden),
        "attn.attention.out_proj.bias": (hidden,),
        "ln_2.weight": (hidden,),
        "ln_2.bias": (hidden,),
        "mlp.c_fc.weight": (inner, hidden),
        "mlp.c_fc.bias": (inner,),
        "mlp.c_proj.weight": (hidden, inner),
        "mlp.c_proj.bias": (hidden,),
    }
    for layer in range(config.num_layers):
        shapes |= {f"{BLOCKS}{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {"transformer.ln_f.weight": (hidden,), "transformer.ln_f.bias": (hidden,)}


def count_parameters(config: ModelConfig) -> int:
    """Trained numbers of a model; the token embedding counts once, it is also the output layer."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def is_block_matrix(name: str) -> bool:
    """Whether a tensor is a matrix of a block: what Muon trains, and not an embedding."""
    return name.startswith(BLOCKS) and name.endswith(("proj.weight", "c_fc.weight"))


def is_decayed(name: str) -> bool:
    """Whether weight decay applies: to matrices and embeddings, not to biases and layer norms."""
    return name.endswith(("proj.weight", "c_fc.weight", "wte.weight", "wpe.weight"))


def is_layer_norm_weight(name: str) -> bool:
    """Whether a tensor is a layer norm's factor, which starts at one."""
    return name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight"))
