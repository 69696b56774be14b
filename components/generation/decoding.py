"""One step of GPT-Neo for rows of different lengths, over a cache of keys and values.

Shapes: B rows, D hidden size, H heads, K head size, V vocabulary, L layers, C columns of the cache.

Prompts are right-aligned in the cache, so every row writes its next token into the same column; a
mask hides the columns before a row's first token. `KeyValueCache` of the model's room holds rows of
one length, which would leave one problem a batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from components.model.neo import UNSCALED, Block, GptNeo, KeyValueCache


class RowDecoder:
    """Rows that stand at different positions and go on together."""

    def __init__(self, model: GptNeo, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        """Read the prompts.

        Args:
            model: the model.
            prompts: [B] ids of each row; equal neighbours are read once.
            new_tokens: steps to come, at most.
        """
        self.model = model
        self.blocks = [_fused(block) for block in model.transformer.h]
        self.column = max(len(prompt) for prompt in prompts)
        self.positions = torch.tensor([len(prompt) for prompt in prompts])
        columns = self.column + new_tokens
        hidden = torch.arange(columns) < (self.column - self.positions)[:, None]  # [B, C]
        self.mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        config = model.config
        shape = (config.num_layers, len(prompts), config.num_heads, columns, config.head_size)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.logits = self._read(prompts)
        """[B, V] of each row's next token."""

    def _read(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Fill the cache with each prompt, one at a time: no padding, no dependence on others."""
        logits: list[Tensor] = []
        for row, prompt in enumerate(prompts):
            columns = slice(self.column - len(prompt), self.column)
            if row and prompt == prompts[row - 1]:
                self.keys[:, row, :, columns] = self.keys[:, row - 1, :, columns]
                self.values[:, row, :, columns] = self.values[:, row - 1, :, columns]
                logits.append(logits[-1])
                continue
            cache = KeyValueCache.allocate(self.model.config, 1, len(prompt))
            hidden = self.model.hidden(torch.tensor([prompt]), cache)
            logits.append(self.model.logits(hidden[:, -1]))
            self.keys[:, row, :, columns] = cache.keys[:, 0]
            self.values[:, row, :, columns] = cache.values[:, 0]
        return torch.cat(logits)

    def step(self, ids: Tensor) -> None:
        """Take the next token of each row in, [B], and find the logits after it."""
        transformer = self.model.transformer
        x = transformer.wte(ids) + transformer.wpe(self.positions)
        for layer, (block, qkv) in enumerate(self.blocks):
            x = x + self._attend(block, qkv, layer, block.ln_1(x))
            x = x + block.mlp(block.ln_2(x))
        self.column += 1
        self.positions = self.positions + 1
        self.logits = self.model.logits(transformer.ln_f(x))

    def _attend(self, block: Block, qkv: Tensor, layer: int, x: Tensor) -> Tensor:
        """Attention of one new token a row, [B, D] to [B, D]."""
        attention = block.attn.attention
        q, k, v = F.linear(x, qkv).view(len(x), 3, attention.num_heads, -1).unbind(1)  # [B, H, K]
        end = self.column + 1
        self.keys[layer, :, :, self.column] = k
        self.values[layer, :, :, self.column] = v
        first = 0 if attention.window is None else max(0, end - attention.window)
        mixed = F.scaled_dot_product_attention(
            q[:, :, None],
            self.keys[layer, :, :, first:end],
            self.values[layer, :, :, first:end],
            attn_mask=self.mask[:, None, None, first:end],
            scale=UNSCALED,
        )
        out: Tensor = attention.out_proj(mixed.flatten(1))
        return out

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows only; `rows` is an index tensor."""
        self.positions, self.mask = self.positions[rows], self.mask[rows]
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.logits = self.logits[rows]


def _fused(block: "torch.nn.Module") -> tuple[Block, Tensor]:
    """A block with its query, key and value projections as one matrix, [3D, D]."""
    assert isinstance(block, Block)
    attention = block.attn.attention
    weights = [linear.weight for linear in (attention.q_proj, attention.k_proj, attention.v_proj)]
    return block, torch.cat(weights)
