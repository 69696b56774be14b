"""GPT-Neo a token at a time, for rows of many problems, over static caches of keys and values.

Shapes: B rows, G groups (distinct prompts), M rows a group at most, D hidden size, H heads, K head
size, V vocabulary, P columns of the longest prompt, R columns of the new tokens, T tokens.

A row's keys lie in two caches. Those of its prompt are computed once and shared by all samples of
the problem: their queries are multiplied with them as one matrix, and a step reads them once, not
once a row. Those of its new tokens are its own, and because all rows have written equally many, all
write the next one into the same column. Caches are allocated once; nothing is concatenated.

Local layers keep and read the last W keys only. Keys, scores and logits are float32 whatever the
weights are: GPT-Neo does not divide its scores, and bfloat16 would round one of 16 by 0.06.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from components.generation.arithmetic import Arithmetic
from components.generation.projection import MIN_ROWS, Projection
from components.model.neo import Block, GptNeo, attend

ALIGNMENT = 16
"""Columns of prompts are a multiple of it, one AVX-512 register of float32, so that padding moves
no number of a softmax's sum to another lane."""

SUMMED_COLUMNS = 128
"""Values are mixed over so many columns at once: MKL cuts sums of more than 192 numbers at a place
that hangs on their number, and so on the longest prompt of a batch."""


@dataclass(frozen=True)
class _Layer:
    """The weights of a block, packed; query, key and value are one matrix."""

    norm_1: tuple[Tensor, Tensor]
    qkv: Projection
    out: Projection
    norm_2: tuple[Tensor, Tensor]
    widen: Projection
    narrow: Projection
    window: int | None
    """None is global."""


