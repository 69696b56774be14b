"""The optimizers of a run in JAX: the same updates as `optimizer.py` makes, on stacked tensors.

Shapes: a stacked tensor is [L, R, C] or [L, C], one outside the blocks [R, C] or [C]. AdamW is
optax's; Muon and Adafactor follow the rules of `muon.py` and torch.optim.Adafactor, which differ
from optax's in their factors.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from components.model.names import is_block_matrix, is_decayed
from components.model.tree import STACKED
from components.training.config import TrainingConfig
from components.training.newton_schulz import NEWTON_SCHULZ

Tree = Mapping[str, Array]

SMALL = float(np.finfo(np.float32).eps)
"""What torch's Adafactor keeps its second moments above."""

SCALE_FLOOR = 1e-3
"""A tensor of a smaller root mean square counts as this large (torch's `eps[1]`)."""


class OptimizerState(NamedTuple):
    """What a checkpoint must hold beside the weights."""

    steps: Array
    adamw: Any
    means: dict[str, Array]
    """Of Muon, by tensor."""

    variances: dict[str, tuple[Array, ...]]
    """Of Adafactor, by tensor: of rows and columns, or of each number."""


class JaxOptimizer:
    """Updates as functions, to be compiled by the caller."""

    def __init__(self, config: TrainingConfig, names: list[str]) -> None:
        """Take the names of a tree's tensors."""
        self._config = config
        self._muon = [name for name in names if self._is_muon(name)]
        self._adafactor = names if config.optimizer == "adafactor" else []
        taken = {*self._muon, *self._adafactor}
        self._rest = [name for name in names if name not in taken]
        self._adamw = optax.adamw(
            config.learning_rate,
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask={name: is_decayed(name) for name in self._rest},
        )

    def _is_muon(self, name: str) -> bool:
        return self._config.optimizer == "muon" and is_block_matrix(name)

    def init(self, tree: Tree) -> OptimizerState:
        """The state before the first update."""
        return OptimizerState(
            steps=jnp.zeros((), jnp.int32),
            adamw=self._adamw.init({name: tree[name] for name in self._rest}),
            means={name: jnp.zeros_like(tree[name]) for name in self._muon},
            variances={name: _no_variance(name, tree[name]) for name in self._adafactor},
        )

    def apply(
        self, tree: Tree, state: OptimizerState, gradients: Tree, factor: Array
    ) -> tuple[dict[str, Array], OptimizerState, Array]:
        """New weights and state, and the norm of all gradients before clipping.

        Args:
            tree: weights.
            state: of the optimizer.
            gradients: by tensor.
            factor: of the learning rates.
        """
        config = self._config
        norm = optax.tree.norm(gradients)
        if config.gradient_clip:
            # torch's rule, whose small number keeps it from dividing by nothing
            scale = jnp.minimum(1.0, config.gradient_clip / (norm + 1e-6))
            gradients = {name: gradient * scale for name, gradient in gradients.items()}
        rest = {name: tree[name] for name in self._rest}
        updates, adamw = self._adamw.update(
            {name: gradients[name] for name in self._rest}, state.adamw, rest
        )
        new = {name: rest[name] + factor * updates[name] for name in self._rest}
        steps, means, variances = state.steps + 1, {}, {}
        for name in self._muon:
            new[name], means[name] = _muon(
                config, tree[name], state.means[name], gradients[name], factor
            )
        for name in self._adafactor:
            new[name], variances[name] = _adafactor(
                config, name, tree[name], state.variances[name], gradients[name], factor, steps
            )
        return new, OptimizerState(steps, adamw, means, variances), norm


def _muon(
    config: TrainingConfig, weights: Array, mean: Array, gradient: Array, factor: Array
) -> tuple[Array, Array]:
    """Orthogonalised Nesterov momentum of the matrices [L, in, out] of one tensor."""
    rate = config.muon_learning_rate * factor
    mean = mean + (1 - config.muon_momentum) * (gradient - mean)
    update = gradient + config.muon_momentum * (mean - gradient)
    tall = max(1.0, weights.shape[2] / weights.shape[1]) ** 0.5
    kept = weights * (1 - rate * config.muon_weight_decay)
    return kept - rate * tall * orthogonalize(update), mean


def orthogonalize(matrices: Array) -> Array:
    """Bring all singular values near 1, [L, R, C]; see `muon.py`."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.swapaxes(1, 2)).swapaxes(1, 2)
    norms = jnp.sqrt(jnp.sum(matrices * matrices, axis=(1, 2), keepdims=True))
    scaled = matrices / (norms * 1.01 + 1e-7)
    gram = scaled @ scaled.swapaxes(1, 2)
    eye = jnp.eye(gram.shape[-1], dtype=gram.dtype)
    whole = None
    for index, (a, b, c) in enumerate(NEWTON_SCHULZ):
        factor = a * eye + b * gram + c * (gram @ gram)
        whole = factor if whole is None else factor @ whole
        if index + 1 < len(NEWTON_SCHULZ):
            gram = factor @ gram @ factor
    assert whole is not None
    return whole @ scaled


def _adafactor(
    config: TrainingConfig,
    name: str,
    weights: Array,
    variances: tuple[Array, ...],
    gradient: Array,
    factor: Array,
    steps: Array,
) -> tuple[Array, tuple[Array, ...]]:
    """Shazeer & Stern 2018 without momentum, layer by layer of a stacked tensor."""

    def layer(
        weights: Array, variances: tuple[Array, ...], gradient: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        rate = config.learning_rate * factor
        share = steps.astype(jnp.float32) ** -0.8
        size = jnp.maximum(SCALE_FLOOR, jnp.sqrt(jnp.mean(weights * weights)))
        squares = gradient * gradient
        if weights.ndim == 2:
            rows, columns = variances
            rows = rows + share * (squares.mean(1) - rows)
            columns = columns + share * (squares.mean(0) - columns)
            estimate = rows[:, None] * columns / jnp.maximum(rows.mean(), SMALL)
            variances = (rows, columns)
        else:
            (estimate,) = variances
            estimate = estimate + share * (squares - estimate)
            variances = (estimate,)
        update = gradient * jax.lax.rsqrt(jnp.maximum(estimate, SMALL * SMALL))
        length = jnp.maximum(1.0, jnp.sqrt(jnp.mean(update * update)))
        decay = config.weight_decay if is_decayed(name) else 0.0
        alpha = size * jnp.minimum(rate, steps.astype(jnp.float32) ** -0.5)
        return weights * (1 - rate * decay) - alpha / length * update, variances

    if name.startswith(STACKED):
        new, kept = jax.vmap(layer)(weights, variances, gradient)
        return new, kept
    return layer(weights, variances, gradient)


def _no_variance(name: str, weights: Array) -> tuple[Array, ...]:
    """Zeros for rows and columns of matrices, for every number of the rest."""
    layers, shape = (
        (weights.shape[:1], weights.shape[1:]) if name.startswith(STACKED) else ((), weights.shape)
    )
    if len(shape) == 2:
        return jnp.zeros(layers + shape[:1]), jnp.zeros(layers + shape[1:])
    return (jnp.zeros_like(weights),)
