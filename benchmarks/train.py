"""Training speed beside transformers: one model, one batch, one kind of step, in one command.

    python -m benchmarks.train [--sizes 6x256 125m] [--rounds 3] [--steps 2] [--no-compile]

Sides: transformers' GPT-Neo in a plain loop, in float32 and in bfloat16 autocast, eager and
compiled; transformers' Trainer as its users run it; codekiln's learner in the same four ways. All
share the same weights, take the same batch and make the same AdamW step with clipping; their first
losses must agree, or nothing is printed. A round takes every side once, each in a process of its
own, as its users have it: in one process a side's speed hangs on what the others left in the heap.
A side makes a step that is not timed, then some that are. Speed is tokens per wall second of the
median step over all rounds.

Keys of the last line, for 6x256 (vocabulary 8,192) and, with `_125m`, for 12x768 (32,000):
    ratio_hf_fp32          our best over its float32 loop, eager, which is its default
    ratio_hf_fp32_compiled the same over its float32 loop where that was compiled
    ratio_hf_bf16          our best in bfloat16 over its best in bfloat16, compiled or not
    ratio_hf_trainer       our best over the Trainer at its best
    mfu                    on a GPU: model FLOPs of our best at 125m over the device's peak

On a GPU batches are larger, and the published sizes follow, ours alone, with the memory they took.
"""

import argparse
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from benchmarks.measuring import print_result, print_table
from components.artifacts.errors import CodekilnError
from components.model.config import ModelConfig
from components.model.names import count_parameters
from components.model.sizes import GPT_NEO_VOCABULARY, SIZES
from components.model.tensors import Tensors, initial_tensors
from components.training.blocks import Batch
from components.training.config import TrainingConfig
from components.training.flops import model_flops_utilisation
from components.training.torch_learner import TorchLearner

SHAPES = {
    "6x256": ModelConfig(
        vocabulary_size=8192, context_length=1024, num_layers=6, num_heads=4, hidden_size=256
    ),
    "125m": ModelConfig(vocabulary_size=32_000, context_length=1024),
}
RATE, BETAS, EPSILON, DECAY, CLIP = 1e-4, (0.9, 0.95), 1e-8, 0.1, 1.0
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


@dataclass(frozen=True)
class Side:
    """One way to make a step."""

    owner: Literal["transformers", "codekiln", "trainer"]
    dtype: str
    compiled: bool = False

    @property
    def name(self) -> str:
        """As the table has it."""
        owner = "transformers Trainer" if self.owner == "trainer" else self.owner
        return f"{owner} {self.dtype}{' compiled' if self.compiled else ''}"


Run = Callable[[int], tuple[float | None, list[float]]]
"""Makes a step and then some more: the first loss, if it is told, and seconds of the others."""


def timed(step: Callable[[], float]) -> Run:
    """Run a step several times; what a GPU still does belongs to the step."""

    def run(steps: int) -> tuple[float, list[float]]:
        first, seconds = step(), []
        for _ in range(steps):
            began = time.perf_counter()
            step()
            if CUDA:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return first, seconds

    return run


def our_side(
    shape: ModelConfig, tensors: Tensors, batch: Batch, dtype: str, *, compiled: bool
) -> Run:
    """The learner that the training step uses."""
    config = TrainingConfig(
        model=dataclasses.replace(shape, vocabulary_size=0),
        batch_size=len(batch.inputs),
        optimizer="adamw",
        learning_rate=RATE,
        weight_decay=DECAY,
        gradient_clip=CLIP,
        dtype=DTYPES[dtype],  # type: ignore[arg-type]
        compile_model=compiled,
    )
    learner = TorchLearner(config, shape, tensors)

    def step() -> float:
        loss = learner.gradients([batch])
        learner.update(1.0, measure=False)
        return loss

    return timed(step)


