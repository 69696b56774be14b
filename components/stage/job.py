"""One step as the pods of one Indexed Job: every pod runs the same command.

Index 0 leads: it holds the lease, plans, joins and publishes. The others find its maps in the
step's scratch storage and do the items that are theirs. Which index a pod is stands in
JOB_COMPLETION_INDEX, as Kubernetes sets it; how many there are in `--workers`, the Job's
`completions`. All of them mount the data root.
"""

import contextlib
import os
import time
from collections.abc import Iterator

from components.artifacts.errors import ConfigError, CorruptArtifactError, StepFailedError
from components.artifacts.manifest import MANIFEST_NAME
from components.artifacts.storage import Storage
from components.stage.indexed import Indexes, LocalIndexes
from components.stage.plan import INDEX_VARIABLE, PLAN_NAME, MapPlan, work_off

POLL_INTERVAL_S = 0.2


def job_index() -> int | None:
    """Which index of a Job this pod is; None outside of one.

    Raises:
        ConfigError: the variable is set to something else.
    """
    text = os.environ.get(INDEX_VARIABLE)
    if text is None:
        return None
    if not text.isdecimal():
        raise ConfigError(f"expected a number from 0 in {INDEX_VARIABLE}, got {text!r}")
    return int(text)


class PodLauncher:
    """Of the indexes of a map, starts the leader's own; the others' pods find the plan."""

    @contextlib.contextmanager
    def launch(self, plan_uri: str, num_indexes: int) -> Iterator[Indexes]:  # noqa: ARG002
        """See `Launcher`."""
        own = LocalIndexes(plan_uri, [0])
        try:
            yield _Pods(own)
            own.wait()
        finally:
            own.kill()


class _Pods:
    def __init__(self, own: LocalIndexes) -> None:
        self._own = own

    def tend(self) -> bool:
        """A pod that ends is started again by its Job, so there is always one at work."""
        self._own.tend()
        return True

    def ending(self) -> str:
        """How the indexes ended, see `Indexes`."""
        return self._own.ending()


def follow_leader(storage: Storage, plans: Storage, index: int) -> None:
    """Do an index's part of every map of a step, until the step's manifest is there.

    Args:
        storage: of the step's artifact.
        plans: where the leader hands its maps over.
        index: from 1.

    Raises:
        StepFailedError: the work raised an error, which the leader reports.
    """
    done: set[str] = set()
    while not storage.exists(MANIFEST_NAME):
        for name in plans.names():
            folder, _, file = name.partition("/")
            if file != PLAN_NAME or folder in done:
                continue
            here = plans.child(folder)
            with contextlib.suppress(CorruptArtifactError):  # the leader is done with it
                if not work_off(MapPlan.read(here), index, here):
                    raise StepFailedError(
                        f"index {index} failed in {here.uri}: index 0 says why, run the Job again"
                    )
            done.add(folder)
        time.sleep(POLL_INTERVAL_S)
