"""GPT-Neo in torch, with the tensor names of transformers and fused attention.

Shapes: B batch, T tokens, D hidden size, H heads, K head size, V vocabulary, W window,
S keys that a query may see, L layers.

What differs from a GPT-2 (Black et al. 2021, transformers `modeling_gpt_neo.py`): attention is not
divided by sqrt(K); odd layers see the last W tokens only, the token itself included; queries, keys
and values have no bias. transformers' own implementation computes T x T scores in float32; here
global layers use the fused causal kernel, and local layers attend block-wise, T x 2W.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from components.model.config import ModelConfig
from components.model.flex import attend_flex, window_mask
from components.model.names import AttentionKind, attention_kinds

UNSCALED = 1.0
"""GPT-Neo multiplies queries and keys without 1 / sqrt(K)."""

ROWS = 256
"""Queries whose scores are held at once where products are compiled: a local layer's window."""


@dataclass
class KeyValueCache:
    """Keys and values of the tokens read so far; all rows of the batch stand at one position.

    Sampling fills a cache of one row with the prompt, repeats it for the samples of a problem, and
    then feeds one token a row and call.
    """

    keys: Tensor
    """[L, B, H, capacity, K]"""

    values: Tensor
    """[L, B, H, capacity, K]"""

    length: int = 0
    """Tokens read so far: the position of the next one."""

    @classmethod
    def allocate(
        cls, config: ModelConfig, batch: int, capacity: int, dtype: torch.dtype = torch.float32
    ) -> "KeyValueCache":
        """An empty cache for `batch` rows of at most `capacity` tokens."""
        shape = (config.num_layers, batch, config.num_heads, capacity, config.head_size)
        return cls(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype))

    @property
    def capacity(self) -> int:
        """Tokens that a row can hold."""
        return self.keys.shape[3]

    def repeat(self, batch: int, capacity: int) -> "KeyValueCache":
        """A larger cache whose `batch` rows all hold what this cache's only row holds."""
        assert self.keys.shape[1] == 1, f"one row to repeat, not {self.keys.shape[1]}"
        assert capacity >= self.length, (capacity, self.length)
        layers, _, heads, _, head_size = self.keys.shape
        shape = (layers, batch, heads, capacity, head_size)
        wide = KeyValueCache(self.keys.new_zeros(shape), self.values.new_zeros(shape), self.length)
        wide.keys[:, :, :, : self.length] = self.keys[:, :, :, : self.length]
        wide.values[:, :, :, : self.length] = self.values[:, :, :, : self.length]
        return wide

    def select(self, rows: Tensor) -> "KeyValueCache":
        """A cache of some of the rows, in the order given; `rows` is an index tensor."""
        return KeyValueCache(self.keys[:, rows], self.values[:, rows], self.length)