class PackedNeo:
    """The weights of a GPT-Neo as decoding wants them. Immutable: decoders share one."""

    def __init__(self, model: GptNeo, arithmetic: Arithmetic) -> None:
        """Copy and pack the weights."""
        self.config = model.config
        self.device = torch.device(arithmetic.device)
        dtype = getattr(torch, arithmetic.dtype)
        body = model.transformer
        blocks = [block for block in body.h if isinstance(block, Block)]
        assert len(blocks) == self.config.num_layers
        self.layers = [self._pack(block, dtype) for block in blocks]
        self.tokens, self.positions = self._float(body.wte.weight), self._float(body.wpe.weight)
        self.last_norm = (self._float(body.ln_f.weight), self._float(body.ln_f.bias))
        self.output = Projection(self.tokens)

    def _float(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, torch.float32)

    def _pack(self, block: Block, dtype: torch.dtype) -> _Layer:
        attention, mlp = block.attn.attention, block.mlp
        three = (attention.q_proj, attention.k_proj, attention.v_proj)

        def project(weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Projection:
            moved = None if bias is None else bias.to(self.device, dtype)
            return Projection(weight.to(self.device, dtype), moved, gelu=gelu)

        return _Layer(
            norm_1=(self._float(block.ln_1.weight), self._float(block.ln_1.bias)),
            qkv=project(torch.cat([linear.weight for linear in three]), None),
            out=project(attention.out_proj.weight, attention.out_proj.bias),
            norm_2=(self._float(block.ln_2.weight), self._float(block.ln_2.bias)),
            widen=project(mlp.c_fc.weight, mlp.c_fc.bias, gelu=True),
            narrow=project(mlp.c_proj.weight, mlp.c_proj.bias),
            window=attention.window,
        )

    def normed(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        """Layer norm, [..., D]."""
        return F.layer_norm(x, x.shape[-1:], *norm, self.config.layer_norm_epsilon)

    def heads(self, layer: _Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of normed tokens, [T, D] to [T, H, K] each, float32."""
        mixed = layer.qkv(self.normed(x, layer.norm_1)).float()
        q, k, v = mixed.view(len(x), 3, self.config.num_heads, -1).unbind(1)
        return q, k, v

    def after_attention(self, layer: _Layer, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a block: [T, D] twice to [T, D]."""
        x = x + layer.out(mixed)
        return x + layer.narrow(layer.widen(self.normed(x, layer.norm_2)))

    def logits(self, x: Tensor) -> Tensor:
        """[B, D] to [B, V]."""
        return self.output(self.normed(x, self.last_norm))


class CapturedStep:
    """A step as one CUDA graph: a hundred kernels are launched at once.

    Everything that changes from step to step lies in tensors that stay where they are. A step that
    is only captured writes keys into the column that the real one writes next.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], ids: Tensor) -> None:
        """Capture `compute`, of [B] to [B, V]."""
        self.ids = ids.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate at their first call
            compute(self.ids)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = compute(self.ids)

    def __call__(self, ids: Tensor) -> Tensor:
        """Replay with other tokens."""
        self.ids.copy_(ids)
        self.graph.replay()
        return self.logits.clone()


class NeoDecoder:
    """Rows of any problems that go on together, a token a step."""

    def __init__(self, model: PackedNeo, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        """Read the prompts.

        Args:
            model: the weights.
            prompts: [B] ids of each row; equal neighbours are one group and are read once.
            new_tokens: most tokens that a row will take.
        """
        self.model = model
        groups = [(ids, len(list(rows))) for ids, rows in itertools.groupby(map(tuple, prompts))]
        self._num_rows = len(prompts)
        owners = torch.repeat_interleave(torch.tensor([count for _, count in groups]))
        self._seat(owners)
        config, device = model.config, model.device
        longest = max(len(ids) for ids, _ in groups)
        self.width = -(-longest // ALIGNMENT) * ALIGNMENT
        self.lengths = torch.tensor([len(ids) for ids, _ in groups], device=device)
        """[G] tokens of the prompts."""
        own = (len(self.owners), config.num_heads, new_tokens, config.head_size)
        self.own = [
            (torch.zeros(own, device=device), torch.zeros(own, device=device)) for _ in model.layers
        ]
        self.shared = [self._allocate(layer, len(groups)) for layer in model.layers]
        self.taken = torch.zeros((), dtype=torch.long, device=device)
        """New tokens that each row has taken."""
        self.num_taken = 0
        self.columns = torch.arange(new_tokens, device=device)
        self._graph: CapturedStep | None = None
        self.is_static = device.type == "cuda"
        """Whether a step reads whole caches through masks, which a CUDA graph needs, rather than
        the columns that count."""
        last = torch.cat([self._read(group, ids) for group, (ids, _) in enumerate(groups)])
        self.logits = model.logits(last)[self.owners][: self._num_rows]
        """[B, V] of each row's next token."""

    def _allocate(self, layer: _Layer, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [G, H, P, K] of the prompts in a layer, and what hides padding [G, P].

        Global layers align prompts at the left. Local ones keep the last W columns of them, aligned
        at the right: so the columns that leave the window are the same for all groups.
        """
        config, device = self.model.config, self.model.device
        width = self.width if layer.window is None else min(self.width, self._local(layer.window))
        shape = (groups, config.num_heads, width, config.head_size)
        columns = torch.arange(width, device=device)
        if layer.window is None:
            hidden = columns >= self.lengths[:, None]
        else:
            hidden = columns < width - self.lengths[:, None]
        mask = torch.zeros(hidden.shape, device=device).masked_fill(hidden, -torch.inf)
        return torch.zeros(shape, device=device), torch.zeros(shape, device=device), mask

    @staticmethod
    def _local(window: int) -> int:
        """Columns that hold a window, aligned."""
        return -(-window // ALIGNMENT) * ALIGNMENT

    def _seat(self, owners: Tensor) -> Tensor:
        """Note which group each row belongs to, and give each a seat in [G, M].

        Rows are filled up to MIN_ROWS, and seats to as many, by repeating the last row.

        Args:
            owners: [B] the group of each row, ascending.

        Returns:
            The groups that have rows; owners are counted among them from now on.
        """
        missing = max(0, MIN_ROWS - len(owners))
        owners = torch.cat([owners, owners[-1:].expand(missing)]).cpu()
        groups, local, counts = torch.unique_consecutive(
            owners, return_inverse=True, return_counts=True
        )
        starts = counts.cumsum(0) - counts
        seats = torch.arange(len(owners)) - starts[local]
        per_group = max(MIN_ROWS, int(counts.max()))
        sitting = starts[:, None] + torch.minimum(torch.arange(per_group), counts[:, None] - 1)
        device = self.model.device
        self.owners = local.to(device)
        """[B] the group of each row."""
        self.sitting = sitting.to(device)
        """[G, M] the row on each seat."""
        self.seats = (local * per_group + seats).to(device)
        """[B] the seat of each row, counted through all groups."""
        live: Tensor = groups.to(device)
        return live

    def _read(self, group: int, ids: Sequence[int]) -> Tensor:
        """Fill the shared caches with one prompt: alone, so it depends on no other; [1, D]."""
        model = self.model
        x = model.tokens[torch.tensor(ids, device=model.device)] + model.positions[: len(ids)]
        for layer, (keys, values, _) in zip(model.layers, self.shared, strict=True):
            q, k, v = (part.transpose(0, 1) for part in model.heads(layer, x))  # [H, T, K]
            mixed = attend(q[None], k[None], v[None], layer.window)[0]
            kept = min(len(ids), keys.shape[2])
            first = 0 if layer.window is None else keys.shape[2] - kept
            keys[group, :, first : first + kept] = k[:, -kept:]
            values[group, :, first : first + kept] = v[:, -kept:]
            x = model.after_attention(layer, x, mixed.transpose(0, 1).flatten(1))
        last: Tensor = x[-1:]
        return last

    def step(self, ids: Tensor) -> None:
        """Take the next token of each row in, [B], and find the logits after it."""
        missing = len(self.owners) - self._num_rows
        if missing:
            ids = torch.cat([ids, ids[-1:].expand(missing)])
        ids = ids.to(self.model.device)
        if self.model.device.type == "cuda":
            self._graph = self._graph or CapturedStep(self._compute, ids)
            logits = self._graph(ids)
        else:
            logits = self._compute(ids)
        self.logits = logits[: self._num_rows]
        self.taken += 1
        self.num_taken += 1

    def _compute(self, ids: Tensor) -> Tensor:
        """A step over all rows, those that fill up included: [B] to [B, V]."""
        model = self.model
        x = model.tokens[ids] + model.positions[self.lengths[self.owners] + self.taken]
        for number, layer in enumerate(model.layers):
            q, k, v = model.heads(layer, x)
            keys, values = self.own[number]
            keys.index_copy_(2, self.taken[None], k[:, :, None])
            values.index_copy_(2, self.taken[None], v[:, :, None])
            x = model.after_attention(layer, x, self._attend(number, layer, q))
        return model.logits(x)

    def _attend(self, number: int, layer: _Layer, q: Tensor) -> Tensor:
        """Attention of one new token a row, [B, H, K] to [B, D]; one softmax over both caches."""
        shared, own = self._visible(layer, self.shared[number][0].shape[2])
        keys, values, mask = self.shared[number]
        keys, values = keys[:, :, shared], values[:, :, shared]
        own_keys, own_values = (part[:, :, own] for part in self.own[number])
        seated = q[self.sitting].transpose(1, 2)  # [G, H, M, K]
        of_prompt = seated @ keys.transpose(2, 3) + mask[:, None, None, shared]
        of_own = (q[:, :, None] @ own_keys.transpose(2, 3))[:, :, 0]  # [B, H, R]
        if self.is_static:
            of_own += self._hide_own(layer.window)
            if layer.window is not None:
                of_prompt += self._hide_old(layer.window)
        split = of_prompt.shape[-1]
        scores = torch.cat([self._unseat(of_prompt), of_own], dim=-1).softmax(dim=-1)
        shares = scores[..., :split][self.sitting].transpose(1, 2)  # [G, H, M, P]
        mixed = self._unseat(_mix(shares, values, from_left=layer.window is None))
        mixed += (scores[:, :, None, split:] @ own_values)[:, :, 0]
        return mixed.flatten(1)

    def _unseat(self, x: Tensor) -> Tensor:
        """[G, H, M, ...] by seats to [B, H, ...] by rows."""
        return x.transpose(1, 2).flatten(0, 1)[self.seats]

    def _visible(self, layer: _Layer, width: int) -> tuple[slice, slice]:
        """The columns of the prompts and of the new tokens that are read."""
        if self.is_static:
            return slice(None), slice(None)
        end = self.num_taken + 1
        if layer.window is None:
            return slice(None), slice(end)
        gone = max(0, width + end - layer.window)
        return slice(gone, None), slice(max(0, end - layer.window), end)

    def _hide_old(self, window: int) -> Tensor:
        """[P] -inf for columns of the prompts that have left a local layer's window."""
        width = min(self.width, self._local(window))
        columns = torch.arange(width, device=self.model.device)
        hidden = columns < width + 1 - window + self.taken
        return torch.zeros(width, device=hidden.device).masked_fill(hidden, -torch.inf)

    def _hide_own(self, window: int | None) -> Tensor:
        """[R] -inf for columns that were not written yet, or have left the window."""
        hidden = self.columns > self.taken
        if window is not None:
            hidden = hidden | (self.columns <= self.taken - window)
        return torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows only, moved up in place; `rows` is an ascending index tensor."""
        rows = rows.to(self.model.device)
        filled = torch.cat([rows, rows[-1:].expand(max(0, MIN_ROWS - len(rows)))])
        self._num_rows = len(rows)
        self.logits = self.logits[rows]
        groups = self._seat(self.owners[rows])
        written = self.num_taken
        for number, (keys, values) in enumerate(self.own):
            keys[: len(filled), :, :written] = keys[filled, :, :written]
            values[: len(filled), :, :written] = values[filled, :, :written]
            self.own[number] = (keys[: len(filled)], values[: len(filled)])
        if len(groups) < len(self.lengths):
            self.lengths = self.lengths[groups]
            for number, parts in enumerate(self.shared):
                keys, values, mask = (part[: len(groups)].copy_(part[groups]) for part in parts)
                self.shared[number] = (keys, values, mask)
        self._graph = None


def _mix(shares: Tensor, values: Tensor, *, from_left: bool) -> Tensor:
    """`shares @ values` by blocks of columns, counted from the side at which prompts are aligned.

    Args:
        shares: [G, H, M, P]
        values: [G, H, P, K]
        from_left: whether that is the left.

    Returns:
        [G, H, M, K]
    """
    whole, rest = divmod(shares.shape[-1], SUMMED_COLUMNS)
    sizes = [SUMMED_COLUMNS] * whole
    sizes = [*sizes, rest] if from_left else [rest, *sizes]  # of no columns comes 0
    blocks = zip(torch.split(shares, sizes, -1), torch.split(values, sizes, 2), strict=True)
    first, *others = (part @ held for part, held in blocks)
    for product in others:
        first += product
    return first