def their_model(shape: ModelConfig, tensors: Tensors) -> Any:
    """Transformers' GPT-Neo around the same weights."""
    config = transformers.GPTNeoConfig(
        vocab_size=shape.vocabulary_size,
        max_position_embeddings=shape.context_length,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        window_size=shape.window,
        attention_types=[[["global", "local"], shape.num_layers // 2]],
        attention_dropout=0.0,
        embed_dropout=0.0,
        resid_dropout=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    with torch.device("meta"):
        model = transformers.GPTNeoForCausalLM(config)
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    # mask buffers are no part of a checkpoint: a small model on the processor shows them
    for name, module in transformers.GPTNeoForCausalLM(config).named_modules():
        for key, buffer in module.named_buffers(recurse=False):
            model.get_submodule(name).register_buffer(key, buffer, persistent=False)
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    return model.to(DEVICE).train()  # type: ignore[arg-type]  # a decorated method


def their_groups(model: Any) -> list[dict[str, Any]]:
    """Decay on matrices and embeddings alone."""
    named = list(model.named_parameters())
    return [
        {"params": [p for _, p in named if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for _, p in named if p.dim() == 1], "weight_decay": 0.0},
    ]


def their_side(
    shape: ModelConfig, tensors: Tensors, batch: Batch, dtype: str, *, compiled: bool
) -> Run:
    """A plain loop over transformers' model, with the fastest optimizer of torch."""
    model = their_model(shape, tensors)
    run = torch.compile(model, dynamic=False) if compiled else model
    optimizer = torch.optim.AdamW(
        their_groups(model), lr=RATE, betas=BETAS, eps=EPSILON, fused=True
    )
    inputs, targets = (torch.from_numpy(x).to(DEVICE) for x in (batch.inputs, batch.targets))

    def step() -> float:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == "bf16"):
            logits = run(input_ids=inputs).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return timed(step)


class Clock(transformers.TrainerCallback):
    """When the Trainer's steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_arguments: Any, **_named: Any) -> None:
        """Note the time; what a GPU still does belongs to the step."""
        if CUDA:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def trainer_side(model: Any, batch: Batch, dtype: str) -> Run:
    """The Trainer of transformers: a new one each time, with its own optimizer."""

    def run(steps: int) -> tuple[None, list[float]]:
        return None, trainer_seconds(model, batch, dtype, steps)

    return run


def trainer_seconds(model: Any, batch: Batch, dtype: str, steps: int) -> list[float]:
    """Seconds of each step of transformers' Trainer after its first."""
    block = np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)
    rows = [{"input_ids": row, "labels": row} for row in block[:, : batch.inputs.shape[1]].tolist()]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=steps + 1,
            per_device_train_batch_size=len(rows),
            learning_rate=RATE,
            adam_beta2=BETAS[1],
            weight_decay=DECAY,
            max_grad_norm=CLIP,
            bf16=dtype == "bf16",
            use_cpu=not CUDA,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            log_level="error",
            dataloader_pin_memory=CUDA,
        )
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=rows, callbacks=[clock]
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return [later - earlier for earlier, later in zip(clock.times, clock.times[1:], strict=False)]


def batch_of(shape: ModelConfig, blocks: int) -> Batch:
    """The batch that all sides take."""
    rows = np.random.default_rng(0).integers(0, shape.vocabulary_size, (blocks, 1025))
    return Batch(rows[:, :-1], rows[:, 1:])


def run_side(size: str, side: Side, blocks: int, steps: int) -> tuple[float | None, list[float]]:
    """Make a side in this process and time it."""
    shape = SHAPES[size]
    batch, tensors = batch_of(shape, blocks), initial_tensors(shape, 0)
    if side.owner == "trainer":
        return trainer_side(their_model(shape, tensors), batch, side.dtype)(steps)
    make = our_side if side.owner == "codekiln" else their_side
    return make(shape, tensors, batch, side.dtype, compiled=side.compiled)(steps)


