"""The command `codekiln`: run, compile, list, and every step by its own name."""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import components
from components.artifacts.errors import CodekilnError
from components.artifacts.storage import open_storage
from components.stage.command import (
    EXIT_INTERRUPTED,
    OneLineParser,
    add_config_flags,
    make_folder,
    read_config_flags,
    run_guarded,
    run_step_command,
    say,
)
from components.stage.config import unknown_name
from components.stage.execution import Execution
from components.stage.step import find_step, step_names
from pipelines.data_mount import DataMount, add_claim_flag

if TYPE_CHECKING:
    from pipelines.recipes import Recipe

USAGE = """\
codekiln: public source code in, a trained and measured code language model out

  codekiln run RECIPE [--data-root DIR] [--training.max-steps 200 ...]
                                    run a recipe on this machine
  codekiln compile [RECIPE ...] --out DIR
                                    write Kubeflow's IR and the objects for kubectl apply
  codekiln compare RECIPE ... [--scale tiny] [--seeds 3]
                                    train as recipes do, on one corpus at the same tokens
  codekiln recipes                  what can be run
  codekiln runs                     what was run, and where it lies
  codekiln evaluate MODEL_OR_SAMPLES [--preset pycodegpt] [--benchmarks humaneval]
                                    sample, run and score a model, or score a samples file
  codekiln compare-scores FIRST SECOND
                                    are two evaluations told apart, problem by problem
  codekiln dedup-query FILE ... --documents DIR
                                    documents of a finished corpus that are like a file
  codekiln crawl-explain SHA256     where a file of a corpus is from, under what licence
  codekiln crawl-forget OWNER/NAME  take a repository out of every crawl, name what it reached
  codekiln data COMMAND             look into artifacts: ls, show, verify, explain, export; rm, gc
  codekiln submit RECIPE --host URL run a recipe on a Kubeflow cluster, and follow it
  codekiln reap                     remove from a cluster what a launcher left behind

one step, as a person or a Kubernetes Job runs it (codekiln STEP --help):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments == ["--version"]:
        sys.stdout.write(f"codekiln {version('codekiln')}\n")
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE + _step_lines())
        return 0
    name, rest = arguments[0], arguments[1:]
    return run_guarded(lambda: _dispatch(name, rest), name)


def _dispatch(name: str, rest: Sequence[str]) -> int:
    _check_origin()
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "run": _run,
        "compile": _compile,
        "compare": _compare,
        "recipes": _recipes,
        "runs": _runs,
        "dedup-query": _dedup_query,
        "crawl-explain": _crawl_explain,
        "crawl-forget": _crawl_forget,
        "data": _data,
        "evaluate": _evaluate,
        "compare-scores": _compare_scores,
        "submit": _submit,
        "reap": _reap,
    }
    if name in commands:
        quiet = ("run", "compile", "compare", "evaluate", "crawl-forget", "submit")
        return _run_command(commands[name], rest, prints=name not in quiet)
    if name not in step_names():
        raise unknown_name("command", name, {*commands, *step_names()}, "codekiln")
    return run_step_command(find_step(name), rest)


def _run_command(
    command: Callable[[Sequence[str]], int], rest: Sequence[str], *, prints: bool
) -> int:
    """Run a command; one that only prints ends well where its reader has seen enough (`| head`)."""
    try:
        code = command(rest)
        sys.stdout.flush()
    except BrokenPipeError:
        if not prints:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at exit
        return 0
    return code


def _step_lines() -> str:
    return "".join(f"  {name:<17} {find_step(name).summary}\n" for name in step_names())


def _check_origin() -> None:
    """Refuse to run with another package's `components`: the name is a common one."""
    here = Path(__file__).resolve().parents[1]
    there = Path(components.__path__[0]).resolve().parent
    if here != there:
        raise CodekilnError(
            f"expected the package 'components' in {here}, got the one in {there}: start codekiln "
            "in another folder or with PYTHONSAFEPATH=1"
        )


def _run(argv: Sequence[str]) -> int:
    from pipelines.recipes import Recipe, find_recipe

    parser = OneLineParser(
        prog="codekiln run",
        usage="codekiln run RECIPE [--data-root DIR] [--STEP.NAME VALUE ...]",
        description="Run a recipe on this machine: the compiled graph, a process a step. What is "
        "finished is reused; a killed run goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name that `codekiln recipes` lists")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where the run's folder goes (default: runs)",
    )
    parser.add_argument(
        "--through",
        choices=("walk", "kfp"),
        default="walk",
        help="walk the graph here (default), or hand it to kfp's local runner",
    )
    add_config_flags(
        parser.add_argument_group("execution (never changes what comes out)"), Execution
    )
    for step in step_names():
        group = parser.add_argument_group(f"recipe: {step}")
        add_config_flags(group, find_step(step).config, f"{step}.", "the recipe's")
    arguments = parser.parse_known(argv)
    recipe = read_config_flags(arguments, find_recipe(arguments.recipe))
    assert isinstance(recipe, Recipe)
    recipe = recipe.with_text("publishing.recipe", _made_by(arguments, recipe))
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)
    return _run_recipe(recipe, execution, arguments.runs.absolute(), arguments.through)


