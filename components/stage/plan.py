"""One map as files: what an indexed engine hands to its processes, and what they hand back.

    plan.pickle             the function, the items, and how many indexes share them
    results/000012.pickle   what came of item 12: a value, or the error that its work raised

Index i of N does the items i, i + N, i + 2 N ... in their order. A result is published create-only
and made once: an index that was killed is started again and goes on at its first missing one.
Pickles are code to whoever reads them: a data root is one trust domain.
"""

import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from components.artifacts.errors import StepFailedError
from components.artifacts.storage import Storage

PLAN_NAME = "plan.pickle"

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in every pod of an Indexed Job, from 0."""

EXIT_WORK_FAILED = 3
"""The work raised an error, which is published: starting the index again would not help. A Job's
podFailurePolicy fails the index on it; any other end but 0 is a reason to start it again."""


@dataclass(frozen=True)
class MapPlan:
    """A map that N indexes share."""

    function: Callable[[Any], Any]
    """Picklable by name: a function of a module, or a `partial` of one."""

    items: Sequence[Any]
    num_indexes: int

    def write(self, storage: Storage) -> None:
        """Publish the plan in a folder of its own."""
        storage.create(PLAN_NAME, pickle.dumps((self.function, [*self.items], self.num_indexes)))

    @classmethod
    def read(cls, storage: Storage) -> "MapPlan":
        """The plan of a folder."""
        return cls(*pickle.loads(storage.read(PLAN_NAME)))


def work_off(plan: MapPlan, index: int, storage: Storage) -> bool:
    """Do the items of one index and publish each result.

    Returns:
        Whether all went well; an error of the work is its item's result, and the last one.
    """
    for number in range(index, len(plan.items), plan.num_indexes):
        name = _result_name(number)
        if storage.exists(name):
            continue
        try:
            result = pickle.dumps((plan.function(plan.items[number]), None))
        except Exception as error:
            storage.create(name, pickle.dumps((None, _portable(error))))
            return False
        storage.create(name, result)
    return True


def has_result(storage: Storage, number: int) -> bool:
    """Whether an item is done."""
    return storage.exists(_result_name(number))


def read_result(storage: Storage, number: int) -> Any:
    """What an item's work returned; raises the error that it raised."""
    value, error = pickle.loads(storage.read(_result_name(number)))
    if error is not None:
        raise error
    return value


def _portable(error: Exception) -> Exception:
    """The error as another process can raise it, with its traceback as a note for the log."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of another signature, or one that holds what cannot travel
        return StepFailedError(f"{type(error).__name__}: {error}")
    return error


def _result_name(number: int) -> str:
    return f"results/{number:06d}.pickle"
