"""Kinds that others define keep their definitions: give these by CRD_DIR; no package has them.

    CRD_DIR=~/crds .venv/bin/python -m pytest -q tests/test_k8s_kinds.py

CRD_DIR holds CustomResourceDefinitions as YAML: `config/components/crd/bases` of JobSet and Kueue,
`manifests/base/crds` of Trainer, `k8s/crds` of agent-sandbox. What judges is shown a definition of
its own below.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.k8s_objects import OVERLAYS, VARIANTS, Object, objects_of, title
from tests.test_k8s_rendering import CUSTOM_GROUPS

Kind = tuple[str, str]


def read_kinds(folder: Path) -> dict[Kind, Object]:
    """The schema of every apiVersion and kind that a folder defines."""
    kinds: dict[Kind, Object] = {}
    for path in sorted(folder.rglob("*.yaml")):
        for item in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
            if isinstance(item, dict) and item.get("kind") == "CustomResourceDefinition":
                kinds |= kinds_of(item)
    return kinds


def kinds_of(definition: Object) -> dict[Kind, Object]:
    """The schemas of one definition."""
    spec = definition["spec"]
    return {
        (f"{spec['group']}/{version['name']}", spec["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for version in spec["versions"]
        if version.get("served", True)
    }


def faults(schema: Object, item: Object) -> Iterator[str]:
    """What an API server would refuse of an object, and fields that it would drop."""
    judge = jsonschema.Draft7Validator(plain(schema))
    for error in judge.iter_errors(item):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    known = {"properties": {"apiVersion": {}, "kind": {}, "metadata": {}}}
    top = {**schema, "properties": {**schema.get("properties", {}), **known["properties"]}}
    yield from unknown(top, item, "")


def plain(schema: Any) -> Any:
    """A structural schema as JSON Schema: integers that may be spelt as texts."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    value = {key: plain(part) for key, part in schema.items() if key != "format"}
    if schema.get("x-kubernetes-int-or-string") is True:
        value.pop("anyOf", None)
        value["type"] = ["integer", "string"]
    return value


def unknown(schema: Object, value: Any, path: str) -> Iterator[str]:
    """Fields that a schema does not name, which Kubernetes drops in silence."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from unknown(schema.get("items", {}), part, f"{path}[{index}]")
    elif isinstance(value, dict):
        named, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, part in value.items():
            if key in named:
                if path or key not in ("apiVersion", "kind", "metadata"):
                    yield from unknown(named[key], part, f"{path}.{key}")
            elif isinstance(more, dict):
                yield from unknown(more, part, f"{path}.{key}")
            elif more is not True:
                yield f"{path}.{key}: not known"


@pytest.mark.parametrize("name", [*OVERLAYS, *VARIANTS])
def test_objects_keep_the_definitions_of_their_kinds(name: str) -> None:
    folder = os.environ.get("CRD_DIR")
    if not folder:
        pytest.skip("CRD_DIR names no folder with CustomResourceDefinitions")
    kinds = read_kinds(Path(folder))
    checked = 0
    for item in objects_of(name):
        schema = kinds.get((item["apiVersion"], item["kind"]))
        if schema is not None:
            assert list(faults(schema, item)) == [], title(item)
            checked += 1
    custom = [i for i in objects_of(name) if i["apiVersion"].partition("/")[0] in CUSTOM_GROUPS]
    assert checked or not custom, f"{folder} defines none of the kinds of {name}"


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: example.org
  names: {kind: Thing}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              properties:
                level: {type: string, enum: [low, high]}
                amount: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
                labels: {type: object, additionalProperties: {type: string}}
                parts: {type: array, items: {type: object, properties: {name: {type: string}}}}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
THING = {
    "apiVersion": "example.org/v1",
    "kind": "Thing",
    "metadata": {"name": "a", "labels": {"b": "c"}},
    "spec": {
        "level": "low",
        "amount": "5Gi",
        "labels": {"x": "y"},
        "parts": [{"name": "p"}],
        "free": {"z": 1},
    },
}


def test_an_object_that_keeps_a_definition_is_taken(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(DEFINITION)
    schema = read_kinds(tmp_path)[("example.org/v1", "Thing")]
    assert list(faults(schema, THING)) == []
    assert list(faults(schema, THING | {"spec": {"amount": 5}})) == []


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"levl": "low"}, ".spec.levl: not known"),
        ({"level": "middle"}, "'middle' is not one of"),
        ({"amount": 1.5}, "1.5 is not of type"),
        ({"labels": {"x": 1}}, "1 is not of type"),
        ({"parts": [{"nme": "p"}]}, ".spec.parts[0].nme: not known"),
    ],
)
def test_what_a_definition_does_not_know_is_found(spec: Object, word: str) -> None:
    schema = kinds_of(yaml.safe_load(DEFINITION))[("example.org/v1", "Thing")]
    assert any(word in fault for fault in faults(schema, THING | {"spec": spec}))
