"""Training in JAX: on TPUs of one or many hosts, on GPUs, and on processors."""

import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import orbax.checkpoint as ocp
from jax import Array

from components.model import neo_jax
from components.model.config import ModelConfig
from components.model.names import TOKEN_EMBEDDING
from components.model.tensors import Tensors
from components.model.tree import from_tree, to_tree
from components.training.blocks import Batch, Tokens
from components.training.config import TrainingConfig
from components.training.jax_group import (
    AXES,
    JaxGroup,
    batch_sharding,
    training_mesh,
    weight_sharding,
    whole_sharding,
)
from components.training.jax_loss import summed_nats, token_nats
from components.training.jax_optimizer import JaxOptimizer, OptimizerState
from components.training.launch import Alone, Group, Launch, check_batch
from components.training.learner import Nats, out_of_memory
from components.training.memory import check_memory

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
MEMORY_ERROR = "RESOURCE_EXHAUSTED"
STATE_NAME = "orbax"

Tree = dict[str, Array]


class JaxLearner:
    """A GPT-Neo in JAX with its optimizer."""

    def __init__(self, config: TrainingConfig, shape: ModelConfig, tensors: Tensors) -> None:
        """Place the weights on the devices of this launch.

        Raises:
            ConfigError: the devices do not divide the batch, or each other.
        """
        launch = Launch.read("jax")
        self.group: Group = JaxGroup(launch) if launch.size > 1 else Alone()
        self.mesh = training_mesh(launch)
        self.num_devices = self.mesh.size
        check_batch(config.batch_size, self.num_devices)
        self._config, self._shape = config, shape
        held = self.mesh.local_devices[0].memory_stats() or {}
        if "bytes_limit" in held:
            limit = int(held["bytes_limit"])
            check_memory(config, shape, self.num_devices, launch.fsdp, limit)
        tree = to_tree(tensors)
        self._lies = {
            name: weight_sharding(self.mesh, name, array.shape) for name, array in tree.items()
        }
        self._tree: Tree = {
            name: jax.make_array_from_callback(array.shape, self._lies[name], array.__getitem__)
            for name, array in tree.items()
        }
        self._optimizer = JaxOptimizer(config, list(tree))
        self._state_lies = self._place_state()
        self._state: OptimizerState = jax.jit(self._optimizer.init, out_shardings=self._state_lies)(
            self._tree
        )
        self._gradients: Tree | None = None
        self._compile()

    @property
    def device_name(self) -> str:
        """What kind of device computes, as its maker calls it."""
        name: str = self.mesh.devices.flat[0].device_kind
        return name

    def _place_state(self) -> Any:
        """The state of a tensor lies as the tensor does, where it has the same shape."""
        wanted = jax.eval_shape(self._optimizer.init, self._tree)

        def place(path: Sequence[Any], leaf: Any) -> Any:
            names = [getattr(key, "key", None) for key in path]
            name = next((one for one in names if one in self._lies), None)
            if name is not None and leaf.shape == self._tree[name].shape:
                return self._lies[name]
            return whole_sharding(self.mesh)

        return jax.tree_util.tree_map_with_path(place, wanted)

    def _compile(self) -> None:
        """Name the functions that XLA compiles at their first call."""
        whole, lies = whole_sharding(self.mesh), self._lies
        attend = self._attention()
        dtype = DTYPES[self._config.dtype]

        def loss(tree: Tree, inputs: Array, targets: Array, count: Array) -> Array:
            x = neo_jax.hidden(tree, inputs, self._shape, attend, dtype)
            return summed_nats(x, tree[TOKEN_EMBEDDING], targets) / count

        def add(
            tree: Tree, inputs: Array, targets: Array, count: Array, held: Tree, total: Array
        ) -> tuple[Tree, Array]:
            value, gradients = jax.value_and_grad(loss)(tree, inputs, targets, count)
            return {name: held[name] + gradients[name] for name in held}, total + value

        def nats(tree: Tree, inputs: Array, targets: Array) -> Array:
            x = neo_jax.hidden(tree, inputs, self._shape, attend)
            return token_nats(x, tree[TOKEN_EMBEDDING], targets)

        def finite(tree: Tree) -> Array:
            return jnp.all(jnp.stack([jnp.isfinite(value).all() for value in tree.values()]))

        self._first: Callable[..., Any] = jax.jit(
            jax.value_and_grad(loss), out_shardings=(whole, lies)
        )
        self._add: Callable[..., Any] = jax.jit(
            add, out_shardings=(lies, whole), donate_argnums=(4,)
        )
        self._apply: Callable[..., Any] = jax.jit(
            self._optimizer.apply,
            out_shardings=(lies, self._state_lies, whole),
            donate_argnums=(0, 1),
        )
        self._nats: Callable[..., Any] = jax.jit(nats, out_shardings=whole)
        self._finite: Callable[..., Any] = jax.jit(finite, out_shardings=whole)
        self._whole: Callable[..., Any] = jax.jit(
            lambda tree: tree, out_shardings=dict.fromkeys(lies, whole)
        )

    def _attention(self) -> neo_jax.Attend | None:
        if self.mesh.devices.flat[0].platform != "tpu":
            return None
        from components.model.splash import splash_attention

        return splash_attention(self.mesh, AXES)

    def gradients(self, passes: Sequence[Batch]) -> float:
        """Average the gradients of an update's passes, over all devices; the mean loss.

        Raises:
            StepFailedError: the memory is too small.
        """
        count = np.float32(max(1, sum(batch.num_learned for batch in passes)))
        total = None
        try:
            for batch in passes:
                arguments = (self._tree, self._batch(batch.inputs), self._batch(batch.targets))
                if total is None:
                    total, self._gradients = self._first(*arguments, count)
                else:
                    self._gradients, total = self._add(*arguments, count, self._gradients, total)
            assert total is not None, "an update has a pass"
            return float(total)
        except jax.errors.JaxRuntimeError as error:
            if MEMORY_ERROR in str(error):
                raise out_of_memory(self._config, error) from None
            raise

    def update(self, factor: float, *, measure: bool) -> float | None:
        """Apply the gradients and forget them; their norm."""
        assert self._gradients is not None, "an update follows gradients"
        self._tree, self._state, norm = self._apply(
            self._tree, self._state, self._gradients, np.float32(factor)
        )
        self._gradients = None
        return float(norm) if measure else None

    def predict(self, inputs: Tokens, targets: Tokens) -> Nats:
        """The nats of each target; the rows are shared by the devices."""
        missing = -len(inputs) % self.num_devices
        padded = [np.pad(part, ((0, missing), (0, 0))) for part in (inputs, targets)]
        nats = self._nats(self._tree, *(self._batch(part) for part in padded))
        found: Nats = np.asarray(nats)[: len(inputs)].reshape(-1).astype(np.float64)
        return found

    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        return bool(self._finite(self._tree))

    def write(self, folder: Path) -> None:
        """Write weights and optimizer by orbax, from the first process alone.

        Parts that several hosts write have to lie on a disk that all of them see: none of a TPU
        slice has one. A tensor at a time is whole on every device, so that it fits.
        """
        leaves = self._leaves()
        if self.group.size > 1:
            whole = jax.jit(lambda leaf: leaf, out_shardings=whole_sharding(self.mesh))
            leaves = jax.tree.map(lambda leaf: np.asarray(whole(leaf)), leaves)
        if self.group.rank == 0:
            alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
            with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
                checkpointer.save(folder.absolute() / STATE_NAME, leaves)

    def read(self, folder: Path) -> None:
        """Go on from what was written, by any number of devices."""
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            self._leaves(),
        )
        with ocp.StandardCheckpointer() as checkpointer:
            held = checkpointer.restore(folder.absolute() / STATE_NAME, wanted)
        self._tree = dict(held["weights"])
        structure = jax.tree.structure(self._state)
        leaves = [held["optimizer"][name] for name in sorted(held["optimizer"])]
        self._state = jax.tree.unflatten(structure, leaves)

    def _leaves(self) -> dict[str, dict[str, Array]]:
        """Weights and optimizer by plain names: the state's own structure is optax's business."""
        leaves = jax.tree.leaves(self._state)
        numbered = {f"{number:05d}": leaf for number, leaf in enumerate(leaves)}
        return {"weights": self._tree, "optimizer": numbered}

    def tensors(self) -> Tensors:
        """The whole weights by name; every process gets them."""
        return from_tree(self._whole(self._tree))

    def peak_memory_bytes(self) -> int:
        """The most memory that was held on a device, or by this process on a processor."""
        held = self.mesh.local_devices[0].memory_stats() or {}
        if "peak_bytes_in_use" in held:
            return int(held["peak_bytes_in_use"])
        kib = 1024 if sys.platform == "linux" else 1
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kib

    def _batch(self, ids: Tokens) -> Array:
        narrow: npt.NDArray[np.int32] = ids.astype(np.int32)
        return jax.make_array_from_callback(
            narrow.shape, batch_sharding(self.mesh), lambda index: narrow[index]
        )