def start_side(size: str, side: Side, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a side in a process of its own; its first loss and the seconds of its steps.

    Raises:
        CodekilnError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.train", "--side", *dataclasses.astuple(side)]
    command[-1] = str(int(side.compiled))
    command += ["--sizes", size, "--blocks", str(blocks_of(arguments))]
    command += ["--steps", str(arguments.steps), "--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CodekilnError(f"{side.name} failed: {done.stderr[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def blocks_of(arguments: argparse.Namespace) -> int:
    """Blocks of a batch."""
    return int(arguments.blocks or (16 if CUDA else 1))


def check_losses(sides: Sequence[Side], losses: Mapping[str, float | None]) -> None:
    """Refuse sides that do not compute the same.

    Raises:
        CodekilnError: a first loss is another.
    """
    wanted = losses[sides[0].name]
    assert wanted is not None, "the first side tells its loss"
    for side in sides:
        told = losses[side.name]
        if told is not None and not abs(told - wanted) < TOLERANCE[side.dtype]:
            raise CodekilnError(
                f"expected the first loss {wanted:.4f}, got {told:.4f} of {side.name}: "
                "the sides do not compute the same"
            )


def compare(size: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Time all sides at one size and print their table; ratios by key."""
    shape, blocks = SHAPES[size], blocks_of(arguments)
    owners: tuple[Literal["transformers", "codekiln"], ...] = ("transformers", "codekiln")
    sides = [
        Side(owner, dtype, compiled)
        for owner in owners
        for dtype in DTYPES
        for compiled in ((False, True) if arguments.compile else (False,))
    ]
    sides += [Side("trainer", dtype) for dtype in DTYPES]
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(arguments.rounds):
        told = {side.name: start_side(size, side, arguments) for side in sides}
        check_losses(sides, {name: one["loss"] for name, one in told.items()})
        for name, one in told.items():
            seconds[name] += one["seconds"]
    tokens = blocks * shape.context_length
    speeds = {name: tokens / statistics.median(steps) for name, steps in seconds.items()}
    base = speeds["transformers fp32"]
    print(f"\n{size}: {count_parameters(shape):,} parameters, {blocks} x {shape.context_length}")
    print_table(
        ("side", "tokens/s", "over transformers fp32", "least", "most"),
        [
            (name, speed, speed / base, tokens / max(seconds[name]), tokens / min(seconds[name]))
            for name, speed in speeds.items()
        ],
    )
    return ratios(sides, speeds, shape, "_125m" if size == "125m" else "")


def ratios(
    sides: list[Side],
    speeds: dict[str, float],
    shape: ModelConfig,
    suffix: str,
) -> dict[str, float]:
    """The keys of the last line."""

    def best(owner: str, dtype: str = "") -> str:
        names = [one.name for one in sides if one.owner == owner and dtype in one.dtype]
        return max(names, key=lambda name: speeds[name])

    top = best("codekiln")
    print(f"our best: {top}; its best in bf16: {best('transformers', 'bf16')}")
    found = {
        f"tokens_per_second{suffix}": speeds[top],
        f"ratio_hf_fp32{suffix}": speeds[top] / speeds["transformers fp32"],
        f"ratio_hf_bf16{suffix}": speeds[best("codekiln", "bf16")]
        / speeds[best("transformers", "bf16")],
        f"ratio_hf_trainer{suffix}": speeds[top] / speeds[best("trainer")],
    }
    if "transformers fp32 compiled" in speeds:
        compiled = speeds["transformers fp32 compiled"]
        found[f"ratio_hf_fp32_compiled{suffix}"] = speeds[top] / compiled
    if CUDA and suffix:
        name = torch.cuda.get_device_name()
        used = model_flops_utilisation(shape, shape.context_length, speeds[top], name, 1)
        found["mfu"] = used or 0.0
    return {name: round(value, 4) for name, value in found.items()}


def published_sizes(arguments: argparse.Namespace) -> None:
    """Speed, MFU and memory of the published sizes on this GPU, ours alone."""
    rows = []
    for size, published in SIZES.items():
        shape = dataclasses.replace(published, vocabulary_size=GPT_NEO_VOCABULARY)
        ids = np.random.default_rng(0).integers(0, GPT_NEO_VOCABULARY, (4, 2049))
        batch = Batch(ids[:, :-1], ids[:, 1:])
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            run = our_side(shape, initial_tensors(shape, 0), batch, "bf16", compiled=True)
            _, seconds = run(max(3, arguments.steps))
        except CodekilnError as error:
            rows.append((size, 0.0, 0.0, str(error)[:60]))
            continue
        speed = batch.inputs.size / statistics.median(seconds)
        used = model_flops_utilisation(shape, 2048, speed, torch.cuda.get_device_name(), 1)
        memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
        rows.append((size, speed, used or 0.0, memory))
    print_table(("published size, bf16, compiled", "tokens/s", "mfu", "memory"), rows)


def main() -> None:
    """Run the sizes that were asked for."""
    parser = argparse.ArgumentParser(description="Training speed beside transformers.")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a side in a round")
    parser.add_argument("--blocks", type=int, default=0, help="of 1,024 tokens in a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    if arguments.side:
        owner, dtype, compiled = arguments.side
        side = Side(owner, dtype, compiled == "1")
        loss, seconds = run_side(arguments.sizes[0], side, arguments.blocks, arguments.steps)
        print(json.dumps({"loss": loss, "seconds": seconds}))
        return
    result: dict[str, object] = {"device": torch.cuda.get_device_name() if CUDA else "cpu"}
    for size in arguments.sizes:
        result |= compare(size, arguments)
    if CUDA:
        published_sizes(arguments)
    print_result(result)


if __name__ == "__main__":
    main()
