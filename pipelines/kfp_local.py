"""Run the same compiled graph with Kubeflow's own local runner (`--through kfp`).

It proves that the components do what the walk does: the digests must be equal. Its runner has
traps, and each is guarded here: it rewrites the text `python3` inside any parameter or path, it
deletes its workspace, and it leaves its children when it is killed.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.manifest import LOCATION_NAME
from components.stage.execution import ERROR_NAME
from components.stage.lifeline import SUPERVISOR_VARIABLE
from pipelines.compiling import compile_ir, pipeline_parameters
from pipelines.graph import OUTPUT
from pipelines.runs import Run

REWRITTEN = "python3"
"""kfp's SubprocessRunner replaces this text everywhere by the interpreter's path."""

MAX_PARAMETER_BYTES = 128 * 1024
"""Linux' limit on one argument of a command; kfp passes all parameters of a task in one."""


def run_through_kfp(run: Run) -> None:
    """Run the recipe's compiled graph with `kfp.local`, and record each task.

    Raises:
        ConfigError: a parameter or path that kfp's runner would rewrite, or cannot carry.
        StepFailedError: a task ended with an error.
    """
    from kfp import components as kfp_components
    from kfp import local

    parameters = pipeline_parameters(run.recipe, run.execution)
    _refuse_rewritten(parameters, run.folder)
    root = run.folder / "kfp"
    os.environ[SUPERVISOR_VARIABLE] = str(os.getpid())
    os.environ["PYTHONSAFEPATH"] = "1"
    with tempfile.TemporaryDirectory(prefix="codekiln-kfp-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp warns of images and resources that it ignores
        ir = Path(scratch) / "ir.yaml"
        compile_ir(run.recipe, run.execution, ir)
        workspace = Path(scratch) / "workspace"  # kfp deletes it after the run
        workspace.mkdir()
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root),
            workspace_root=str(workspace),
        )
        pipeline = kfp_components.load_component_from_file(str(ir))
        try:
            pipeline(**parameters)
        except RuntimeError as error:
            raise StepFailedError(f"step failed: {_reason(root, error)}") from error
    for location in sorted(root.rglob(f"{OUTPUT}/{LOCATION_NAME}"), key=_age):
        run.add_step(location.parent.parent.name, location.parent, seconds=0.0)
    run.write()


def _refuse_rewritten(parameters: Mapping[str, Any], folder: Path) -> None:
    for name, value in {**parameters, "run folder": str(folder)}.items():
        text = json.dumps(value)
        if REWRITTEN in text:
            raise ConfigError(
                f"expected no {REWRITTEN!r} in {name}, got {text[:120]}: kfp's local runner "
                "rewrites that text; choose another path or value, or run without --through kfp"
            )
        if len(text) > MAX_PARAMETER_BYTES // 2:
            raise ConfigError(
                f"expected {name} below {MAX_PARAMETER_BYTES // 2} bytes, got {len(text)}: "
                "kfp passes the parameters of a task in one argument"
            )


def _reason(root: Path, error: RuntimeError) -> str:
    """The failed step's own line where it left one, else what kfp says."""
    errors = sorted(root.rglob(ERROR_NAME))
    return errors[-1].read_text().strip() if errors else str(error)


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
