"""Where a model computes and in which numbers: what decides its samples beside config and model.

Light: torch is imported only where a driver says that there is a GPU.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16"]

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
PROCESSOR = Path("/proc/cpuinfo")

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls the instructions that multiply bfloat16, on x86-64 and on arm64. Without them
torch emulates it, ten times as slow as float32."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A device and a type of numbers."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the matrices of the blocks and what is multiplied with them; norms, the residual stream,
    attention and logits are float32 always."""

    def to_json(self) -> dict[str, str]:
        """As a part of an identity."""
        return asdict(self)


def settle_arithmetic(dtype: Dtype, processor: Path = PROCESSOR) -> Arithmetic:
    """Choose the device, and the type where it is left open.

    Args:
        dtype: auto takes bfloat16 where this machine multiplies it fast.
        processor: Linux's description of the processor.
    """
    if _has_gpu():
        return Arithmetic("cuda", "float32" if dtype == "float32" else "bfloat16")
    if dtype == "auto":
        dtype = "bfloat16" if _multiplies_bfloat16(processor) else "float32"
    return Arithmetic("cpu", dtype)


def _has_gpu() -> bool:
    if not NVIDIA_DRIVER.exists():
        return False
    import torch

    return torch.cuda.is_available()


def _multiplies_bfloat16(processor: Path) -> bool:
    try:
        lines = processor.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return not BFLOAT16_FLAGS.isdisjoint(next(flags, "").split())
