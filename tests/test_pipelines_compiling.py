import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import components as kfp_components

from components.stage.execution import Execution
from components.stage.images import image_tag
from components.stage.step import step_names
from pipelines.compiling import compile_crd, compile_ir, read_ir
from pipelines.graph import read_tasks
from pipelines.recipes import find_recipe, recipe_names

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "k8s" / "pipelines"
"""Where the goldens of the objects for kubectl lie: they are part of the manifests."""

GOLDEN_TAG = "golden"

COMPILE = """
import sys
from pipelines.cli import main
code = main(["compile", "--out", sys.argv[1]])
heavy = {"torch", "jax", "transformers", "datasets", "numba", "pyspark", "datasketch", "tokenizers"}
print(sorted(heavy & set(sys.modules)))
sys.exit(code)
"""


def compiled(folder, seed, tag=GOLDEN_TAG):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "CODEKILN_IMAGE_TAG": tag}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = {p.name: normalised(p.read_text()) for p in sorted(folder.iterdir())}
    return files, done.stdout.splitlines()[-1]


def normalised(text):
    """Without the version of kfp's SDK, which the compiler writes into the file."""
    return "\n".join(line for line in text.splitlines() if "sdkVersion" not in line) + "\n"


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    return [compiled(tmp_path_factory.mktemp("compiled"), seed) for seed in ("0", "1")]


def test_compiling_gives_the_same_bytes_whatever_the_hash_seed(twice):
    assert twice[0][0] == twice[1][0]
    names = {f"{name}.{kind}" for name in recipe_names() for kind in ("yaml", "crd.yaml")}
    assert set(twice[0][0]) == names


def test_compiling_loads_nothing_heavy(twice):
    assert twice[0][1] == "[]"


def test_compiled_files_equal_their_goldens(twice):
    """When this fails for a good reason: CODEKILN_WRITE_GOLDEN=1 make test, then read the diff."""
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        for name, text in twice[0][0].items():
            ((MANIFESTS if name.endswith(".crd.yaml") else GOLDEN) / name).write_text(text)
    paths = [*GOLDEN.glob("*.yaml"), *MANIFESTS.glob("*.crd.yaml")]
    goldens = {path.name: path.read_text() for path in paths}
    assert twice[0][0] == goldens


def test_compiled_files_install_nothing_and_name_no_floating_image(twice):
    for text in twice[0][0].values():
        assert "pip install" not in text
        images = [line.split()[-1] for line in text.splitlines() if " image: " in line]
        assert len(images) == len(step_names())
        assert all(image.endswith(f":{GOLDEN_TAG}") for image in images)


def test_an_image_tag_is_version_and_content_hash():
    assert len(image_tag().rpartition("-")[2]) == 12
    assert "latest" not in image_tag()


def test_the_kfp_loader_accepts_every_recipe(tmp_path):
    for name in recipe_names():
        compile_ir(find_recipe(name), Execution(), tmp_path / f"{name}.yaml")
        loaded = kfp_components.load_component_from_file(str(tmp_path / f"{name}.yaml"))
        assert loaded.name == f"codekiln-{name.replace('_', '-')}"


def test_a_run_needs_no_parameter_to_be_filled_in():
    for name in recipe_names():
        parameters = read_ir(find_recipe(name), Execution())["root"]["inputDefinitions"]
        for parameter, definition in parameters["parameters"].items():
            assert "defaultValue" in definition, (name, parameter)


def test_no_task_uses_kubeflows_cache():
    ir = read_ir(find_recipe("tiny"), Execution())
    dags = [ir["root"]["dag"]] + [c["dag"] for c in ir["components"].values() if "dag" in c]
    for dag in dags:
        for name, task in dag["tasks"].items():
            component = ir["components"][task["componentRef"]["name"]]
            assert "dag" in component or not task["cachingOptions"].get("enableCache"), name


def test_a_pipeline_version_has_another_name_when_its_content_changes(tmp_path):
    names = set()
    recipe = find_recipe("tiny")
    for number, changed in enumerate((recipe, recipe.with_text("training.max_steps", "7"))):
        path = tmp_path / f"{number}.yaml"
        compile_crd(changed, Execution(), path)
        pipeline, version = yaml.safe_load_all(path.read_text())
        assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
        assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
        names.add(version["metadata"]["name"])
    assert len(names) == 2


def test_the_graph_read_back_has_every_step_after_its_inputs():
    recipe = find_recipe("tiny")
    tasks = read_tasks(read_ir(recipe, Execution()), {})
    assert [task.step for task in tasks] == list(step_names())
    made = set()
    for task in tasks:
        assert set(task.inputs.values()) <= made
        made.add(task.path)
        assert task.parameters["config"] == json.loads(
            json.dumps(recipe.steps()[task.step].to_json())
        )
