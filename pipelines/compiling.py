"""Compile the graph of a recipe: Kubeflow's IR, and the objects for `kubectl apply`.

The same recipe gives the same bytes on every machine; nothing heavy is imported.
"""

import hashlib
import itertools
import tempfile
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from components.stage.execution import LOCAL_ONLY, Execution
from pipelines.data_mount import DataMount, write_mount
from pipelines.full import full
from pipelines.recipes import Recipe

VERSION_HASH_DIGITS = 10


def compile_ir(
    recipe: Recipe, execution: Execution, path: Path, mount: DataMount | None = None
) -> None:
    """Write the IR of a recipe's graph with every parameter filled in.

    Args:
        recipe: what is computed.
        execution: the defaults of the flat parameters.
        path: ends in `.yaml`.
        mount: of the data root, where it is a folder.
    """
    compiler.Compiler().compile(
        full,
        str(path),
        pipeline_name=pipeline_name(recipe),
        pipeline_parameters=pipeline_parameters(recipe, execution),
    )
    text = _mounted(_body(path.read_text()), mount)
    path.write_text(f"# codekiln {recipe.name}: {recipe.summary}\n{text}")


def read_ir(recipe: Recipe, execution: Execution) -> dict[str, Any]:
    """The IR of a recipe's graph as a JSON value."""
    with tempfile.TemporaryDirectory(prefix="codekiln-") as folder:
        path = Path(folder) / "ir.yaml"
        compile_ir(recipe, execution, path)
        value: dict[str, Any] = next(yaml.safe_load_all(path.read_text()))
        return value  # a second document holds what Kubernetes adds, such as Secrets


def compile_crd(
    recipe: Recipe, execution: Execution, path: Path, mount: DataMount | None = None
) -> None:
    """Write the `Pipeline` and `PipelineVersion` objects of a recipe's graph.

    A PipelineVersion's content cannot be changed in a cluster, so its name changes with it.
    """
    name = pipeline_name(recipe)
    with tempfile.TemporaryDirectory(prefix="codekiln-") as folder:
        ir = Path(folder) / "ir.yaml"
        compile_ir(recipe, execution, ir, mount)
        content = hashlib.sha256(ir.read_bytes()).hexdigest()[:VERSION_HASH_DIGITS]
    compiler.Compiler().compile(
        full,
        str(path),
        pipeline_name=name,
        pipeline_parameters=pipeline_parameters(recipe, execution),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=KubernetesManifestOptions(
            pipeline_name=name,
            pipeline_display_name=name,
            pipeline_version_name=f"{name}-{content}",
            pipeline_version_display_name=f"{name} {content}",
            include_pipeline_manifest=True,
        ),
    )
    if mount is not None:
        path.write_text(_mounted(path.read_text(), mount))


def _mounted(text: str, mount: DataMount | None) -> str:
    """A compiled file whose tasks mount the data root."""
    if mount is None:
        return text
    documents = list(yaml.safe_load_all(text))
    write_mount(documents, mount)
    return yaml.safe_dump_all(documents, sort_keys=True)


def _body(text: str) -> str:
    """The compiler's output without its comments at the head.

    They spell the structs of the parameters in an order that changes with the hash seed.
    """
    lines = text.splitlines(keepends=True)
    return "".join(itertools.dropwhile(lambda line: line.startswith("#"), lines))


def pipeline_name(recipe: Recipe) -> str:
    """The pipeline's name in Kubeflow: `codekiln-gpt-cc-125m`."""
    return f"codekiln-{recipe.name.replace('_', '-')}"


def pipeline_parameters(recipe: Recipe, execution: Execution) -> dict[str, Any]:
    """The value of every parameter of the graph: a struct a step, then the flat scalars."""
    structs = {f"{step}_config": config.to_json() for step, config in recipe.steps().items()}
    scalars = execution.to_json()
    return {**structs, **{name: scalars[name] for name in scalars if name not in LOCAL_ONLY}}
