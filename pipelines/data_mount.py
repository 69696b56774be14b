"""The claim with the data root, in every task of a compiled graph, where the root is a folder.

Kubeflow's compiler takes the folder of a mount as a constant, and graphs are built when they are
imported: so the mount is written into what the compiler made, as `kubernetes.mount_pvc` of
kfp-kubernetes spells it.
"""

import argparse
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from components.artifacts.errors import ConfigError
from components.cluster.place import CLAIM_VARIABLE

FLAG = "--data-claim"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataMount:
    """Where tasks mount which claim."""

    claim: str
    """In the namespace of the run; those that tasks launch mount one of this name in theirs."""

    folder: str
    """The data root."""

    @classmethod
    def of(cls, claim: str | None, data_root: str) -> Self | None:
        """The mount that the flags of a command ask for; None without a claim.

        Raises:
            ConfigError: the data root is not the whole path of a folder.
        """
        if not claim:
            return None
        if not data_root.startswith("/"):
            raise ConfigError(
                f"expected --data-root as the whole path of a folder beside {FLAG} {claim}, got "
                f"{data_root!r}: say where the claim is mounted, or leave {FLAG} out"
            )
        return cls(claim=claim, folder=data_root)

    def write(self, ir: MutableMapping[str, Any], platform: MutableMapping[str, Any]) -> None:
        """Mount the claim in every task, and name it to what a task launches.

        Args:
            ir: the graph, changed in place.
            platform: what it asks of Kubernetes beside, changed in place.
        """
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for name, executor in ir["deploymentSpec"]["executors"].items():
            variables = executor["container"].setdefault("env", [])
            variables.append({"name": CLAIM_VARIABLE, "value": self.claim})
            executors.setdefault(name, {})["pvcMount"] = [
                {
                    "constant": self.claim,
                    "mountPath": self.folder,
                    "pvcNameParameter": {"runtimeValue": {"constant": self.claim}},
                }
            ]


def add_claim_flag(parser: argparse.ArgumentParser) -> None:
    """Give a command the flag that names the claim."""
    parser.add_argument(
        FLAG,
        metavar="CLAIM",
        help="a claim that every pod mounts at --data-root, where that is a folder",
    )


def write_mount(documents: Sequence[Any], mount: DataMount) -> None:
    """Mount in the documents of a compiled file: IR and platform, or the objects for kubectl."""
    first, second = documents
    if "spec" in second:  # Pipeline, PipelineVersion
        mount.write(second["spec"]["pipelineSpec"], second["spec"]["platformSpec"])
    else:
        mount.write(first, second)
