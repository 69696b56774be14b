"""`codekiln compare RECIPE ...`: the recipes' ways to train, on one corpus, model and token count.

What is compared is how recipes train: optimizer, rates, schedule, initial weights, clipping.
Corpus, tokenizer, shape of the model and the number of tokens are those of the scale, so that a
difference in bits per byte has one cause. Steps of a schedule keep their share of the run.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.manifest import LOCATION_NAME
from components.stage.command import OneLineParser, add_config_flags, read_config_flags, say
from components.stage.execution import METRICS_NAME, Execution
from components.training.config import ScheduleConfig, TrainingConfig
from pipelines.processes import run_process
from pipelines.recipes import Recipe, find_recipe

SCALES = ("tiny",)
"""Recipes whose corpus, model and tokens a comparison can be made at."""

CORPUS = ("crawl", "clean", "dedup", "decontamination", "tokenizer", "packing")
MEASURE = "bits_per_byte"


def scaled_training(recipe: Recipe, scale: Recipe, seed: int) -> TrainingConfig:
    """A recipe's way to train, at the model, batch and tokens of another recipe.

    Args:
        recipe: says optimizer, rates, schedule, initial weights.
        scale: says model, batch, steps, dtype.
        seed: of weights and batches.
    """
    own, there = recipe.training, scale.training
    return dataclasses.replace(
        own,
        model=there.model,
        pretrained_folder="",
        batch_size=there.batch_size,
        gradient_accumulation=there.gradient_accumulation,
        ramp_from=0,
        ramp_steps=0,
        schedule=scaled_schedule(own.schedule, there.max_steps / own.max_steps),
        max_steps=there.max_steps,
        dtype=there.dtype,
        compile_model=there.compile_model,
        validate_every_steps=0,
        publish="last",
        checkpoint_every_steps=there.checkpoint_every_steps,
        log_every_steps=there.log_every_steps,
        seed=seed,
    )


def scaled_schedule(schedule: ScheduleConfig, share: float) -> ScheduleConfig:
    """The schedule of a run whose steps are so many times as many; none vanishes."""

    def scaled(steps: int) -> int:
        return max(1, round(steps * share)) if steps else 0

    return dataclasses.replace(
        schedule,
        warmup_steps=scaled(schedule.warmup_steps),
        decay_steps=scaled(schedule.decay_steps),
    )


def run_compare(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    parser = OneLineParser(
        prog="codekiln compare",
        usage="codekiln compare RECIPE ... [--scale tiny] [--seeds 3] [--data-root DIR]",
        description="Train as several recipes do, on one corpus at the same tokens, and print bits "
        "per byte on held-out repositories with their spread over seeds. What is finished is "
        "reused.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="a name that `codekiln recipes` lists"
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="tiny",
        help="the recipe whose corpus, model and tokens all have (default: tiny; minutes a "
        "training on two cores)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="trainings of a recipe (default: 3)"
    )
    parser.add_argument(
        "--max-steps", type=int, default=0, metavar="N", help="updates; 0 takes the scale's"
    )
    add_config_flags(
        parser.add_argument_group("execution (never changes what comes out)"), Execution
    )
    arguments = parser.parse_known(argv)
    if arguments.seeds < 1:
        raise ConfigError(f"expected --seeds of at least 1, got {arguments.seeds}")
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)
    scale = find_recipe(arguments.scale)
    if arguments.max_steps:
        scale = scale.with_text("training.max_steps", str(arguments.max_steps))
    recipes = [find_recipe(name) for name in arguments.recipes]
    folder = Path(execution.data_root).absolute() / "compare"
    corpus = _make_corpus(scale, execution, folder)
    rows = {
        recipe.name: [
            _train(recipe, scale, seed, corpus, execution, folder)
            for seed in range(arguments.seeds)
        ]
        for recipe in recipes
    }
    sys.stdout.write(format_comparison(rows, scale) + "\n")
    return 0


def format_comparison(rows: dict[str, list[float]], scale: Recipe) -> str:
    """A table of bits per byte by recipe, the best first, and a line of JSON."""
    training = scale.training
    tokens = training.max_steps * training.gradient_accumulation * training.tokens_per_pass
    lines = [
        f"bits per byte on held-out repositories after {tokens:,} tokens, scale {scale.name}",
        "| recipe | mean | standard deviation | lowest | highest | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in sorted(rows.items(), key=lambda row: statistics.mean(row[1])):
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
        lines.append(
            f"| {name} | {statistics.mean(values):.4f} | {spread} | {min(values):.4f} "
            f"| {max(values):.4f} | {len(values)} |"
        )
    return "\n".join([*lines, json.dumps({MEASURE: rows, "tokens": tokens})])


def _make_corpus(scale: Recipe, execution: Execution, folder: Path) -> dict[str, Path]:
    """The scale's tokens and tokenizer, made or found; the folders of their manifests."""
    made: dict[str, Path] = {}
    documents: Path | None = None
    for step in CORPUS:
        inputs = {"documents": documents} if documents else {}
        if step == "packing":
            inputs["tokenizer"] = made["tokenizer"]
        made[step] = _run_step(
            step, scale.steps()[step].to_json(), inputs, execution, folder / step
        )
        if step != "tokenizer":
            documents = made[step]
    return {"tokens": made["packing"], "tokenizer": made["tokenizer"]}


def _train(
    recipe: Recipe,
    scale: Recipe,
    seed: int,
    corpus: dict[str, Path],
    execution: Execution,
    folder: Path,
) -> float:
    """Bits per byte of one training."""
    config = scaled_training(recipe, scale, seed)
    output = folder / f"{recipe.name}-{seed}"
    _run_step("training", config.to_json(), corpus, execution, output)
    value = float(json.loads((output / METRICS_NAME).read_text())[MEASURE])
    say(f"compare: {recipe.name}, seed {seed}: {value:.4f} bits per byte")
    return value


def _run_step(
    step: str, config: object, inputs: dict[str, Path], execution: Execution, output: Path
) -> Path:
    """One step as its command; the folder with the copy of its manifest.

    Raises:
        StepFailedError: the step has said why.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "config.json"
    path.write_text(json.dumps(config))
    where = {name.replace("_", "-"): value for name, value in execution.to_json().items()}
    where["data-root"] = Path(execution.data_root).absolute()
    code = run_process(
        [
            step,
            *(f"--{name}={place}" for name, place in inputs.items()),
            f"--output={output}",
            f"--config={path}",
            *(
                f"--{name}={str(value).lower() if value in (True, False) else value}"
                for name, value in where.items()
            ),
        ]
    )
    if code or not (output / LOCATION_NAME).is_file():
        raise StepFailedError(f"the step {step} ended with exit code {code}: see its line above")
    return output
