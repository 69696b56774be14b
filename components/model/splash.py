"""Attention on a TPU by Pallas' splash kernel, which skips the blocks that a mask empties.

Shapes: B batch, T tokens, H heads, K head size. A window of W keys with the query's own is
`LocalMask((W - 1, 0))`. The kernel applies no factor to the scores, as GPT-Neo wants it.
"""

import functools
from typing import Any

import jax
from jax import Array
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import Mesh, PartitionSpec

from components.model.neo_jax import Attend

MAX_BLOCK = 512
"""Queries and keys of a block; MaxText's default."""


def splash_attention(mesh: Mesh, axes: tuple[str, ...], *, interpret: bool = False) -> Attend:
    """Attention for `neo_jax.hidden` whose batch is split over the axes of a mesh.

    Args:
        mesh: the devices.
        axes: of the mesh, over which the batch is split.
        interpret: run the kernel's Python, for tests on a processor.
    """
    whole = PartitionSpec(axes)

    def attend(q: Array, k: Array, v: Array, window: int | None) -> Array:
        rows = jax.vmap(_kernel(q.shape[1], q.shape[2], window, interpret))
        mapped = jax.shard_map(
            rows, mesh=mesh, in_specs=(whole, whole, whole), out_specs=whole, check_vma=False
        )
        mixed: Array = mapped(*(x.swapaxes(1, 2) for x in (q, k, v))).swapaxes(1, 2)
        return mixed

    return attend


@functools.cache
def _kernel(tokens: int, heads: int, window: int | None, interpret: bool) -> Any:
    """The kernel for one row of [H, T, K]; made once for each mask, on the host."""
    shape = (tokens, tokens)
    mask = (
        masks.CausalMask(shape)
        if window is None or tokens <= window
        else masks.LocalMask(shape, window_size=(window - 1, 0), offset=0)
    )
    size = next(block for block in range(min(tokens, MAX_BLOCK), 0, -1) if tokens % block == 0)
    sizes = kernel.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=size,
        block_q_dq=size,
        block_kv_dq=size,
    )
    with jax.ensure_compile_time_eval():
        return kernel.make_splash_mha(
            masks.MultiHeadMask([mask] * heads),
            head_shards=1,
            q_seq_shards=1,
            block_sizes=sizes,
            interpret=interpret,
        )
