"""Sliding-window attention by torch's flex kernel, which skips blocks outside the window.

Worth it where it is compiled for a GPU; elsewhere the block-wise attention of `neo.py` is faster.
"""

import functools

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


@functools.cache
def window_mask(tokens: int, window: int, device: torch.device) -> BlockMask:
    """Which blocks of T x T scores a local layer needs; made once for a shape."""

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key > query - window)

    return create_block_mask(sees, None, None, tokens, tokens, device=str(device))


def attend_flex(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> Tensor:
    """Unscaled attention, [B, H, T, K] each, over the pairs of a mask."""
    mixed = flex_attention(q, k, v, block_mask=mask, scale=1.0)
    assert isinstance(mixed, Tensor)
    return mixed
