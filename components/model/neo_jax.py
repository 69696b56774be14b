"""GPT-Neo in JAX as plain functions of a tree of weights (`tree.py`).

Shapes: B batch, T tokens, D hidden size, H heads, K head size, V vocabulary, W window, L layers,
N = T / W windows.

The arithmetic is that of `neo.py`: attention without 1 / sqrt(K), odd layers see the last W tokens,
layer norms and softmax in float32. Layers are scanned in pairs, global and local, so that one pair
is compiled whatever the depth.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

from components.model.config import ModelConfig
from components.model.names import POSITION_EMBEDDING, TOKEN_EMBEDDING
from components.model.tree import STACKED

Tree = Mapping[str, Array]
Attend = Callable[[Array, Array, Array, int | None], Array]
"""Queries, keys, values [B, T, H, K] and a window, None for global, to [B, T, H, K]."""

UNSCALED = 1.0
"""GPT-Neo multiplies queries and keys without 1 / sqrt(K)."""

MASKED = -1e30
"""A score that the softmax turns into zero."""


def hidden(
    tree: Tree,
    ids: Array,
    config: ModelConfig,
    attend: Attend | None = None,
    dtype: jnp.dtype | type = jnp.float32,
) -> Array:
    """The normed residual stream of each token, [B, T] to [B, T, D].

    Args:
        tree: float32 weights.
        ids: [B, T] token ids.
        config: the model's shape.
        attend: who attends; by default `attend_blocks`.
        dtype: what matrices are multiplied in.
    """
    assert ids.shape[1] <= config.context_length, "more tokens than positions"
    mixer = attend or attend_blocks
    x = (tree[TOKEN_EMBEDDING][ids] + tree[POSITION_EMBEDDING][: ids.shape[1]]).astype(dtype)
    blocks = {name: value for name, value in tree.items() if name.startswith(STACKED)}
    paired = config.num_layers // 2 * 2
    pairs = {
        name: value[:paired].reshape(-1, 2, *value.shape[1:]) for name, value in blocks.items()
    }

    def pair(x: Array, weights: Tree) -> tuple[Array, None]:
        first = {name: value[0] for name, value in weights.items()}
        second = {name: value[1] for name, value in weights.items()}
        x = _block(x, first, config, mixer, None)
        return _block(x, second, config, mixer, config.window), None

    if paired:
        x, _ = jax.lax.scan(pair, x, pairs)
    if paired < config.num_layers:
        last = {name: value[paired] for name, value in blocks.items()}
        x = _block(x, last, config, mixer, None)
    return _norm(x, tree, "transformer.ln_f", config)


def logits(tree: Tree, ids: Array, config: ModelConfig, attend: Attend | None = None) -> Array:
    """Unnormalised log-probabilities of the next token after each, [B, T] to [B, T, V]."""
    return hidden(tree, ids, config, attend) @ tree[TOKEN_EMBEDDING].T


def attend_blocks(q: Array, k: Array, v: Array, window: int | None) -> Array:
    """Attention in plain JAX; a local layer's queries of window n see windows n - 1 and n."""
    tokens = q.shape[1]
    if window is None or tokens <= window:
        return _mix(q, k, v, _causal(tokens, tokens, None))
    if tokens % window:
        return _mix(q, k, v, _causal(tokens, tokens, window))
    count = tokens // window
    mask = jnp.broadcast_to(_causal(window, 2 * window, window), (count, window, 2 * window))
    mask = mask.at[0, :, :window].set(False)  # nothing lies before the first window
    mixed = jax.vmap(_mix, in_axes=(1, 1, 1, 0), out_axes=1)(
        q.reshape(q.shape[0], count, window, *q.shape[2:]),
        _with_previous(k, window),
        _with_previous(v, window),
        mask,
    )
    return mixed.reshape(q.shape)


def _mix(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Attention under a mask [queries, keys]."""
    scores = jnp.einsum("bihk,bjhk->bhij", q, k, preferred_element_type=jnp.float32) * UNSCALED
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED), axis=-1).astype(v.dtype)
    return jnp.einsum("bhij,bjhk->bihk", weights, v)


def _causal(queries: int, keys: int, window: int | None) -> Array:
    """[queries, keys], True where a query sees a key; the last query stands at the last key."""
    i = jnp.arange(keys - queries, keys)[:, None]
    j = jnp.arange(keys)
    return (j <= i) if window is None else (j <= i) & (j > i - window)


def _with_previous(x: Array, window: int) -> Array:
    """[B, T, H, K] to [B, N, 2W, H, K]: each window behind the one before it."""
    own = x.reshape(x.shape[0], -1, window, *x.shape[2:])
    before = jnp.concatenate([jnp.zeros_like(own[:, :1]), own[:, :-1]], axis=1)
    return jnp.concatenate([before, own], axis=2)


def _block(
    x: Array, weights: Tree, config: ModelConfig, attend: Attend, window: int | None
) -> Array:
    """One transformer block, norms before attention and feed-forward, [B, T, D]."""
    attention = f"{STACKED}attn.attention."

    def times(y: Array, name: str) -> Array:
        return y @ weights[name].astype(y.dtype)

    def heads(name: str) -> Array:
        split = (*x.shape[:2], config.num_heads, config.head_size)
        return times(normed, f"{attention}{name}_proj.weight").reshape(split)

    normed = _norm(x, weights, f"{STACKED}ln_1", config)
    mixed = attend(heads("q"), heads("k"), heads("v"), window).reshape(x.shape)
    x = x + times(mixed, f"{attention}out_proj.weight")
    x = x + weights[f"{attention}out_proj.bias"].astype(x.dtype)
    normed = _norm(x, weights, f"{STACKED}ln_2", config)
    wide = times(normed, f"{STACKED}mlp.c_fc.weight")
    wide = jax.nn.gelu(wide + weights[f"{STACKED}mlp.c_fc.bias"].astype(x.dtype), approximate=True)
    out = times(wide, f"{STACKED}mlp.c_proj.weight")
    return x + out + weights[f"{STACKED}mlp.c_proj.bias"].astype(x.dtype)


def _norm(x: Array, weights: Tree, name: str, config: ModelConfig) -> Array:
    """A layer norm, computed in float32."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    scale = jax.lax.rsqrt(variance + config.layer_norm_epsilon)
    normed = centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normed.astype(x.dtype)
