"""Everything that the cards and the report say, read from the inputs once."""

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ArtifactError
from components.artifacts.manifest import LEDGER_NAME, Manifest
from components.artifacts.rows import read_rows
from components.publishing.config import PublishingConfig
from components.publishing.corpus import Corpus, read_corpus

Row = dict[str, Any]

DOCUMENT_INPUTS = ("crawl", "clean", "dedup", "decontamination", "tokens")
"""The inputs whose steps documents flow through, in the order of the graph."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The inputs and what was read of them."""

    inputs: Mapping[str, Artifact]
    config: PublishingConfig
    corpus: Corpus

    architecture: Mapping[str, Any]
    """The model folder's config.json."""

    scores: Mapping[str, Any]
    records: list[Row]
    samples: list[Row]
    verdicts: list[Row]
    continuations: list[Row]

    clusters: list[Row]
    """The largest clusters of near duplicates."""

    spans: list[Row]
    """The first spans shared with a benchmark."""

    def manifest(self, name: str) -> Manifest:
        """The manifest of an input."""
        return self.inputs[name].manifest

    def settings(self, name: str) -> dict[str, Any]:
        """The config of the step that made an input, nested fields with a dot."""
        return dict(_flatten(cut_paths(self.manifest(name).config["config"])))

    @property
    def pretrained(self) -> str:
        """Name of the model that training started from; empty where it started from nothing."""
        return str(self.settings("model").get("pretrained_folder", ""))

    @property
    def measures(self) -> Mapping[str, float]:
        """What training measured."""
        return self.manifest("model").measures


def read_facts(inputs: Mapping[str, Artifact], config: PublishingConfig) -> Facts:
    """Read the inputs.

    Raises:
        ArtifactError: the inputs were not made from each other, or a file is damaged.
    """
    check_chain(inputs)
    model = inputs["model"]
    return Facts(
        inputs=inputs,
        config=config,
        corpus=read_corpus(inputs["tokens"]),
        architecture=json.loads(_read_named(model, "model/config.json")),
        scores=json.loads(inputs["scores"].read(inputs["scores"].only("scores"))),
        records=read_rows(model, "records"),
        samples=read_rows(inputs["samples"], "samples"),
        verdicts=read_rows(inputs["verdicts"], "verdicts"),
        continuations=read_rows(inputs["samples"], "continuations"),
        clusters=heapq.nlargest(
            config.num_clusters,
            iterate_rows(inputs["dedup"], "clusters"),
            key=lambda row: len(row["dropped"]),
        ),
        spans=[*islice(iterate_rows(inputs["decontamination"], "spans"), config.num_spans)],
    )


def check_chain(inputs: Mapping[str, Artifact]) -> None:
    """Refuse artifacts of different runs: a card must not give one model another one's numbers.

    Raises:
        ArtifactError: an input was made from something else than what was handed in beside it.
    """
    given = {artifact.manifest.step: artifact.manifest for artifact in inputs.values()}
    for name, artifact in inputs.items():
        for parent in artifact.manifest.parents.values():
            other = given.get(parent.step)
            if other is not None and other.digest != parent.digest:
                raise ArtifactError(
                    f"expected {name} made from {parent.step} {other.digest[:16]}, got one made "
                    f"from {parent.step} {parent.digest[:16]} in {artifact.storage.uri}: give "
                    "artifacts of one run"
                )


def iterate_rows(artifact: Artifact, part: str) -> Iterator[Row]:
    """The rows of a part one by one: a large corpus has more clusters than a report can hold."""
    for entry in artifact.part(part):
        for line in artifact.read(entry).splitlines():
            yield json.loads(line)


def read_ledger(artifact: Artifact) -> Mapping[str, Any]:
    """When, where and how long an artifact was made; empty where its folder keeps no ledger."""
    if not artifact.storage.exists(LEDGER_NAME):
        return {}
    ledger: Mapping[str, Any] = json.loads(artifact.storage.read(LEDGER_NAME))
    return ledger


def cut_paths(value: Any) -> Any:
    """Leave of every absolute path in a config its last name: a card is read by strangers."""
    if isinstance(value, Mapping):
        return {name: cut_paths(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [cut_paths(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "file://")):
        return PurePosixPath(value).name
    return value


def _read_named(artifact: Artifact, name: str) -> bytes:
    for entry in artifact.manifest.files:
        if entry.name == name:
            return artifact.read(entry)
    raise ArtifactError(
        f"expected a file {name!r} in {artifact.storage.uri}, found none: run training again"
    )


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