def _made_by(arguments: argparse.Namespace, recipe: "Recipe") -> str:
    """The recipe with the values that were changed, as `codekiln run` takes it: for the cards."""
    parts = [recipe.name]
    for name, text in sorted(vars(arguments).items()):
        _, _, dotted = name.rpartition(":")
        if name.startswith("config:") and text is not None and "." in dotted:
            parts += [f"--{dotted.replace('_', '-')}", text]
    return shlex.join(parts)


def _run_recipe(recipe: "Recipe", execution: Execution, runs: Path, through: str) -> int:
    from pipelines.kfp_local import run_through_kfp
    from pipelines.local import collect_results, say_results, walk_graph
    from pipelines.runs import Run, command_line, new_run_folder

    if "://" not in execution.data_root:
        execution = dataclasses.replace(
            execution, data_root=str(Path(execution.data_root).absolute())
        )
    open_storage(execution.data_root)  # refuses a scheme before there is a folder
    run = Run(new_run_folder(runs, recipe.name), recipe, execution, command_line())
    say(f"run: {recipe.name} in {run.folder}, data in {execution.data_root}")
    try:
        run.write()
        (walk_graph if through == "walk" else run_through_kfp)(run)
        collect_results(run)
        run.status = "done"
    except KeyboardInterrupt:
        run.status, run.error = "stopped", "interrupted"
        say(f"run: stopped; the same command goes on where it was: {shlex.join(run.command)}")
        return EXIT_INTERRUPTED
    except Exception as error:
        run.status, run.error = "failed", str(error)
        raise
    finally:
        run.write()
    say_results(run)
    return 0


def _compile(argv: Sequence[str]) -> int:
    from pipelines.recipes import find_recipe, recipe_names

    parser = OneLineParser(
        prog="codekiln compile",
        description="Write <recipe>.yaml (Kubeflow's IR) and <recipe>.crd.yaml (the Pipeline and "
        "PipelineVersion objects for kubectl apply). None named: all recipes.",
        allow_abbrev=False,
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_claim_flag(parser)
    add_config_flags(parser.add_argument_group("defaults of the execution parameters"), Execution)
    arguments = parser.parse_known(argv)
    recipes = [find_recipe(name) for name in arguments.recipes or recipe_names()]
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)

    from pipelines.compiling import compile_crd, compile_ir

    mount = DataMount.of(arguments.data_claim, execution.data_root)
    make_folder(arguments.out, "--out")
    for recipe in recipes:
        ir, crd = (arguments.out / f"{recipe.name}.{kind}" for kind in ("yaml", "crd.yaml"))
        compile_ir(recipe, execution, ir, mount)
        compile_crd(recipe, execution, crd, mount)
        sys.stdout.write(f"{ir}\n{crd}\n")
    return 0


def _compare(argv: Sequence[str]) -> int:
    from pipelines.comparing import run_compare

    return run_compare(argv)


def _recipes(argv: Sequence[str]) -> int:
    from pipelines.recipes import find_recipe, recipe_names

    OneLineParser(prog="codekiln recipes", description="List the recipes.").parse_known(argv)
    for name in recipe_names():
        sys.stdout.write(f"{name:<22} {find_recipe(name).summary}\n")
    return 0


def _runs(argv: Sequence[str]) -> int:
    from pipelines.runs import format_runs, list_runs

    parser = OneLineParser(prog="codekiln runs", description="List the runs, oldest first.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    records = list_runs(parser.parse_known(argv).runs.absolute())
    sys.stdout.write((format_runs(records) or "no runs yet: codekiln run tiny") + "\n")
    return 0


def _dedup_query(argv: Sequence[str]) -> int:
    from pipelines.dedup_query import run_dedup_query

    return run_dedup_query(argv)


def _evaluate(argv: Sequence[str]) -> int:
    from pipelines.evaluate import run_evaluate

    return run_evaluate(argv)


def _compare_scores(argv: Sequence[str]) -> int:
    from pipelines.compare_scores import run_compare_scores

    return run_compare_scores(argv)


def _crawl_explain(argv: Sequence[str]) -> int:
    from pipelines.crawling import run_explain

    return run_explain(argv)


def _crawl_forget(argv: Sequence[str]) -> int:
    from pipelines.crawling import run_forget

    return run_forget(argv)


def _data(argv: Sequence[str]) -> int:
    from pipelines.data import run_data

    return run_data(argv)


def _submit(argv: Sequence[str]) -> int:
    from pipelines.submitting import run_submit

    return run_submit(argv)


def _reap(argv: Sequence[str]) -> int:
    from pipelines.reaping import run_reap

    return run_reap(argv)


if __name__ == "__main__":
    sys.exit(main())
