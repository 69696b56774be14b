"""Training in torch: on a processor, on a GPU, or on many (DDP, FSDP2)."""

import os
import resource
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from components.artifacts.errors import ConfigError
from components.model.config import ModelConfig
from components.model.initialization import model_of_arrays
from components.model.neo import GptNeo
from components.model.tensors import Tensors
from components.training.blocks import Batch, Tokens
from components.training.config import TrainingConfig
from components.training.launch import FSDP_VARIABLE, Alone, Group, Launch, check_batch
from components.training.learner import Nats, out_of_memory
from components.training.loss import next_token_loss, next_token_nats
from components.training.memory import check_memory
from components.training.optimizer import Optimizer
from components.training.torch_group import TorchGroup, gradients_shared, spread, training_device

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

CPU_MEMORY_ERROR = "can't allocate memory"
"""What torch says of a processor's memory, in a plain RuntimeError."""


def check_compiler() -> None:
    """See that what torch.compile makes for a processor can be compiled: it is C++.

    Raises:
        ConfigError: there is no compiler, as in an image.
    """
    compiler = os.environ.get("CXX", "g++")  # where torch._inductor looks
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"expected a C++ compiler for compile_model on a processor, found no {compiler!r}: "
            "install one, name it in CXX, or leave compile_model false (images hold no compiler)"
        )


class Predictor(nn.Module):
    """The model with its loss, so that DDP and FSDP see one call."""

    def __init__(self, model: GptNeo, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self._dtype = dtype

    def forward(self, inputs: Tensor, targets: Tensor, count: float | None, masked: bool) -> Tensor:
        """The loss, with gradients; the nats of each target where `count` is None."""
        if count is None:
            hidden = self.model.hidden(inputs).flatten(0, 1)
            return next_token_nats(hidden, self.model.output_weight, targets.flatten())
        narrow = self._dtype == torch.bfloat16
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=narrow):
            hidden = self.model.hidden(inputs)
        weight = self.model.output_weight
        return next_token_loss(hidden, weight, targets, self._dtype, count, masked)


