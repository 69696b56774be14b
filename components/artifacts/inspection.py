"""What lies in a data root, and whether it is still what its manifest says."""

from collections.abc import Iterator

from components.artifacts.artifact import Artifact
from components.artifacts.errors import CorruptArtifactError
from components.artifacts.manifest import MANIFEST_NAME, digest_of_files
from components.artifacts.storage import Storage


def list_artifacts(data_root: Storage) -> Iterator[Artifact]:
    """The finished artifacts of a data root, `<step>/<key>/`, in the order of their names."""
    for name in data_root.names():
        step, _, rest = name.partition("/")
        key, _, file = rest.partition("/")
        if file == MANIFEST_NAME and not step.startswith(".") and not key.startswith("."):
            yield Artifact.open(data_root.child(f"{step}/{key}").uri)


def find_damage(artifact: Artifact, undigested: frozenset[str]) -> list[str]:
    """What is wrong with an artifact, one line each; nothing where it is whole.

    Every file is read again: its length and sha256 must be the manifest's, and the digests of the
    files' rows must make the artifact's digest.

    Args:
        artifact: what to check.
        undigested: parts that the step leaves out of its digest.
    """
    damage = []
    for entry in artifact.manifest.files:
        try:
            artifact.read(entry)
        except CorruptArtifactError as error:
            damage.append(str(error))
    digest = digest_of_files(artifact.manifest.files, undigested)
    if digest != artifact.manifest.digest:
        damage.append(
            f"expected digest {artifact.manifest.digest[:16]}, got {digest[:16]} of the files "
            f"in {MANIFEST_NAME} of {artifact.storage.uri}: remove that folder and run again"
        )
    return damage
