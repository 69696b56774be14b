"""The process of one index of a map: `python -m components.stage.map_index PLAN_URI`.

A pod of a Kubernetes Indexed Job runs this command, and so does `LocalLauncher`. Which index it is
stands in JOB_COMPLETION_INDEX, as Kubernetes sets it.
"""

import os
import sys
from collections.abc import Sequence

from components.artifacts.errors import ConfigError
from components.artifacts.storage import open_storage
from components.stage.command import run_guarded
from components.stage.lifeline import SUPERVISOR_VARIABLE, become_worker
from components.stage.plan import EXIT_WORK_FAILED, INDEX_VARIABLE, MapPlan, work_off


def main(arguments: Sequence[str]) -> int:
    """Work one index off; the exit code."""
    supervisor = os.environ.pop(SUPERVISOR_VARIABLE, None)
    if supervisor:
        become_worker(int(supervisor))
    return run_guarded(lambda: _work(arguments), "map-index")


def _work(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        raise ConfigError(f"expected the URI of a plan as the only argument, got {[*arguments]!r}")
    storage = open_storage(arguments[0])
    plan = MapPlan.read(storage)
    return 0 if work_off(plan, _index_of(plan), storage) else EXIT_WORK_FAILED


def _index_of(plan: MapPlan) -> int:
    text = os.environ.get(INDEX_VARIABLE, "")
    if not text.isdecimal() or int(text) >= plan.num_indexes:
        raise ConfigError(
            f"expected {INDEX_VARIABLE} 0 to {plan.num_indexes - 1}, got {text!r}: run this as a "
            "pod of an Indexed Job with that many completions"
        )
    return int(text)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without tearing C++ libraries down, which can abort while threads start
