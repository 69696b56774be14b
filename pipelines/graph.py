"""The compiled graph, read back: its tasks in order, and where each takes its inputs from.

This is a reader of Kubeflow's intermediate representation (IR, `PipelineSpec` 2.1), for the part of
it that codekiln's graph uses: tasks, nested pipelines, parameters and artifacts. It refuses the
rest rather than run half of a graph.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts.errors import ConfigError

OUTPUT = "output"
"""The one artifact of a step that carries data; its others are for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One step of the graph, ready to be started once its inputs are there."""

    path: str
    """Unique name, with `/` between nested pipelines, such as `corpus/dedup`."""

    step: str
    """The step that the task runs."""

    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Input name to the path of the task that makes it."""


@dataclass(frozen=True)
class _Scope:
    """What the inputs of one (nested) pipeline stand for."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, str]


def read_tasks(ir: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Task]:
    """List the tasks of a compiled pipeline, each after the ones it needs.

    Args:
        ir: the IR as a JSON value.
        parameters: values over the defaults of the pipeline's parameters.

    Raises:
        ConfigError: the graph holds something that this reader does not know.
    """
    root = ir["root"]
    definitions = root.get("inputDefinitions", {}).get("parameters", {})
    values = {name: definition.get("defaultValue") for name, definition in definitions.items()}
    tasks: list[Task] = []
    _walk(ir, root, _Scope({**values, **parameters}, {}), "", tasks)
    return tasks


def _walk(
    ir: Mapping[str, Any], component: Mapping[str, Any], scope: _Scope, prefix: str, out: list[Task]
) -> dict[str, str]:
    """Append a pipeline's tasks in order; return where each of its artifact outputs is made."""
    made: dict[tuple[str, str], str] = {}
    dag = component["dag"]
    for name, task in _in_order(dag["tasks"]):
        _refuse_unknown(name, task)
        child = ir["components"][task["componentRef"]["name"]]
        inner = _bind(task.get("inputs", {}), scope, made)
        path = f"{prefix}{name}"
        if "dag" in child:
            outputs = _walk(ir, child, inner, f"{path}/", out)
            made.update({(name, key): maker for key, maker in outputs.items()})
        else:
            out.append(
                Task(
                    path=path,
                    step=_step_of(ir, child),
                    parameters=inner.parameters,
                    inputs=inner.artifacts,
                )
            )
            made[name, OUTPUT] = path
    selectors = dag.get("outputs", {}).get("artifacts", {})
    return {
        key: made[selector["producerSubtask"], selector["outputArtifactKey"]]
        for key, value in selectors.items()
        for selector in value["artifactSelectors"]
    }


def _in_order(tasks: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tasks by name, each after its dependencies; ties in the order of the file."""
    done: set[str] = set()
    while len(done) < len(tasks):
        ready = [
            name
            for name, task in tasks.items()
            if name not in done and done.issuperset(task.get("dependentTasks", ()))
        ]
        assert ready, "the compiler wrote a cycle"
        name = ready[0]
        done.add(name)
        yield name, tasks[name]


def _bind(inputs: Mapping[str, Any], scope: _Scope, made: Mapping[tuple[str, str], str]) -> _Scope:
    parameters: dict[str, Any] = {}
    for name, source in inputs.get("parameters", {}).items():
        match source:
            case {"componentInputParameter": outer}:
                parameters[name] = scope.parameters[outer]
            case {"runtimeValue": {"constant": constant}}:
                parameters[name] = constant
            case _:
                raise _unknown(f"parameter {name!r} from {source!r}")
    artifacts: dict[str, str] = {}
    for name, source in inputs.get("artifacts", {}).items():
        match source:
            case {"componentInputArtifact": outer}:
                artifacts[name] = scope.artifacts[outer]
            case {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}:
                artifacts[name] = made[task, key]
            case _:
                raise _unknown(f"artifact {name!r} from {source!r}")
    return _Scope(parameters, artifacts)


def _step_of(ir: Mapping[str, Any], component: Mapping[str, Any]) -> str:
    """The name of the function that an executor runs: the step's."""
    executor = ir["deploymentSpec"]["executors"][component["executorLabel"]]
    arguments: list[str] = executor["container"]["args"]
    return arguments[arguments.index("--function_to_execute") + 1]


def _refuse_unknown(name: str, task: Mapping[str, Any]) -> None:
    known = {"cachingOptions", "componentRef", "dependentTasks", "inputs", "taskInfo"}
    unknown = sorted(set(task) - known)
    if unknown:
        raise _unknown(f"{unknown[0]!r} of task {name!r}")


def _unknown(what: str) -> ConfigError:
    return ConfigError(
        f"expected a graph of plain tasks, got {what}: run it with --through kfp, or on a cluster"
    )
