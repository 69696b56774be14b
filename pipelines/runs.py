"""The record of a run: what was asked, what each step did, and where everything lies.

runs/<recipe>-<time>/    run.json, report.html, model/, log.txt, steps/<task>/
<data_root>/runs/        one record a run: it roots the run's artifacts
"""

import json
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.artifacts.artifact import Artifact
from components.artifacts.errors import CodekilnError
from components.artifacts.manifest import LEDGER_NAME
from components.artifacts.storage import open_storage
from components.stage.execution import Execution
from pipelines.recipes import Recipe

RECORD_NAME = "run.json"
LOG_NAME = "log.txt"
STEPS_NAME = "steps"

RECORDED_PACKAGES = ("codekiln", "kfp", "numpy", "pyarrow", "tokenizers", "torch", "transformers")


@dataclass
class Run:
    """A run in progress or ended."""

    folder: Path
    recipe: Recipe
    execution: Execution
    command: list[str]
    started: float = field(default_factory=time.time)
    steps: list[dict[str, Any]] = field(default_factory=list)
    status: str = "running"
    error: str = ""

    @property
    def id(self) -> str:
        """The run's name: recipe and time."""
        return self.folder.name

    def add_step(self, task: str, folder: Path, seconds: float) -> None:
        """Record a finished task from its output folder."""
        location = json.loads((folder / "location.json").read_text())
        artifact = Artifact.open(location["uri"])
        manifest = artifact.manifest
        ledger = json.loads(artifact.storage.read(LEDGER_NAME))
        self.steps.append(
            {
                "task": task,
                "step": manifest.step,
                "key": manifest.key,
                "digest": manifest.digest,
                "uri": artifact.storage.uri,
                "reused": location["reused"],
                "seconds": round(seconds, 3),
                "seconds_made": ledger["seconds"],
                "peak_rss_bytes": ledger["peak_rss_bytes"],
                "counts": manifest.tally.counts,
                "drops": manifest.tally.to_json()["drops"],
                "measures": dict(manifest.measures),
            }
        )

    def write(self) -> None:
        """Write the record into the run's folder and into the data root."""
        data = (json.dumps(self._to_json(), indent=1) + "\n").encode()
        open_storage(str(self.folder)).replace(RECORD_NAME, data)
        records = open_storage(self.execution.data_root).child("runs")
        records.replace(f"{self.id}.json", data)

    def _to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "recipe": self.recipe.name,
            "status": self.status,
            "error": self.error,
            "process": f"{os.getpid()} on {socket.gethostname()}",
            "started_unix_s": round(self.started, 3),
            "seconds": round(time.time() - self.started, 3),
            "command": self.command,
            "folder": str(self.folder),
            "execution": self.execution.to_json(),
            "config": self.recipe.to_json(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": _packages(),
            "steps": self.steps,
        }


def new_run_folder(runs: Path, recipe: str) -> Path:
    """Make a run's folder, named by recipe and UTC time to the second; counted on where taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for number in range(1, 1000):
        folder = runs / (f"{recipe}-{stamp}" if number == 1 else f"{recipe}-{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise CodekilnError(f"expected to make a run folder in {runs}, all names of {stamp} are taken")


def list_runs(runs: Path) -> list[Mapping[str, Any]]:
    """The records of a folder of runs, oldest first; a folder without a record is left out."""
    found = []
    for path in sorted(runs.glob(f"*/{RECORD_NAME}"), key=lambda path: path.stat().st_mtime):
        try:
            record = json.loads(path.read_text())
        except json.JSONDecodeError:
            raise CodekilnError(
                f"expected the record of a run in {path}, got something else: remove its folder"
            ) from None
        if record["status"] == "running" and _has_ended(record["process"]):
            record["status"] = "killed"
        found.append(record)
    return found


def _has_ended(process: str) -> bool:
    """Whether a process of this machine is gone; one of another machine is taken as running."""
    pid, _, host = process.partition(" on ")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def format_runs(records: list[Mapping[str, Any]]) -> str:
    """A line a run: name, status, time, headline measures, folder."""
    lines = []
    for record in records:
        measures = {k: v for step in record["steps"] for k, v in step["measures"].items()}
        shown = [
            f"{name}={measures[name]:.4g}"
            for name in ("bits_per_byte", "lines_parse_trained", "pass_at_1_humaneval")
            if name in measures
        ]
        reused = sum(step["reused"] for step in record["steps"])
        lines.append(
            f"{record['id']:<32} {record['status']:<9} {record['seconds']:>7.1f} s  "
            f"{len(record['steps'])} steps, {reused} reused  {' '.join(shown)}  {record['folder']}"
        )
    return "\n".join(lines)


def _packages() -> dict[str, str]:
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def command_line() -> list[str]:
    """The command as it was typed, without this machine's path to it."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
