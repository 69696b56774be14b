"""The commands `codekiln data rm | gc | pin`: remove artifacts, and keep some."""

import sys
import time
from collections.abc import Sequence

from components.artifacts.artifact import Artifact
from components.artifacts.collection import (
    find_children,
    find_garbage,
    is_pinned,
    mark_roots,
    pin,
    remove_artifact,
    sweep,
    unpin,
)
from components.artifacts.errors import ConfigError
from components.artifacts.storage import Storage, open_storage
from components.stage.command import OneLineParser

MIN_AGE_HOURS = 24.0
"""Longer than any step of a run is under way without a record of what it uses."""


def run_rm(argv: Sequence[str]) -> int:
    """Remove the artifacts that are named."""
    parser = _parser("rm", "Remove artifacts that no other was made of and no run or pin names.")
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT")
    parser.add_argument("--force", action="store_true", help="whatever needs them")
    arguments = parser.parse_known(argv)
    for uri in arguments.artifacts:
        artifact = Artifact.open(uri)
        if not arguments.force:
            _refuse_needed(artifact)
        remove_artifact(artifact)
        sys.stdout.write(f"removed {artifact.storage.uri}\n")
    return 0


def run_gc(argv: Sequence[str]) -> int:
    """Remove every artifact that no run and no pin needs."""
    parser = _parser("gc", "Remove what no run's record and no pin needs.")
    parser.add_argument("--data-root", default=".codekiln", metavar="DIR")
    parser.add_argument(
        "--min-age-hours",
        type=float,
        default=MIN_AGE_HOURS,
        metavar="HOURS",
        help=f"what is younger stays (default: {MIN_AGE_HOURS:g})",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    arguments = parser.parse_known(argv)
    if arguments.min_age_hours < 0:
        raise ConfigError(f"expected --min-age-hours of at least 0, got {arguments.min_age_hours}")
    root = open_storage(arguments.data_root)
    garbage = find_garbage(root, arguments.min_age_hours * 3600, time.time())
    swept = [(one, True) for one in garbage] if arguments.dry_run else sweep(garbage)
    size = 0
    for one, went in swept:
        size += one.size * went
        what = ("would remove" if arguments.dry_run else "removed") if went else "being written:"
        sys.stdout.write(
            f"{what} {one.artifact.storage.uri}  {one.size / 1e6:.2f} MB, "
            f"{one.age_s / 3600:.0f} h old\n"
        )
    sys.stdout.write(f"{len(garbage)} artifacts that nothing needs, {size / 1e6:.2f} MB\n")
    return 0


def run_pin(argv: Sequence[str]) -> int:
    """Keep artifacts, or let go of them."""
    parser = _parser("pin", "Keep artifacts and what they were made of from being collected.")
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT")
    parser.add_argument("--remove", action="store_true", help="let go of the pin")
    arguments = parser.parse_known(argv)
    for uri in arguments.artifacts:
        artifact = Artifact.open(uri)
        if arguments.remove:
            unpin(_root_of(artifact), artifact)
        else:
            pin(_root_of(artifact), artifact, time.strftime("pinned %Y-%m-%d\n", time.gmtime()))
        what = "unpinned" if arguments.remove else "pinned"
        sys.stdout.write(f"{what} {artifact.storage.uri}\n")
    return 0


def _refuse_needed(artifact: Artifact) -> None:
    root, place = _root_of(artifact), (artifact.manifest.step, artifact.manifest.key)
    children = find_children(root, artifact)
    why = ""
    if children:
        why = f"{children[0].manifest.step} {children[0].manifest.key} was made of it"
    elif is_pinned(root, artifact):
        why = "it is pinned"
    elif place in mark_roots(root):
        why = f"a run in {root.uri}/runs names it"
    if why:
        raise ConfigError(
            f"expected an artifact that nothing needs, got {artifact.storage.uri}: {why}; "
            "give --force to remove it all the same"
        )


def _root_of(artifact: Artifact) -> Storage:
    """The data root of an artifact, `<data_root>/<step>/<key>`."""
    return open_storage(artifact.storage.uri.rstrip("/").rsplit("/", 2)[0])


def _parser(name: str, description: str) -> OneLineParser:
    return OneLineParser(prog=f"codekiln data {name}", description=description, allow_abbrev=False)
