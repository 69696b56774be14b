"""A step as a Kubeflow component: the decorator, and what its thin body calls.

The body of a component is one import and one call; all work is done by the same `execute` as on
one machine. Nothing is installed when a pod starts: the image holds the code.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl

from components.artifacts.manifest import LOCATION_NAME
from components.stage.command import error_kept
from components.stage.config import fields_of
from components.stage.execution import (
    ERROR_NAME,
    METRICS_NAME,
    PAGE_NAME,
    SUMMARY_NAME,
    Execution,
    execute,
)
from components.stage.images import image_uri
from components.stage.lifeline import SUPERVISOR_VARIABLE, die_with
from components.stage.step import find_step


def step_component(image: str) -> Any:
    """Make a Kubeflow component of a step's thin wrapper.

    Args:
        image: the image family, such as `data` or `train-cpu`.
    """
    return dsl.component(base_image=image_uri(image), install_kfp_package=False)


def execution_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Where and how fast, out of all arguments of a graph or a component: their `locals()`."""
    names = [field.name for field in fields_of(Execution)]
    return {name: arguments[name] for name in names if name in arguments}


def run_component(
    step_name: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    config: Mapping[str, Any],
    execution: Mapping[str, Any],
) -> None:
    """Run a step inside a Kubeflow task.

    Args:
        step_name: the step.
        inputs: input name to Kubeflow artifact: a folder with a copied manifest.
        outputs: `output`, `metrics`, `summary` and, where the step draws one, `page`.
        config: the identity struct; its integers arrive as doubles.
        execution: the component's arguments, the flat parameters of `Execution` among them.
    """
    os.environ.setdefault("CODEKILN_LOG", "json")
    if SUPERVISOR_VARIABLE in os.environ:
        die_with(int(os.environ[SUPERVISOR_VARIABLE]))
    step = find_step(step_name)
    folder = Path(outputs["output"].path)
    folder.mkdir(parents=True, exist_ok=True)
    with error_kept(folder / ERROR_NAME):
        execute(
            step,
            step.config.from_json(config),
            {name: artifact.path for name, artifact in inputs.items()},
            folder,
            Execution.from_json(execution_arguments(execution)),
        )
    location = json.loads((folder / LOCATION_NAME).read_text())
    outputs["output"].metadata.update(
        data_uri=location["uri"], digest=location["digest"], reused=location["reused"]
    )
    for name, value in json.loads((folder / METRICS_NAME).read_text()).items():
        outputs["metrics"].log_metric(name, value)
    Path(outputs["summary"].path).write_text((folder / SUMMARY_NAME).read_text())
    if "page" in outputs:
        Path(outputs["page"].path).write_text((folder / PAGE_NAME).read_text())
