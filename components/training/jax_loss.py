"""The cross-entropy of the next token in JAX, without holding the logits of a whole batch.

Shapes: B batch, T tokens, D hidden size, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jax import Array

CHUNK_ELEMENTS = 2**25
"""Logits held at once on all devices together, in float32: 128 MB."""


def summed_nats(x: Array, weight: Array, targets: Array) -> Array:
    """The sum of the nats of the learned targets.

    The tokens are cut along T, so that a batch which is split over devices stays where it is; the
    logits of a chunk are made again in the backward pass.

    Args:
        x: [B, T, D], what the model made of each token.
        weight: [V, D], the output layer.
        targets: [B, T], the token that follows each; below 0 where nothing is learned.
    """
    batch, tokens, _ = x.shape
    wanted = max(1, CHUNK_ELEMENTS // (batch * len(weight)))
    size = next(n for n in range(min(wanted, tokens), 0, -1) if tokens % n == 0)

    def chunk(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        return total + token_nats(part[0], weight, part[1]).sum(), None

    parts = (_cut(x, size), _cut(targets, size))
    total, _ = jax.lax.scan(jax.checkpoint(chunk), jnp.zeros(()), parts)
    return total


def token_nats(x: Array, weight: Array, targets: Array) -> Array:
    """The nats of each target, [B, T]; 0 where nothing is learned."""
    logits = jnp.dot(x, weight.astype(x.dtype).T, preferred_element_type=jnp.float32)
    picked = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(targets >= 0, jax.nn.logsumexp(logits, axis=-1) - picked, 0.0)


def _cut(values: Array, size: int) -> Array:
    """[B, T, ...] to [T / size, B, size, ...]."""
    return values.reshape(values.shape[0], -1, size, *values.shape[2:]).swapaxes(0, 1)