class SelfAttention(nn.Module):
    """Unscaled causal attention, global or over the last W tokens."""

    def __init__(self, config: ModelConfig, kind: AttentionKind) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.window = config.window if kind == "local" else None
        self.flex_mask: BlockMask | None = None
        size = config.hidden_size
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.q_proj = nn.Linear(size, size, bias=False)
        self.out_proj = nn.Linear(size, size)

    def forward(self, x: Tensor, layer: int, cache: KeyValueCache | None) -> Tensor:
        """[B, T, D] to [B, T, D]; what comes in is the normed residual stream."""
        q, k, v = (self._heads(linear(x)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        if cache is None and self.flex_mask and self.flex_mask.shape[-1] == x.shape[1]:
            mixed = attend_flex(q, k, v, self.flex_mask)
        elif cache is None:
            mixed = attend(q, k, v, self.window)
        else:
            past, end = cache.length, cache.length + x.shape[1]
            cache.keys[layer, :, :, past:end] = k
            cache.values[layer, :, :, past:end] = v
            if past == 0:
                mixed = attend(q, k, v, self.window)
            else:
                keys, values = cache.keys[layer, :, :, :end], cache.values[layer, :, :, :end]
                mixed = attend_past(q, keys, values, self.window)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Causal attention of T tokens to themselves, [B, H, T, K] each; `window` None is global."""
    tokens = q.shape[2]
    if _is_fused_by_compiler(q):
        return _attend_rows(q, k, v, window)
    if window is None or tokens <= window:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=UNSCALED)
    if tokens % window == 0:
        return _attend_blocks(q, k, v, window)
    mask = causal_mask(tokens, tokens, window, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=UNSCALED)


def attend_past(q: Tensor, keys: Tensor, values: Tensor, window: int | None) -> Tensor:
    """Attention of the last T of S tokens to all S: q [B, H, T, K], keys and values [B, H, S, K].

    A local layer reads only the keys that its first query can see.
    """
    queries, seen = q.shape[2], keys.shape[2]
    if window is not None and seen > queries + window - 1:
        seen = queries + window - 1
        keys, values = keys[:, :, -seen:], values[:, :, -seen:]
    mask = None if queries == 1 else causal_mask(queries, seen, window, q.device)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=UNSCALED)


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """[queries, keys], True where a query sees a key; the last query stands at the last key."""
    i = torch.arange(keys - queries, keys, device=device)[:, None]
    j = torch.arange(keys, device=device)
    return (j <= i) if window is None else (j <= i) & (j > i - window)


def _is_fused_by_compiler(q: Tensor) -> bool:
    """Whether torch.compile makes more of plain products than SDPA is: in bfloat16 on a processor.

    At 12 heads of 64 and 1,024 tokens, forward and backward on two cores: 19 ms beside 37 (local
    layers 17 beside 32); in float32 the two are equal.
    """
    return torch.compiler.is_compiling() and q.device.type == "cpu" and q.dtype == torch.bfloat16


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """`attend` by plain products: ROWS queries at once, with the keys that one of them sees."""
    parts = []
    q, k, v = (x.contiguous() for x in (q, k, v))  # once, not for each product
    for start in range(0, q.shape[2], ROWS):
        stop = min(start + ROWS, q.shape[2])
        first = 0 if window is None else max(0, start + 1 - window)
        mask = causal_mask(stop - start, stop - first, window, q.device)
        scores = q[:, :, start:stop] @ k[:, :, first:stop].transpose(-1, -2)
        shares = torch.softmax(scores.masked_fill(~mask, -torch.inf), -1, dtype=torch.float32)
        parts.append(shares.to(v.dtype) @ v[:, :, first:stop])
    return torch.cat(parts, dim=2)


def _attend_blocks(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Exact sliding window: queries of block n see keys of blocks n - 1 and n.

    The T / W blocks of a row become rows of the batch: the fused kernels take four dimensions, and
    with five torch multiplies matrices one by one.
    """
    batch, heads, tokens, size = q.shape
    blocks = tokens // window
    mask = causal_mask(window, 2 * window, window, q.device).repeat(blocks, 1, 1)
    mask[0, :, :window] = False  # nothing lies before the first block
    own, keys, values = (x.reshape(batch, heads, blocks, window, size) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(
        own.transpose(1, 2).flatten(0, 1),
        _with_previous_block(keys),
        _with_previous_block(values),
        attn_mask=mask[:, None].repeat(batch, 1, 1, 1),
        scale=UNSCALED,
    )
    parts = mixed.reshape(batch, blocks, heads, window, size)
    return parts.transpose(1, 2).flatten(2, 3)


def _with_previous_block(x: Tensor) -> Tensor:
    """[B, H, N, W, K] to [B * N, H, 2W, K]: each block behind the one before it."""
    before = F.pad(x[:, :, :-1], (0, 0, 0, 0, 1, 0))
    return torch.cat([before, x], dim=3).transpose(1, 2).flatten(0, 1)


class Attention(nn.Module):
    """Holds the attention one level down, where transformers' names have it."""

    def __init__(self, config: ModelConfig, kind: AttentionKind) -> None:
        super().__init__()
        self.attention = SelfAttention(config, kind)

    def forward(self, x: Tensor, layer: int, cache: KeyValueCache | None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.attention(x, layer, cache)
        return out


class FeedForward(nn.Module):
    """Two layers with the tanh approximation of GELU (`gelu_new`)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.c_proj = nn.Linear(4 * config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return out


class Block(nn.Module):
    """One transformer block, norms before attention and feed-forward."""

    def __init__(self, config: ModelConfig, kind: AttentionKind) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, kind)
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, layer: int, cache: KeyValueCache | None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x = x + self.attn(self.ln_1(x), layer, cache)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """Embeddings, blocks, final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocabulary_size, config.hidden_size)
        self.wpe = nn.Embedding(config.context_length, config.hidden_size)
        kinds = attention_kinds(config.num_layers)
        self.h = nn.ModuleList(Block(config, kind) for kind in kinds)
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)

    def forward(self, ids: Tensor, cache: KeyValueCache | None) -> Tensor:
        """[B, T] to [B, T, D]."""
        past = cache.length if cache else 0
        positions = self.wpe.weight[past : past + ids.shape[1]]
        x = self.wte(ids) + positions
        for layer, block in enumerate(self.h):
            x = block(x, layer, cache)
        if cache:
            cache.length += ids.shape[1]
        out: Tensor = self.ln_f(x)
        return out


class GptNeo(nn.Module):
    """GPT-Neo with tied embeddings. Its state dict is what transformers' checkpoints hold."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vocabulary_size > 0, "a model needs its vocabulary's size"
        self.config = config
        self.transformer = Transformer(config)

    def hidden(self, ids: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """The normed residual stream of each token, [B, T] to [B, T, D].

        Args:
            ids: [B, T] token ids.
            cache: what the rows hold already; it takes these tokens in.

        Raises:
            ValueError: more tokens than the model has positions or the cache has places.
        """
        end = ids.shape[1] + (cache.length if cache else 0)
        limit = (
            min(self.config.context_length, cache.capacity)
            if cache
            else (self.config.context_length)
        )
        if end > limit:
            raise ValueError(f"expected at most {limit} tokens a row, got {end}")
        out: Tensor = self.transformer(ids, cache)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next token, [..., D] to [..., V]."""
        return F.linear(hidden, self.output_weight)

    def forward(self, ids: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Unnormalised log-probabilities of the next token after each, [B, T] to [B, T, V].

        Sampling needs the last token's only: `logits(hidden(ids, cache)[:, -1])` is cheaper.
        """
        return self.logits(self.hidden(ids, cache))

    def use_flex(self, tokens: int, device: torch.device) -> None:
        """Let local layers attend to sequences of this many tokens by torch's flex kernel."""
        for block in self.transformer.h:
            assert isinstance(block, Block)
            attention = block.attn.attention
            if attention.window is not None and attention.window < tokens:
                attention.flex_mask = window_mask(tokens, attention.window, device)

    @property
    def output_weight(self) -> Tensor:
        """The token embedding, [V, D], which is the output layer as well."""
        return self.transformer.wte.weight
