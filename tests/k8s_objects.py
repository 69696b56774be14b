"""Rendered manifests as objects: overlays by kustomize, pod templates wherever they stand."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

K8S = Path(__file__).resolve().parents[1] / "k8s"
GOLDENS = K8S / "goldens"
OVERLAYS = ("local", "gke-gpu", "gke-tpu")

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gke-gpu with spot and gcsfuse": ("gke-gpu", ("components/spot", "components/gcsfuse")),
    "gke-tpu with spot and gcsfuse": ("gke-tpu", ("components/spot", "components/gcsfuse")),
    "gke-tpu with kueue-topology and spot": (
        "gke-tpu",
        ("components/kueue-topology", "components/spot"),
    ),
    "local with agent-sandbox": ("local", ("sandbox/agent-sandbox", "images")),
}
"""Optional components on top of an overlay: what its head comment tells people to add."""

UNREACHABLE = "http://127.0.0.1:9"


def kubectl() -> str:
    """The kubectl of the dev extra, or one on the PATH; the test is skipped without."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed")
    return found


def render_text(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder, with every way out of the machine closed.

    Raises:
        AssertionError: it cannot be rendered.
    """
    closed = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), UNREACHABLE)
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **closed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: Path) -> list[Object]:
    """The objects of a folder."""
    return list(yaml.load_all(render_text(folder), Loader=yaml.CSafeLoader))


@functools.cache
def _rendered(name: str) -> str:
    if name in OVERLAYS:
        return json.dumps(render(K8S / "overlays" / name))
    overlay, parts = VARIANTS[name]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        way = os.path.relpath(K8S, here)  # kustomize takes relative paths alone
        value = {
            "resources": [f"{way}/overlays/{overlay}"],
            "components": [f"{way}/{part}" for part in parts],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(value))
        return json.dumps(render(here))


def objects_of(name: str) -> list[Object]:
    """The objects of an overlay or a variant, a copy of one's own."""
    value: list[Object] = json.loads(_rendered(name))
    return value


def named(objects: Sequence[Object], kind: str, name: str = "", namespace: str = "") -> Object:
    """The first object of a kind, of a name where one is given."""
    for item in objects:
        metadata = item["metadata"]
        found = (metadata["name"], metadata.get("namespace", ""))
        if item["kind"] == kind and name in ("", found[0]) and namespace in ("", found[1]):
            return item
    raise AssertionError(f"no {kind} {name!r}")


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    """All objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


def title(item: Object) -> str:
    """How an object is named in a fault."""
    metadata = item.get("metadata", {})
    return f"{item.get('kind')} {metadata.get('namespace', '')}/{metadata.get('name')}"


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value below a value, with its path."""
    yield path, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from walk(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from walk(part, (*path, index))


def pod_specs(objects: Sequence[Object]) -> Iterator[tuple[Object, Object]]:
    """Every embedded pod's spec, with the object that holds it."""
    for item in objects:
        for _, value in walk(item):
            if isinstance(value, dict) and isinstance(value.get("containers"), list):
                yield item, value


def job_specs(objects: Sequence[Object]) -> Iterator[tuple[Object, Object]]:
    """Every embedded Job's spec, with the object that holds it."""
    for item in objects:
        for path, value in walk(item):
            whole = item["kind"] == "Job" and path == ("spec",)
            embedded = path[-2:] in (("jobTemplate", "spec"), ("template", "spec"))
            if (whole or embedded) and isinstance(value, dict):
                pod = value.get("template", {}).get("spec", {})
                if "containers" in pod and "containers" not in value:
                    yield item, value


def containers_of(pod: Object) -> list[Object]:
    """All containers of a pod's spec."""
    return [*pod["containers"], *pod.get("initContainers", [])]


SUFFIXES = {"": 0, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}


def parse_quantity(text: object) -> Decimal:
    """A Kubernetes quantity as a number.

    Raises:
        ValueError: it is none.
    """
    spelt = "" if isinstance(text, bool) or not isinstance(text, (str, int)) else str(text)
    for suffix, power in BINARY_SUFFIXES.items():
        if spelt.endswith(suffix):
            return _number(spelt.removesuffix(suffix)) * Decimal(2) ** power
    suffix = spelt[-1] if spelt and spelt[-1].isalpha() else ""
    if suffix not in SUFFIXES:
        raise ValueError(f"no quantity: {text!r}")
    return _number(spelt.removesuffix(suffix)) * Decimal(10) ** SUFFIXES[suffix]


def _number(text: str) -> Decimal:
    if not text or not text.replace(".", "", 1).isdigit() or not text.isascii():
        raise ValueError(f"no quantity: {text!r}")
    return Decimal(text)
