"""Remove artifacts that nothing needs: mark from what roots them, sweep the rest.

Roots are the records of runs (`<data_root>/runs/<id>.json`), pins (`<data_root>/pins/<step>/<key>`)
and what is being written (a lease that is held). An artifact that a root names keeps its parents.
What is younger than a minimum age stays: a run that is under way has not recorded it yet.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.artifacts.artifact import Artifact
from components.artifacts.errors import CorruptArtifactError, LeaseHeldError
from components.artifacts.inspection import list_artifacts
from components.artifacts.manifest import MANIFEST_NAME
from components.artifacts.storage import Storage

RUNS_FOLDER, PINS_FOLDER = "runs", "pins"

Place = tuple[str, str]
"""Step and key."""


@dataclass(frozen=True)
class Garbage:
    """An artifact that no root needs."""

    artifact: Artifact
    age_s: float

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.bytes for entry in self.artifact.manifest.files)


def mark_roots(data_root: Storage) -> set[Place]:
    """What runs and pins name.

    Raises:
        CorruptArtifactError: a record that cannot be read: what it needs is not known.
    """
    roots: set[Place] = set()
    runs = data_root.child(RUNS_FOLDER)
    for name in runs.names():
        try:
            steps = json.loads(runs.read(name))["steps"]
            roots |= {(str(step["step"]), str(step["key"])) for step in steps}
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"expected the record of a run in {runs.uri}/{name}, got something else "
                f"({type(error).__name__}): remove it, or nothing can be collected"
            ) from None
    for name in data_root.child(PINS_FOLDER).names():
        step, _, key = name.partition("/")
        roots.add((step, key))
    return roots


def find_garbage(data_root: Storage, min_age_s: float, now_unix_s: float) -> list[Garbage]:
    """The artifacts that no root needs and that are old enough.

    Args:
        data_root: of one trust domain.
        min_age_s: what is younger stays.
        now_unix_s: what ages are counted to.
    """
    held = {(a.manifest.step, a.manifest.key): a for a in list_artifacts(data_root)}
    needed = _with_parents(mark_roots(data_root), held)
    found = []
    for place, artifact in sorted(held.items()):
        age_s = now_unix_s - artifact.storage.modified_unix_s(MANIFEST_NAME)
        if place not in needed and age_s >= min_age_s:
            found.append(Garbage(artifact, age_s))
    return found


def find_children(data_root: Storage, artifact: Artifact) -> list[Artifact]:
    """The artifacts that were made of one."""
    place = (artifact.manifest.step, artifact.manifest.key)
    return [
        other
        for other in list_artifacts(data_root)
        if place in {(parent.step, parent.key) for parent in other.manifest.parents.values()}
    ]


def remove_artifact(artifact: Artifact) -> None:
    """Remove an artifact, its manifest first: what is left of it after a crash is no artifact.

    Raises:
        LeaseHeldError: it is being written.
    """
    storage = artifact.storage
    with storage.lease():
        storage.remove(MANIFEST_NAME)
        storage.clear()


def sweep(garbage: list[Garbage]) -> Iterator[tuple[Garbage, bool]]:
    """Remove garbage, one artifact after another; whether it went, or is being written again."""
    for one in garbage:
        try:
            remove_artifact(one.artifact)
        except LeaseHeldError:
            yield one, False
        else:
            yield one, True


def pin(data_root: Storage, artifact: Artifact, text: str) -> None:
    """Keep an artifact and its parents, whatever runs say."""
    data_root.child(PINS_FOLDER).replace(
        f"{artifact.manifest.step}/{artifact.manifest.key}", text.encode()
    )


def unpin(data_root: Storage, artifact: Artifact) -> None:
    """Let go of a pin; nothing happens where there is none."""
    data_root.child(PINS_FOLDER).remove(f"{artifact.manifest.step}/{artifact.manifest.key}")


def is_pinned(data_root: Storage, artifact: Artifact) -> bool:
    """Whether an artifact is pinned itself."""
    name = f"{artifact.manifest.step}/{artifact.manifest.key}"
    return data_root.child(PINS_FOLDER).exists(name)


def _with_parents(roots: set[Place], held: Mapping[Place, Artifact]) -> set[Place]:
    """The roots, their parents, and so on."""
    needed: set[Place] = set()
    waiting = [*roots]
    while waiting:
        place = waiting.pop()
        if place in needed:
            continue
        needed.add(place)
        if place in held:
            parents = held[place].manifest.parents.values()
            waiting += [(parent.step, parent.key) for parent in parents]
    return needed
