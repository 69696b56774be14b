"""Run a recipe on one machine: walk the compiled graph, a process a step.

The graph is the one that a cluster runs, read back from its compiled form. Each task is started
as the command that a person would type, with its config in a file.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from components.artifacts.artifact import Artifact
from components.artifacts.errors import StepFailedError
from components.artifacts.manifest import LOCATION_NAME
from components.stage.command import EXIT_INTERRUPTED, say
from components.stage.config import fields_of
from components.stage.execution import ERROR_NAME, LOCAL_ONLY, Execution
from pipelines.compiling import pipeline_parameters, read_ir
from pipelines.graph import Task, read_tasks
from pipelines.processes import run_process
from pipelines.runs import LOG_NAME, STEPS_NAME, Run

EXECUTION_NAMES = tuple(
    field.name for field in fields_of(Execution) if field.name not in LOCAL_ONLY
)


def walk_graph(run: Run) -> None:
    """Run every task of the recipe's compiled graph in order, and record each.

    Raises:
        StepFailedError: a step ended with an error; the text is the step's own.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    parameters = pipeline_parameters(run.recipe, run.execution)
    tasks = read_tasks(read_ir(run.recipe, run.execution), parameters)
    folders = {task.path: run.folder / STEPS_NAME / task.path for task in tasks}
    for number, task in enumerate(tasks, start=1):
        started = time.monotonic()
        _tell(run, f"[{number}/{len(tasks)}] {task.step} ...")
        _run_task(run, task, folders)
        run.add_step(task.path, folders[task.path], time.monotonic() - started)
        run.write()
        _say_done(run, number, len(tasks))


def _run_task(run: Run, task: Task, folders: dict[str, Path]) -> None:
    folder = folders[task.path]
    folder.mkdir(parents=True)
    config = folder / "config.json"
    config.write_text(json.dumps(task.parameters["config"], indent=1, sort_keys=True) + "\n")
    arguments = [task.step, "--config", str(config), "--output", str(folder)]
    arguments += ["--log", str(run.folder / LOG_NAME)]
    for name, producer in sorted(task.inputs.items()):
        arguments += [f"--{name.replace('_', '-')}", str(folders[producer])]
    for name in EXECUTION_NAMES:
        arguments += [f"--{name.replace('_', '-')}", str(task.parameters[name])]
    if run.execution.allow_unsafe:
        arguments += ["--allow-unsafe", "true"]
    code = run_process(arguments)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != 0 or not (folder / LOCATION_NAME).is_file():
        raise StepFailedError(
            f"step {task.step} failed: {_reason(folder, code)}; log: {run.folder / LOG_NAME}"
        )


def _reason(folder: Path, code: int) -> str:
    """The step's own error line; where it left none, how its process ended."""
    error = folder / ERROR_NAME
    if error.is_file():
        return error.read_text().strip()
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (memory was short, most often)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{hint}; run again to go on"
    return f"its process ended with exit code {code}"


def _say_done(run: Run, number: int, total: int) -> None:
    step = run.steps[-1]
    counts = step["counts"]
    documents = f", {counts['files']:,} files" if "files" in counts else ""
    how = "reused" if step["reused"] else f"{step['seconds']:.1f} s"
    _tell(run, f"[{number}/{total}] {step['step']} {how}{documents}, digest {step['digest'][:12]}")


def _tell(run: Run, text: str) -> None:
    """A line on the terminal and in the run's log."""
    say(f"run: {text}")
    with (run.folder / LOG_NAME).open("a", encoding="utf-8") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} run {text}\n")


def collect_results(run: Run) -> None:
    """Put the model folder and the report into the run's folder, whole or not at all.

    Raises:
        CorruptArtifactError: a published file is damaged.
    """
    publication = Artifact.open(next(s["uri"] for s in run.steps if s["step"] == "publishing"))
    unfinished = run.folder / f".model-{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    for entry in publication.part("model"):
        target = unfinished / Path(entry.name).relative_to("model")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(publication.read(entry))
    unfinished.rename(run.folder / "model")
    (run.folder / "report.html").write_bytes(publication.read(publication.only("report")))


def say_results(run: Run) -> None:
    """The last lines of a run: what came out and where it lies."""
    measures = {name: v for step in run.steps for name, v in step["measures"].items()}
    peak = max(step["peak_rss_bytes"] for step in run.steps)
    lines = [
        f"{run.recipe.name} ended in {time.time() - run.started:.0f} s, "
        f"{sum(s['reused'] for s in run.steps)} of {len(run.steps)} steps reused, "
        f"peak memory of a step {peak / 1e9:.2f} GB",
        *(f"  {name:<28} {measures[name]:.4g}" for name in _HEADLINES if name in measures),
        f"  model    {run.folder / 'model'}",
        f"  report   {run.folder / 'report.html'}",
        f"  record   {run.folder / 'run.json'}",
        f"  log      {run.folder / LOG_NAME}",
        f"  data     {run.execution.data_root}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


_HEADLINES = (
    "bits_per_byte",
    "bits_per_byte_untrained",
    "lines_parse_trained",
    "lines_parse_untrained",
    "lines_parse_real",
    "pass_at_1_easy",
    "pass_at_1_humaneval",
)
"""The measures that the last lines of a run show."""
