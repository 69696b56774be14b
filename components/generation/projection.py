"""Matrix products by fixed weights, packed once for the processor at hand.

Shapes: B rows, I inputs, O outputs.

torch's own float32 product calls MKL, which takes its AVX2 path on processors of other makers than
Intel: 128 GFLOP/s on one core of a Zen 5, where oneDNN reaches 270 with AVX-512 (measured). oneDNN
also gives a row the same bits whatever rows stand beside it, from MIN_ROWS on.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_ROWS = 8
"""Rows from which a row's bits no longer depend on how many there are: kernels for 1 to 3 rows add
in another order (measured for 1 to 256 rows, MKL and oneDNN, 16 to 3,072 inputs)."""

PACKED_ROWS = 64
"""What the packed layout is chosen for; every other number of rows works too."""


class Projection:
    """`x @ weight.T + bias` for one weight; on a processor through oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> None:
        """Pack.

        Args:
            weight: [O, I], of the type and on the device that it multiplies in.
            bias: [O].
            gelu: whether its tanh approximation is applied to the outputs.
        """
        self.weight = weight.detach().contiguous()
        self.bias = None if bias is None else bias.detach().to(weight)
        self.gelu = gelu
        self.is_packed = weight.device.type == "cpu" and _packs()
        if self.is_packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, PACKED_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, I] of any type to [B, O] of the weight's."""
        x = x.to(self.weight.dtype)
        if self.is_packed:
            kind, way = ("gelu", "tanh") if self.gelu else ("none", "")
            multiply = torch.ops.mkldnn._linear_pointwise
            packed: Tensor = multiply(x, self.weight, self.bias, kind, [], way)
            return packed
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y, approximate="tanh") if self.gelu else y


def _packs() -> bool:
    """Whether this build of torch has oneDNN's packed product, which no public name has."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in names)
