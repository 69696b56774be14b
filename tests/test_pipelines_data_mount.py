"""A folder as data root reaches every task of a compiled graph, as kfp itself would mount it."""

import json

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp import components as kfp_components
from kfp.kubernetes import kubernetes_executor_config_pb2 as kfp_kubernetes

from components.stage.step import step_names
from pipelines.cli import main
from pipelines.graph import read_tasks

FLAGS = ["--data-root", "/data", "--data-claim", "shared"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("compiled")
    assert main(["compile", "tiny", "--out", str(made), "--engine", "cluster", *FLAGS]) == 0
    return made


@pytest.fixture(params=["tiny.yaml", "tiny.crd.yaml"])
def graph(request, folder):
    """IR and platform, of both files."""
    first, second = yaml.safe_load_all((folder / request.param).read_text())
    spec = second.get("spec", {})
    return spec.get("pipelineSpec", first), spec.get("platformSpec", second)


def executors(platform):
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@dsl.component(base_image="image", install_kfp_package=False)
def nothing():
    pass


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What kfp-kubernetes writes for a mount."""

    @dsl.pipeline(name="one")
    def one():
        kubernetes.mount_pvc(nothing(), "shared", "/data")

    path = tmp_path_factory.mktemp("one") / "one.yaml"
    compiler.Compiler().compile(one, str(path))
    _, platform = yaml.safe_load_all(path.read_text())
    return executors(platform)["exec-nothing"]["pvcMount"]


def test_every_task_mounts_the_claim_and_names_it_to_what_it_launches(graph, expected):
    ir, platform = graph
    assert executors(platform).keys() == ir["deploymentSpec"]["executors"].keys()
    assert len(executors(platform)) == len(step_names())
    for name, executor in ir["deploymentSpec"]["executors"].items():
        assert executors(platform)[name]["pvcMount"] == expected
        variables = {one["name"]: one["value"] for one in executor["container"]["env"]}
        assert variables["CODEKILN_DATA_CLAIM"] == "shared"
        json_format.ParseDict(executors(platform)[name], kfp_kubernetes.KubernetesExecutorConfig())
    assert ir["root"]["inputDefinitions"]["parameters"]["data_root"]["defaultValue"] == "/data"
    assert "secretAsEnv" in executors(platform)["exec-crawl"], "what was asked for before stays"


def test_kfp_and_the_walk_take_a_graph_that_mounts(folder):
    loaded = kfp_components.load_component_from_file(str(folder / "tiny.yaml"))
    assert loaded.platform_spec.platforms
    ir, _ = yaml.safe_load_all((folder / "tiny.yaml").read_text())
    assert [task.step for task in read_tasks(ir, {})] == list(step_names())


def test_a_version_that_mounts_has_a_name_of_its_own_and_one_without_a_claim_mounts_nothing(
    folder, tmp_path
):
    plain = ["compile", "tiny", "--out", str(tmp_path), "--engine", "cluster", "--data-root"]
    assert main([*plain, "/data"]) == 0
    names = set()
    for path in (folder, tmp_path):
        _, version = yaml.safe_load_all((path / "tiny.crd.yaml").read_text())
        names.add(version["metadata"]["name"])
    assert len(names) == 2
    assert "pvcMount" not in json.dumps(version)
    assert "CODEKILN_DATA_CLAIM" not in json.dumps(version)


@pytest.mark.parametrize("root", ["gs://bucket/root", "data", "file:///data"])
@pytest.mark.parametrize(
    "command",
    [["compile", "tiny", "--out", "out"], ["submit", "tiny", "--host", "http://127.0.0.1:9"]],
    ids=lambda command: command[0],
)
def test_a_claim_beside_a_root_that_is_no_whole_path_is_refused(
    command, root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--data-root", root, "--data-claim", "shared"]) != 0
    assert f"got '{root}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
