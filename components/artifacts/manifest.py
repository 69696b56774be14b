"""The manifest: what an artifact is, what it holds, and where it comes from.

`manifest.json` is written last and create-only, so a folder with a manifest is whole. Times, hosts
and addresses are not in it: they lie beside it in `ledger.json`, outside every digest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts.canonical import canonical_json, digest_of
from components.artifacts.errors import CorruptArtifactError, WrongKindError
from components.artifacts.tally import Tally

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
LEDGER_NAME = "ledger.json"
LOCATION_NAME = "location.json"
"""Beside a copied manifest: the URI of the folder that holds the data."""

TOMBSTONE_NAME = "tombstone.json"
"""In the folder of an artifact that was withdrawn: who asked, why, when, and what replaces it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One published file of an artifact."""

    part: str
    """What the file belongs to, such as `documents`, `spans` or `model`."""

    index: int
    """The shard's place in the plan; 0 for a part of one file."""

    name: str
    """Relative to the artifact's folder."""

    bytes: int
    sha256: str
    """Of the file's bytes: finds damage."""

    rows: int
    digest: str
    """sha256 over the rows in order: the same whatever wrote the file."""

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON value."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FileEntry":
        """Read what `to_json` wrote."""
        return cls(**{name: value[name] for name in cls.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """An artifact that this one was made from."""

    step: str
    key: str
    digest: str

    def to_json(self) -> dict[str, str]:
        """The parent as a JSON value."""
        return {"step": self.step, "key": self.key, "digest": self.digest}


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything about an artifact but its rows."""

    step: str
    version: int
    kind: str
    """What a reader may expect: documents, tokenizer, tokens, model, samples, ..."""

    key: str
    digest: str
    """Over the digests of the digested parts: what came out."""

    files: tuple[FileEntry, ...]
    """Sorted by part and index."""

    tally: Tally
    measures: Mapping[str, float]
    """Results that are numbers, such as `bits_per_byte`; the names that Kubeflow shows."""

    config: Mapping[str, Any]
    """The identity config, with what the step observed of its source."""

    parents: Mapping[str, Parent]
    """By input name."""

    code_version: str

    def part(self, part: str) -> tuple[FileEntry, ...]:
        """The files of one part, in the order of the plan."""
        return tuple(entry for entry in self.files if entry.part == part)

    def to_bytes(self) -> bytes:
        """Spell the manifest: indented JSON with sorted keys."""
        value = {
            "schema": SCHEMA,
            "step": self.step,
            "version": self.version,
            "kind": self.kind,
            "key": self.key,
            "digest": self.digest,
            "files": [entry.to_json() for entry in self.files],
            "tally": self.tally.to_json(),
            "measures": dict(self.measures),
            "config": dict(self.config),
            "parents": {name: parent.to_json() for name, parent in self.parents.items()},
            "code_version": self.code_version,
        }
        canonical_json(value)  # refuses NaN and what is not JSON
        return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, uri: str) -> "Manifest":
        """Read what `to_bytes` wrote.

        Raises:
            CorruptArtifactError: not JSON, or a key is missing.
            WrongKindError: a schema that this version does not read.
        """
        try:
            value = json.loads(data)
            if value["schema"] != SCHEMA:
                raise WrongKindError(
                    f"expected manifest schema {SCHEMA}, got {value['schema']!r} in {uri}: "
                    "make the artifact again with this version"
                )
            return cls(
                step=value["step"],
                version=value["version"],
                kind=value["kind"],
                key=value["key"],
                digest=value["digest"],
                files=tuple(FileEntry.from_json(entry) for entry in value["files"]),
                tally=Tally.from_json(value["tally"]),
                measures=value["measures"],
                config=value["config"],
                parents={name: Parent(**parent) for name, parent in value["parents"].items()},
                code_version=value["code_version"],
            )
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise CorruptArtifactError(
                f"expected a manifest in {uri}, got something else ({error!r}): "
                "remove that folder and run the step again"
            ) from error


def digest_of_files(files: tuple[FileEntry, ...], undigested: frozenset[str]) -> str:
    """Make an artifact's digest of its files' row digests, in order.

    Args:
        files: sorted by part and index.
        undigested: parts that are for people, such as a rendered report.
    """
    return digest_of(
        [[entry.part, entry.index, entry.digest] for entry in files if entry.part not in undigested]
    )
