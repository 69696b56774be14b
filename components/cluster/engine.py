"""The engine `cluster`: the maps of a step as Indexed Jobs.

`components/stage` loads this module by its name where that engine is asked for; it imports none of
this room.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Self, TypeVar

from components.artifacts.storage import Storage, open_storage
from components.cluster.client import ClusterClient
from components.cluster.indexed_jobs import IndexedJobLauncher
from components.cluster.place import Place
from components.stage.engine import LocalEngine
from components.stage.execution import Execution
from components.stage.images import image_uri
from components.stage.indexed import IndexedEngine

Item = TypeVar("Item")
Result = TypeVar("Result")

PLANS_FOLDER = ".plans"
"""In the data root: pods share nothing else."""


class ClusterEngine(IndexedEngine):
    """Pods of Indexed Jobs; work that shares a scratch folder stays in this pod."""

    on_cluster = True

    def __init__(self, execution: Execution, storage: Storage, workers: int, threads: int) -> None:
        """Connect to the cluster.

        Args:
            execution: where pods run.
            storage: of the step's artifact, `<data_root>/<step>/<key>`.
            workers: pods of a map, at most.
            threads: of a step that computes in one process.
        """
        self.execution = execution
        self.client = ClusterClient.connect()
        self.step, self.key = storage.uri.rstrip("/").split("/")[-2:]
        place = Place.of(execution, self.client.namespace, image_uri("data"))
        self._jobs = IndexedJobLauncher(self.client, place, self.step, self.key)
        super().__init__(
            workers,
            threads,
            open_storage(execution.data_root).child(f"{PLANS_FOLDER}/{self.step}-{self.key}"),
            self._jobs,
            execution.allow_unsafe,
        )

    def __enter__(self) -> Self:
        self._jobs.remove_left()
        super().__enter__()
        return self

    def map_here(
        self, function: Callable[[Item], Result], items: Sequence[Item], label: str
    ) -> Iterator[Result]:
        """Apply a function in processes of this pod, see `Engine`."""
        with LocalEngine(self.workers, self.threads) as engine:
            yield from engine.map(function, items, label)
