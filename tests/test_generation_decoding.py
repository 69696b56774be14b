"""Decoding with caches gives what the whole model gives, and no row sees the rest of its batch."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from components.generation.arithmetic import Arithmetic, settle_arithmetic
from components.generation.decoding import NeoDecoder, PackedNeo
from components.generation.projection import Projection, _packs
from components.model.config import InitializationConfig, ModelConfig
from components.model.folder import export_model
from components.model.initialization import initialize
from components.model.neo import GptNeo

SHAPE = ModelConfig(
    vocabulary_size=400, context_length=96, num_layers=4, num_heads=2, hidden_size=16, window=8
)
STEPS = 30


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def neo() -> GptNeo:
    return initialize(SHAPE, 1, InitializationConfig(standard_deviation=0.3)).eval()


@pytest.fixture(scope="module")
def packed(neo: GptNeo) -> PackedNeo:
    return PackedNeo(neo, Arithmetic())


def _prompts(sizes: Sequence[int], seed: int = 0) -> list[tuple[int, ...]]:
    """A prompt of each size; the same size gives the same prompt."""
    return [
        tuple(np.random.default_rng([seed, size]).integers(0, 400, size).tolist()) for size in sizes
    ]


def _forced(rows: Sequence[int]) -> Tensor:
    """[STEPS, B] tokens to go on with; the same number gives a row the same ones."""
    tokens = [np.random.default_rng(row).integers(0, 400, STEPS) for row in rows]
    return torch.from_numpy(np.stack(tokens, axis=1))


def _play(decoder: NeoDecoder, forced: Tensor) -> Tensor:
    """[STEPS, B, V] logits before each forced token."""
    seen = []
    with torch.inference_mode():
        for ids in forced:
            seen.append(decoder.logits.clone())
            decoder.step(ids)
    return torch.stack(seen)


def _decode(packed: PackedNeo, sizes: Sequence[int], rows: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts(sizes), STEPS)
    return _play(decoder, _forced(rows))


SIZES = (3, 40, 40, 40, 1, 17, 8, 9, 9, 25, 32)
"""Shorter and longer than the window of 8, and than 16 columns; some shared by several rows."""


def test_every_step_gives_the_logits_of_the_whole_model(neo: GptNeo, packed: PackedNeo) -> None:
    rows = range(len(SIZES))
    found = _decode(packed, SIZES, rows)
    forced, prompts = _forced(rows), _prompts(SIZES)
    with torch.inference_mode():
        for row, prompt in enumerate(prompts):
            whole = neo(torch.tensor([[*prompt, *forced[:, row].tolist()]]))[0]
            expected = whole[len(prompt) - 1 : -1]
            torch.testing.assert_close(found[:, row], expected, rtol=1e-4, atol=1e-4)


def _windowed(window: int) -> PackedNeo:
    shape = dataclasses.replace(SHAPE, window=window)
    model = initialize(shape, 1, InitializationConfig(standard_deviation=0.3))
    return PackedNeo(model, Arithmetic())


@pytest.mark.parametrize("window", [8, 24])
def test_at_a_padded_shape_a_row_has_the_same_bits_whatever_stands_beside_it(window: int) -> None:
    packed, rows = _windowed(window), list(range(len(SIZES)))
    found = _decode(packed, SIZES, rows)
    backwards = _decode(packed, SIZES[::-1], rows[::-1]).flip(1)
    assert torch.equal(found, backwards)
    # The same rows, the same longest prompt, other neighbours.
    others = [3, 40, 22, 40, 2, 2, 8, 2, 31, 5, 32]
    mixed = _decode(packed, others, [0, 1, 70, 3, 71, 72, 6, 73, 74, 75, 10])
    for row in (0, 1, 3, 6, 10):
        assert torch.equal(found[:, row], mixed[:, row])


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512" or not _packs(),
    reason="other kernels may add in another order where there are more or fewer rows",
)
@pytest.mark.parametrize("window", [8, 24])
def test_with_avx512_it_has_them_in_any_batch(window: int) -> None:
    packed, rows = _windowed(window), list(range(len(SIZES)))
    found = _decode(packed, SIZES, rows)
    more = _decode(packed, (*SIZES, 40, 11, 11, 62), [*rows, 90, 91, 92, 93])
    assert torch.equal(found, more[:, : len(rows)])
    for row in rows:
        alone = _decode(packed, [SIZES[row]], [row])
        assert torch.equal(found[:, row], alone[:, 0])


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512" or not _packs(),
    reason="other kernels may add in another order where there are more or fewer rows",
)
def test_with_avx512_long_prompts_have_them_in_any_batch() -> None:
    """MKL cuts sums of more than 192 numbers at a place that hangs on their number."""
    shape = ModelConfig(
        vocabulary_size=400,
        context_length=400,
        num_layers=2,
        num_heads=4,
        hidden_size=256,
        window=256,
    )
    model = initialize(shape, 0, InitializationConfig(standard_deviation=0.1))
    packed = PackedNeo(model, Arithmetic())
    sizes = (77, 100, 130, 180, 220, 270, 300)
    found = _decode(packed, sizes, range(7))
    for row, size in enumerate(sizes):
        assert torch.equal(found[:, row], _decode(packed, [size], [row])[:, 0])


def test_rows_that_stay_are_not_changed_by_those_that_leave(packed: PackedNeo) -> None:
    rows = list(range(len(SIZES)))
    found = _decode(packed, SIZES, rows)
    kept = [1, 3, 5, 9]
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts(SIZES), STEPS)
        forced = _forced(rows)
        _play(decoder, forced[:7])
        decoder.keep(torch.tensor(kept))
    assert torch.equal(_play(decoder, forced[7:, kept]), found[7:, kept])
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts(SIZES), STEPS)
        _play(decoder, forced[:12])
        decoder.keep(torch.tensor(kept))
        decoder.keep(torch.tensor([2]))
    assert torch.equal(_play(decoder, forced[12:, [5]]), found[12:, [5]])


def test_whole_caches_through_masks_give_the_same_as_the_columns_that_count(
    packed: PackedNeo,
) -> None:
    """What a CUDA graph captures reads whole caches; everything but the capture runs here."""
    rows = range(len(SIZES))
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts(SIZES), STEPS)
        decoder.is_static = True
    found = _play(decoder, _forced(rows))
    torch.testing.assert_close(found, _decode(packed, SIZES, rows), rtol=1e-4, atol=1e-4)


def test_a_prompt_is_read_once_however_many_rows_share_it(
    packed: PackedNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = NeoDecoder._read

    def counted(self: NeoDecoder, group: int, ids: Sequence[int]) -> Tensor:
        read.append(len(ids))
        return whole(self, group, ids)

    monkeypatch.setattr(NeoDecoder, "_read", counted)
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts([5] * 20 + [9] * 20), STEPS)
    assert read == [5, 9]
    shared = [keys.shape for keys, _, _ in decoder.shared]
    # Two prompts in 16 columns, whatever the number of rows; local layers hold their window.
    assert {(shape[0], shape[2]) for shape in shared} == {(2, 16)}


def test_local_layers_hold_and_read_their_window_only(packed: PackedNeo) -> None:
    with torch.inference_mode():
        decoder = NeoDecoder(packed, _prompts([60]), STEPS)
    widths = [keys.shape[2] for keys, _, _ in decoder.shared]
    assert widths == [64, 16, 64, 16]
    decoder.num_taken = 20
    prompt, own = decoder._visible(packed.layers[1], 16)
    assert own == slice(13, 21)  # 8 keys, its own included
    assert not range(16)[prompt]
    assert decoder._visible(packed.layers[0], 64) == (slice(None), slice(21))


def test_bfloat16_stays_near_float32(neo: GptNeo, packed: PackedNeo) -> None:
    rounded = PackedNeo(neo, Arithmetic("cpu", "bfloat16"))
    rows = range(len(SIZES))
    exact, near = _decode(packed, SIZES, rows), _decode(rounded, SIZES, rows)
    assert near.dtype == torch.float32
    assert not torch.equal(exact, near)
    assert (exact - near).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_product_is_the_plain_one(dtype: torch.dtype) -> None:
    stream = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=stream) for size in ((9, 24), (40, 24), (40,)))
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    plain = torch.nn.functional.linear(x, weight, bias)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    found = Projection(weight, bias)(x)
    torch.testing.assert_close(found, plain, rtol=tolerance, atol=tolerance)
    widened = torch.nn.functional.gelu(plain, approximate="tanh")
    found = Projection(weight, bias, gelu=True)(x)
    torch.testing.assert_close(found, widened, rtol=tolerance, atol=tolerance)


def test_greedy_tokens_are_those_of_transformers(neo: GptNeo, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for name, data in export_model(neo, bos_id=0, eos_id=0).items():
        (tmp_path / name).write_bytes(data)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    prompts = _prompts([23] * 4)
    with torch.inference_mode():
        expected = theirs.generate(
            torch.tensor(prompts),
            attention_mask=torch.ones(4, 23, dtype=torch.long),
            do_sample=False,
            max_new_tokens=STEPS,
            eos_token_id=None,
        )[:, 23:]
        decoder = NeoDecoder(PackedNeo(neo, Arithmetic()), prompts, STEPS)
        found = []
        for _ in range(STEPS):
            found.append(decoder.logits.argmax(-1))
            decoder.step(found[-1])
    assert torch.equal(torch.stack(found, 1), expected)


def test_auto_takes_bfloat16_only_where_the_processor_multiplies_it(tmp_path: Path) -> None:
    processor = tmp_path / "cpuinfo"
    processor.write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n")
    assert settle_arithmetic("auto", processor) == Arithmetic("cpu", "bfloat16")
    assert settle_arithmetic("float32", processor) == Arithmetic("cpu", "float32")
    processor.write_text("flags\t\t: fpu avx2 avx512f\n")
    assert settle_arithmetic("auto", processor) == Arithmetic("cpu", "float32")
    assert settle_arithmetic("bfloat16", processor) == Arithmetic("cpu", "bfloat16")
    assert settle_arithmetic("auto", tmp_path / "none") == Arithmetic("cpu", "float32")
