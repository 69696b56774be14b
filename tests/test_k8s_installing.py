"""Installing, upgrading and removing: pinned versions, a copy with real names, what docs say."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from components.stage import images
from pipelines import manifests
from tests.k8s_objects import (
    K8S,
    OVERLAYS,
    Object,
    kubectl,
    named,
    of_kind,
    pod_specs,
    render,
)

ROOT = K8S.parent
INSTALL = K8S / "install"
KUBERNETES = "1.37.0"
PINNED = re.compile(r"(\?ref=|/download/)v?\d+\.\d+\.\d+(/|$)")


def remote_addresses() -> list[str]:
    found: list[str] = []
    for path in sorted(INSTALL.rglob("kustomization.yaml")):
        found += yaml.safe_load(path.read_text())["resources"]
    return found


def test_what_others_make_is_pinned_to_a_version() -> None:
    addresses = remote_addresses()
    assert len(addresses) >= 7
    for address in addresses:
        assert address.startswith("https://github.com/"), address
        assert PINNED.search(address), f"floats: {address}"


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/kubeflow/trainer.git/manifests?ref=master",
        "https://github.com/kubernetes-sigs/kueue/releases/latest/download/manifests.yaml",
        "https://github.com/kubeflow/trainer.git/manifests?ref=v2",
    ],
)
def test_a_version_that_floats_is_found(address: str) -> None:
    assert not PINNED.search(address)


def test_the_installed_versions_are_those_of_the_models_and_the_sdk() -> None:
    """Manifests are checked against models of a version: that is the version to install."""
    addresses = "\n".join(remote_addresses())
    trainer = version("kubeflow_trainer_api").rpartition(".")[0]
    assert re.search(rf"kubeflow/trainer\.git/\S+\?ref=v{re.escape(trainer)}\.", addresses)
    kfp = version("kfp").rpartition(".")[0]
    assert re.search(rf"kubeflow/pipelines\.git/\S+\?ref={re.escape(kfp)}\.", addresses)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy that `make deploy` writes, twice: an upgrade replaces it."""
    folder = tmp_path_factory.mktemp("deploy") / "deploy"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.manifests", "--out", str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_copy_renders_with_real_names_of_images(copy: Path, name: str) -> None:
    objects = render(copy / "overlays" / name)
    used = {c["image"] for _, pod in pod_specs(objects) for c in pod["containers"]}
    assert used <= {images.image_uri(family) for family in images.image_families()}
    assert len(used) >= 3
    assert len(objects) == len(render(K8S / "overlays" / name))


def test_the_copy_holds_the_pipelines_with_real_names_of_images(copy: Path) -> None:
    assert len(render(copy / "pipelines")) == len(render(K8S / "pipelines"))
    for path in (copy / "pipelines").glob("*.crd.yaml"):
        assert images.image_uri("data") in path.read_text()
        assert ":golden" not in path.read_text()
    assert not (copy / "goldens").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.manifests", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, (tmp_path / "mine").read_text()) == (2, "x")
    assert "expected an empty folder or an older copy of k8s/" in done.stderr


def test_a_pushed_digest_is_what_manifests_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / images.LOCATIONS
    place.parent.mkdir()
    place.write_text((images.ROOT / images.LOCATIONS).read_text())
    monkeypatch.setattr(images, "ROOT", tmp_path)
    before = place.read_text()
    digest = "sha256:" + "ab" * 32
    images.main(["data", "--digest", digest])
    assert place.read_text() == before.replace(
        '"data-python", "digest": ""', f'"data-python", "digest": "{digest}"'
    )
    assert images.image_uri("data") == f"registry.invalid/codekiln/data-python@{digest}"
    entries: list[dict[str, Any]] = yaml.safe_load(manifests.images_text())["images"]
    assert {e["name"]: e.get("digest") for e in entries}["data"] == digest
    with pytest.raises(ValueError, match="64 hex digits, got 'sha256:12' for data"):
        images.record_digest("data", "sha256:12")


LIFE = re.compile(r"^(?:kubectl|make|git|gcloud|codekiln|python) .*$", re.MULTILINE)


def test_installing_upgrading_and_removing_are_commands_that_are_written_down() -> None:
    page = (ROOT / "docs" / "kubeflow.md").read_text()
    section = page.partition("## Install, upgrade, remove")[2].partition("\n## ")[0]
    commands = LIFE.findall(section)
    assert len(commands) == 3
    folders = re.findall(r"-k (\S+)", section)
    assert {Path(folder).parts[0] for folder in folders} == {"deploy"}
    for folder in folders:
        assert (K8S / Path(folder).relative_to("deploy")).is_dir(), folder


def test_a_folder_as_data_root_is_one_share_in_both_namespaces() -> None:
    page = (ROOT / "docs" / "kubeflow.md").read_text()
    section = page.partition("## A folder as data root")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    objects: list[Object] = list(yaml.safe_load_all(text))
    for item in objects:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    claims = of_kind(objects, "PersistentVolumeClaim")
    volumes = {v["metadata"]["name"]: v["spec"] for v in of_kind(objects, "PersistentVolume")}
    steps = render(K8S / "pipelines")[0]["metadata"]["namespace"]
    assert {claim["metadata"]["namespace"] for claim in claims} == {steps, "codekiln"}
    assert named(render(K8S / "overlays" / "local"), "Namespace", "codekiln")
    assert len({claim["spec"]["volumeName"] for claim in claims}) == len(volumes) == 2
    bound = [volumes[claim["spec"]["volumeName"]] for claim in claims]
    assert bound[0] == bound[1]
    assert bound[0]["persistentVolumeReclaimPolicy"] == "Retain"
    assert {mode for c in claims for mode in c["spec"]["accessModes"]} == {"ReadWriteMany"}
    given = set(re.findall(r"(?:--data-claim |CODEKILN_DATA_CLAIM=)([\w-]+)", section))
    assert given == {claim["metadata"]["name"] for claim in claims}


def test_folders_and_targets_that_pages_name_are_there(copy: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert {"gke-gpu.md", "gke-tpu.md", "kubeflow.md", "rights.md", "sizing.md"} <= {
        page.name for page in pages
    }
    for page in pages:
        text = page.read_text()
        for folder in re.findall(r"-k (k8s/\S+|deploy/\S+)", text):
            base = copy.parent if folder.startswith("deploy/") else ROOT
            assert (base / folder / "kustomization.yaml").exists(), (page.name, folder)
        for target in re.findall(r"^(?:.*&& )?make ([a-z]+)", text, re.MULTILINE):
            assert target in targets, (page.name, target)


def test_what_is_applied_can_be_applied_on_the_servers_side(copy: Path) -> None:
    """Client-side apply keeps a copy of at most 256 KiB in an annotation: no object comes near."""
    assert kubectl()
    for name in OVERLAYS:
        for item in render(copy / "overlays" / name):
            assert len(yaml.safe_dump(item)) < 2**17, item["metadata"]["name"]
