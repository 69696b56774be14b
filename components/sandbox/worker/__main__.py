"""Run untrusted programs one after another: JSON lines in, JSON lines out.

The standard library and the files beside this one are all that it needs:

    PYTHONPATH=ROOT python -P -s -S -m components.sandbox.worker < programs.jsonl > verdicts.jsonl

The first line out says which level of isolation was reached. Then, for every line in, {"id": any,
"prompt": text, "completion": text, "test": text, "entry_point": text}, one out, in the same order
and below 16 KiB: {"id": any, "verdict": class, "detail": text}. Classes: passed, failed, timeout,
crashed, memory, output.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

from components.sandbox.worker.confinement import Limits
from components.sandbox.worker.network import find_answers
from components.sandbox.worker.server import (
    Nursery,
    NurseryError,
    Program,
    open_nursery,
    run_program,
)
from components.sandbox.worker.system import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    process_control,
)

PREFIX = "codekiln-sandbox-"
LEVELS = ("L0", "L1", "L2", "L3", "L4")
EXIT_BELOW_FLOOR = 3
EXIT_NETWORK = 4


def main() -> None:
    """Read the limits, tie this process to its parent, reach a level, serve."""
    arguments = _parser().parse_args()
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    if arguments.parent_pid not in (None, os.getppid()):
        sys.exit("the parent ended before the worker began")
    if arguments.prove_no_network:
        _refuse_network()
    # Programs import the standard library alone, not what lies beside this package.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != os.path.realpath(root)]
    limits = Limits(
        cpu_s=arguments.cpu_s,
        wall_s=arguments.wall_s,
        memory_bytes=arguments.memory_bytes,
        file_bytes=arguments.file_bytes,
        keep_user=arguments.keep_user,
    )
    base = arguments.folder or tempfile.mkdtemp(prefix=PREFIX)
    os.chmod(base, 0o711)
    try:
        serve(limits, base, arguments.ceiling, arguments.floor)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cpu-s", type=int, default=3)
    parser.add_argument("--wall-s", type=float, default=9.0)
    parser.add_argument("--memory-bytes", type=int, default=2**30)
    parser.add_argument("--file-bytes", type=int, default=2**24)
    parser.add_argument("--floor", choices=LEVELS, default="L2", help="refuse to run below it")
    parser.add_argument("--ceiling", choices=LEVELS, default="L4", help="do not go above it")
    parser.add_argument("--folder", help="an empty folder for the programs' files")
    parser.add_argument("--keep-user", action="store_true", help="let root run them as root")
    parser.add_argument("--parent-pid", type=int, help="end when this process is not the parent")
    parser.add_argument(
        "--prove-no-network",
        action="store_true",
        help="refuse where metadata server, DNS, API server or internet answer",
    )
    return parser


def serve(limits: Limits, base: str, ceiling: str, floor: str) -> None:
    """Say the level, then answer every line of the standard input on the standard output."""
    nursery = open_nursery(limits, base, LEVELS.index(ceiling))
    process_control(PR_SET_DUMPABLE, 0)
    level = LEVELS[nursery.level]
    _say({"level": level, "landlock": nursery.landlock, "refused": nursery.refused})
    if nursery.level < LEVELS.index(floor):
        sys.exit(EXIT_BELOW_FLOOR)
    try:
        for line in sys.stdin.buffer:
            _answer(nursery, json.loads(line), limits)
    except NurseryError as error:
        sys.exit(f"the nursery failed: {error}")
    nursery.channel.close()
    os.waitpid(nursery.process, 0)


def _answer(nursery: Nursery, job: dict[str, str], limits: Limits) -> None:
    texts = (job[name] for name in ("prompt", "completion", "test", "entry_point"))
    verdict, detail = run_program(nursery, Program(*texts), limits)
    _say({"id": job["id"], "verdict": verdict, "detail": detail})


def _say(value: dict[str, object]) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


def _refuse_network() -> None:
    answers = find_answers()
    if answers:
        _say({"network": answers})
        sys.exit(EXIT_NETWORK)


if __name__ == "__main__":
    main()
