"""The weights as JAX trains them: one stacked array for the same tensor of all blocks. numpy alone.

Shapes: L layers, D hidden size. A tree is a flat mapping: names outside the blocks are those of
transformers; `transformer.h.*.mlp.c_fc.weight` holds that tensor of every block, [L, ...]. torch
keeps matrices as [out, in]; in a tree they are [in, out], so that activations multiply from the
left. Going to a tree and back changes no bit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from components.model.names import BLOCKS, is_block_matrix
from components.model.tensors import Tensors

STACKED = f"{BLOCKS}*."
"""Starts the names of stacked tensors."""


def to_tree(tensors: Tensors) -> Tensors:
    """Stack the tensors of a model's blocks, matrices as [L, in, out]."""
    tree: Tensors = {}
    blocks: dict[str, dict[int, Any]] = {}
    for name, array in tensors.items():
        if not name.startswith(BLOCKS):
            tree[name] = array
            continue
        layer, _, rest = name.removeprefix(BLOCKS).partition(".")
        blocks.setdefault(rest, {})[int(layer)] = array.T if is_block_matrix(name) else array
    for rest, held in blocks.items():
        tree[STACKED + rest] = np.stack([held[layer] for layer in range(len(held))])
    return tree


def from_tree(tree: Mapping[str, Any]) -> Tensors:
    """The tensors by their names in transformers, as contiguous float32 arrays."""
    tensors: Tensors = {}
    for name, value in tree.items():
        stacked = np.asarray(value, dtype=np.float32)
        if not name.startswith(STACKED):
            tensors[name] = stacked
            continue
        for layer, array in enumerate(stacked):
            own = array.T if is_block_matrix(name) else array
            tensors[f"{BLOCKS}{layer}.{name.removeprefix(STACKED)}"] = np.ascontiguousarray(own)
    return tensors