class TorchLearner:
    """A GPT-Neo in torch with its optimizer."""

    def __init__(self, config: TrainingConfig, shape: ModelConfig, tensors: Tensors) -> None:
        """Place the weights on the devices of this launch.

        Raises:
            ConfigError: the devices do not divide the batch, or each other; no compiler is here.
        """
        launch = Launch.read("torch")
        check_batch(config.batch_size, launch.size)
        if config.optimizer == "adafactor" and launch.fsdp > 1:
            raise ConfigError(
                f"expected {FSDP_VARIABLE} 1 for adafactor in torch, whose Adafactor cannot work "
                f"on shared weights, got {launch.fsdp}: take adamw, muon, or backend jax"
            )
        self.device = training_device(launch)
        self.group: Group = TorchGroup(launch, self.device) if launch.size > 1 else Alone()
        self.num_devices = launch.size
        self._config = config
        if self.device.type == "cuda":
            total = torch.cuda.get_device_properties(self.device).total_memory
            check_memory(config, shape, launch.size, launch.fsdp, total)
        self.model = model_of_arrays(shape, tensors).to(self.device)
        if config.compile_model:
            self._compile(config.model.context_length)
        self._predictor = Predictor(self.model, DTYPES[config.dtype])
        self._spread = spread(self._predictor, self.model, launch, self.device)
        self._optimizer = Optimizer(dict(self.model.named_parameters()), config)

    @property
    def device_name(self) -> str:
        """What kind of device computes, as its maker calls it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def _compile(self, tokens: int) -> None:
        if self.device.type == "cuda":
            self.model.use_flex(tokens, self.device)
        else:
            check_compiler()
        self.model.transformer.compile(dynamic=False)

    def gradients(self, passes: Sequence[Batch]) -> float:
        """Average the gradients of an update's passes, over all processes; the mean loss.

        Raises:
            StepFailedError: the memory is too small.
        """
        count = sum(batch.num_learned for batch in passes)
        masked = count < sum(batch.targets.size for batch in passes)
        total = torch.zeros((), device=self.device)
        for place, batch in enumerate(passes):
            own = batch.share(self.group.rank, self.group.size)
            last = place + 1 == len(passes)
            try:
                with gradients_shared(self._spread, share=last):
                    # DDP and FSDP take the mean over the processes; a sum is wanted.
                    loss = self._spread(
                        self._tensor(own.inputs),
                        self._tensor(own.targets),
                        max(1, count) / self.group.size,
                        masked,
                    )
                    torch.autograd.backward(loss)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if isinstance(error, torch.OutOfMemoryError) or CPU_MEMORY_ERROR in str(error):
                    raise out_of_memory(self._config, error) from None
                raise
            total += loss.detach()
        if self.group.size > 1:
            torch.distributed.all_reduce(total)
        return float(total) / self.group.size

    def update(self, factor: float, *, measure: bool) -> float | None:
        """Apply the gradients and forget them; their norm."""
        return self._optimizer.step(factor, measure=measure)

    @torch.no_grad()
    def predict(self, inputs: Tokens, targets: Tokens) -> Nats:
        """The nats of each target; the processes share the rows."""
        size, rows = self.group.size, len(inputs)
        each = -(-rows // size)
        places = [min(self.group.rank * each + row, rows - 1) for row in range(each)]
        ddp = isinstance(self._spread, DistributedDataParallel)
        with torch.compiler.set_stance("force_eager"):
            nats = (self._predictor if ddp else self._spread)(
                self._tensor(inputs[places]), self._tensor(targets[places]), None, False
            ).double()
        if size > 1:
            whole = nats.new_empty(size * len(nats))
            torch.distributed.all_gather_into_tensor(whole, nats)
            nats = whole[: targets.size]
        found: Nats = nats.cpu().numpy()
        return found

    def is_finite(self) -> bool:
        """Whether all weights of all processes are numbers."""
        held = [
            tensor.to_local() if isinstance(tensor, DTensor) else tensor
            for tensor in self.model.parameters()
        ]
        own = all(bool(torch.isfinite(tensor).all()) for tensor in held)
        return all(self.group.gather(own))

    def write(self, folder: Path) -> None:
        """Write this process' part of weights and optimizer, by torch.distributed.checkpoint."""
        with _quiet():
            model, optimizer = get_state_dict(self._predictor, self._optimizer.parts)
            save(
                {"model": model, "optimizer": optimizer},
                checkpoint_id=folder,
                no_dist=self.group.size == 1,
            )

    def read(self, folder: Path) -> None:
        """Go on from what was written, by any number of processes."""
        with _quiet():
            model, optimizer = get_state_dict(self._predictor, self._optimizer.parts)
            state: dict[str, Any] = {"model": model, "optimizer": optimizer}
            load(state, checkpoint_id=folder, no_dist=self.group.size == 1)
            set_state_dict(
                self._predictor,
                self._optimizer.parts,
                model_state_dict=state["model"],
                optim_state_dict=state["optimizer"],
            )

    def tensors(self) -> Tensors:
        """The whole weights by name; every process gets them."""
        return {
            name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)
            .detach()
            .cpu()
            .contiguous()
            .numpy()
            for name, tensor in self.model.named_parameters()
        }

    def peak_memory_bytes(self) -> int:
        """The most memory that was held on the GPU, or by this process on a processor."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        kib = 1024 if sys.platform == "linux" else 1
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kib

    def _tensor(self, ids: Tokens) -> Tensor:
        return torch.from_numpy(ids).to(self.device, non_blocking=True)


class _quiet(warnings.catch_warnings):  # noqa: N801  # a context manager
    """torch warns of its own deprecated storages while it reads and writes checkpoints."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
