"""Installed distributions: which there are, and the files that their RECORD lists."""

import base64
import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import PurePosixPath

from components.artifacts.tally import Tally
from components.crawl.languages import language_of
from components.crawl.licenses import declared_license
from components.crawl.source import Candidate, Repository

OUTSIDE = "outside_package"
UNRECORDED = "unrecorded"
SEEN_TWICE = "seen_twice"
WITHOUT_LANGUAGE = "files_without_language"
OF_OTHER_LANGUAGES = "files_of_other_languages"


@dataclass(frozen=True, slots=True)
class InstalledDistribution:
    """A distribution with the text that lists its files."""

    repository: Repository
    root: str
    """The folder that the paths in the record are relative to."""

    record: str

    @property
    def fingerprint(self) -> str:
        """sha256 of the record, which itself holds the sha256 of every file."""
        return hashlib.sha256(self.record.encode()).hexdigest()


def normalized_name(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_distributions(
    folders: Sequence[str], exclude: frozenset[str], tally: Tally
) -> list[InstalledDistribution]:
    """All distributions in some folders, by name; the first of a name wins, as it does in imports.

    Args:
        folders: the site-packages folders, in the order of the import path.
        exclude: normalised names to leave out.
        tally: counts those that are left out, by why.
    """
    found: dict[str, InstalledDistribution | None] = {}
    for folder in folders:
        here = distributions(path=[folder])
        for installed in sorted(here, key=lambda one: (_name(one), _version(one))):
            name = normalized_name(_name(installed))
            if name in found:
                tally.count("distributions_shadowed")
                continue
            found[name] = None
            record = _record(installed)
            if name in exclude:
                tally.count("distributions_excluded")
            elif _is_editable(installed):
                tally.count("distributions_editable")
            elif not name or not record:
                tally.count("distributions_without_record")
            else:
                tally.count("distributions")
                found[name] = InstalledDistribution(_repository(name, installed), folder, record)
    return [found[name] for name in sorted(found) if found[name]]  # type: ignore[misc]


def list_files(
    distribution: InstalledDistribution,
    languages: frozenset[str],
    seen: set[str],
    tally: Tally,
) -> Iterator[Candidate]:
    """The files of a distribution, in the order of their paths.

    Args:
        distribution: whose files.
        languages: names of the wanted languages.
        seen: locations that were listed before; those of this distribution are added.
        tally: counts what is no candidate.
    """
    for path, digest, size_text in sorted(_rows(distribution.record)):
        language = language_of(path)
        if language not in languages:
            tally.count(OF_OTHER_LANGUAGES if language else WITHOUT_LANGUAGE)
            continue
        assert language is not None
        sha256, size = _sha256_hex(digest), int(size_text) if size_text.isdecimal() else 0
        location = os.path.join(distribution.root, path)
        reason = None
        if path.startswith("/") or ".." in PurePosixPath(path).parts or not _is_text(path):
            reason = OUTSIDE  # a script in bin: its first line holds a path of this machine
        elif sha256 is None or not size_text.isdecimal():
            reason = UNRECORDED
        elif is_seen(location, seen):
            reason = SEEN_TWICE
        if reason or sha256 is None:
            tally.take_in(size)
            tally.drop(reason or UNRECORDED, size)
            continue
        yield Candidate(
            repository=distribution.repository,
            path=path,
            size=size,
            sha256=sha256,
            language=language,
            location=location,
        )


def is_seen(location: str, seen: set[str]) -> bool:
    """Whether a file was listed before, under this path or through a symbolic link."""
    real = os.path.realpath(location) if os.path.islink(location) else location
    if real in seen:
        return True
    seen.add(real)
    return False


def _name(installed: Distribution) -> str:
    return _field(installed, "Name") or ""


def _field(installed: Distribution, name: str) -> str | None:
    """A field of METADATA; asking for a missing one by index is deprecated from Python 3.12 on."""
    values = installed.metadata.get_all(name)
    return str(values[0]) if values else None


def _version(installed: Distribution) -> str:
    return _field(installed, "Version") or ""


def _record(installed: Distribution) -> str | None:
    """The text of RECORD, None where there is none that can be read."""
    try:
        return installed.read_text("RECORD")
    except (OSError, UnicodeDecodeError):
        return None


def _is_editable(installed: Distribution) -> bool:
    """Whether a distribution only points to a checkout (PEP 610)."""
    try:
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable"))
    except (OSError, ValueError, AttributeError):
        return False


def _repository(name: str, installed: Distribution) -> Repository:
    license_name, license_source = declared_license(
        _field(installed, "License-Expression"),
        _field(installed, "License"),
        installed.metadata.get_all("Classifier") or (),
    )
    return Repository(
        source="installed",
        repo_id=f"pkg:pypi/{name}",
        repo=name,
        commit=_version(installed),
        license=license_name,
        license_source=license_source,
    )


def _rows(record: str) -> Iterator[tuple[str, str, str]]:
    """Path, digest and size of every line; a damaged end of the record is left out."""
    try:
        for row in csv.reader(record.splitlines()):
            if len(row) == 3:
                yield row[0], row[1], row[2]
    except csv.Error:
        return


def _sha256_hex(digest: str) -> str | None:
    """The hex form of `sha256=<urlsafe base64 without padding>`, None for anything else."""
    algorithm, _, text = digest.partition("=")
    if algorithm != "sha256":
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    except ValueError:
        return None


def _is_text(path: str) -> bool:
    """Whether a path can be written as UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
