"""The commands `codekiln crawl-explain` and `codekiln crawl-forget`."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.inspection import list_artifacts
from components.artifacts.manifest import TOMBSTONE_NAME
from components.artifacts.storage import open_storage
from components.artifacts.swhid import content_swhid, revision_swhid
from components.artifacts.withdrawal import REPOSITORIES, Withdrawal, remove_data, withdraw
from components.stage.command import EXIT_FAILED, OneLineParser
from components.stage.execution import Execution

CRAWL = "crawl"
COLUMNS = [
    "source", "repo_id", "repo", "commit", "path", "blob_sha1", "sha256", "size", "language",
    "license", "license_source", "stars", "flags",
]  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{8,64}")


def run_explain(argv: Sequence[str]) -> int:
    """Say where a file is from; 1 where no corpus holds it."""
    parser = OneLineParser(
        prog="codekiln crawl-explain",
        description="Say where a file of a corpus is from, under what licence, and where the "
        "licence was read.",
        allow_abbrev=False,
    )
    parser.add_argument("sha256", metavar="SHA256", help="of the file, or its first 8 digits")
    parser.add_argument("--data-root", default=Execution().data_root, metavar="DIR")
    arguments = parser.parse_known(argv)
    wanted = arguments.sha256.lower()
    if not _SHA256.fullmatch(wanted):
        raise ConfigError(f"expected 8 to 64 hex digits of a sha256, got {arguments.sha256!r}")
    found: dict[str, list[str]] = {}
    for artifact in list_artifacts(open_storage(arguments.data_root)):
        if artifact.manifest.kind != DOCUMENTS:
            continue
        held = f"{artifact.manifest.step} {artifact.manifest.key}"
        if artifact.storage.exists(TOMBSTONE_NAME):
            held += " (withdrawn)"
        for row, evidence in _search(artifact, wanted):
            places = found.setdefault(_describe(row), [])
            places.append(held + (f"\n  evidence   {evidence}" if evidence else ""))
    if not found:
        _write(f"no corpus of {arguments.data_root!r} holds a file of sha256 {wanted}")
        return EXIT_FAILED
    for text, places in sorted(found.items()):
        _write(text)
        for place in dict.fromkeys(places):
            _write(f"  in         {place}")
    return 0


def run_forget(argv: Sequence[str]) -> int:
    """Take a repository out of every crawl; 1 where none holds it."""
    parser = OneLineParser(
        prog="codekiln crawl-forget",
        description="Publish every crawl that holds a repository anew without it, withdraw the old "
        "ones, and name all that was made of them. Add the entry to crawl.opt_out as well, or the "
        "next crawl fetches it again.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "entry",
        metavar="OWNER/NAME",
        help="as a list of opt-outs spells it: owner, owner/name, id:ID, a glob, a sha256",
    )
    parser.add_argument("--data-root", default=Execution().data_root, metavar="DIR")
    parser.add_argument("--reason", default="asked to be left out", help="for the tombstone")
    parser.add_argument(
        "--remove", action="store_true", help="remove the withdrawn files from the disk too"
    )
    arguments = parser.parse_known(argv)
    if not arguments.reason.isprintable():
        raise ConfigError(f"expected --reason as one line, got {arguments.reason!r}")
    root, date = open_storage(arguments.data_root), datetime.now(UTC).date().isoformat()
    done = withdraw(root, CRAWL, arguments.entry, arguments.reason, date)
    if not done:
        _write(f"no crawl of {arguments.data_root!r} holds {arguments.entry!r}")
        return EXIT_FAILED
    for one in done:
        for line in _report(one):
            _write(line)
        if arguments.remove:
            remove_data(one.withdrawn)
            _write(f"  removed    the files of {one.withdrawn.storage.uri}")
    return 0


def _search(artifact: Artifact, wanted: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of a hash, and the licence files that speak for them."""
    for entry in artifact.part(DOCUMENTS):
        if not artifact.storage.exists(entry.name):
            continue  # withdrawn and removed
        hashes = read_documents(artifact, entry, ["sha256"])["sha256"]
        if not pc.any(pc.starts_with(hashes, wanted)).as_py():
            continue
        table = read_documents(artifact, entry, COLUMNS)
        for row in table.filter(pc.starts_with(table["sha256"], wanted)).to_pylist():
            yield row, _evidence(artifact, entry.index, row)


def _evidence(artifact: Artifact, index: int, row: dict[str, Any]) -> str:
    """The licence file that a row's licence was read in, by its sha256."""
    path = row["license_source"].partition("file:")[2]
    for entry in artifact.part(REPOSITORIES):
        if entry.index != index:
            continue
        for line in artifact.read(entry).splitlines():
            record = json.loads(line)
            if record["repo_id"] == row["repo_id"]:
                texts: dict[str, str] = record["license_files"]
                chosen = {path: texts[path]} if path in texts else texts
                return ", ".join(f"{name} sha256 {sha}" for name, sha in chosen.items())
    return ""


def _describe(row: dict[str, Any]) -> str:
    lines = [
        f"sha256 {row['sha256']}",
        f"  repository {row['repo']} ({row['repo_id']}, source {row['source']})",
        f"  commit     {row['commit'] or 'not known'}",
        f"  path       {row['path']} ({row['size']:,} bytes, {row['language']})",
        f"  licence    {row['license']}, read from {row['license_source']}",
        f"  swhid      {content_swhid(row['blob_sha1'])}",
    ]
    if revision := revision_swhid(row["commit"]):
        lines.append(f"  swhid      {revision}")
    if row["source"] == "github":
        lines.append(
            f"  page       https://github.com/{row['repo']}/blob/{row['commit']}/{row['path']}"
        )
    if row["flags"]:
        lines.append(f"  flags      {', '.join(row['flags'])}")
    return "\n".join(lines)


def _report(one: Withdrawal) -> Iterator[str]:
    yield f"withdrawn    {one.withdrawn.storage.uri}: {one.files:,} files"
    yield f"  successor  {one.successor.storage.uri}"
    if not one.descendants:
        yield "  nothing was made of it"
    for artifact in one.descendants:
        manifest = artifact.manifest
        yield f"  made of it {manifest.kind}: {manifest.step} {manifest.key}"


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
