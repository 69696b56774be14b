"""Fetching repositories, against `git clone --depth 1`, and how many a second a whole crawl does.

    python -m benchmarks.fetch [--rounds N] [--repositories N] [--workers N] [--packages NAME ...]

Three installed packages become repositories behind `git http-backend` on loopback, with archives
made before, as a server has them cached. Both sides give path and sha256 of every Python file: the
crawl's by its own transport and reader, the clone's from its checkout. Then a crawl of many small
repositories runs as its command does, GraphQL, redirects, records, shards and manifest included;
the double of GitHub runs beside it on the same cores. Needs the tests of a checkout.
"""

import argparse
import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.corpus import read_corpus
from benchmarks.measuring import Cost, measure_in_turn, print_result, print_table
from components.artifacts.opt_out import OptOut
from components.crawl.budgets import Pauses
from components.crawl.clone import Patience
from components.crawl.config import CrawlConfig
from components.crawl.earlier import EarlierCrawls
from components.crawl.fetching import Fetcher
from components.crawl.harvest import Rules
from components.crawl.selection import GithubConfig
from components.crawl.source import RepositoryRef
from components.crawl.tokens import Token
from components.crawl.transport import Settings, Transport
from components.stage.execution import Execution, execute
from components.stage.step import find_step
from tests.github_double import TOKEN, DoubleRepository, GithubDouble
from tests.github_repositories import CONTACT, MIT, package_repository, repository

PACKAGES = ("transformers", "sympy", "hypothesis")
"""Of three thousand files, some thousand, and a hundred, written by people: generated code such as
`kubernetes` inflates 19-fold, and hashing it weighs more."""

FILES_PER_REPOSITORY = 20
AGENT = f"codekiln/benchmark (+{CONTACT})"

Hashes = Mapping[str, str]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--packages", nargs="+", default=[*PACKAGES])
    options = parser.parse_args()
    os.environ["GITHUB_TOKEN"] = TOKEN
    with tempfile.TemporaryDirectory(prefix="codekiln-fetch-") as folder:
        ratios = compare(Path(folder), options.packages, options.rounds)
        crawl = crawl_many(Path(folder), options.repositories, options.workers)
    print_result(
        {
            "fetch_ratio_clone": round(statistics.median(ratios.values()), 2),
            "fetch_ratio_clone_least": round(min(ratios.values()), 2),
            **{f"fetch_ratio_clone_{name}": round(one, 2) for name, one in ratios.items()},
            **crawl,
            "rounds": options.rounds,
        }
    )


def compare(folder: Path, packages: Sequence[str], rounds: int) -> dict[str, float]:
    """Wall seconds of a clone over those of a fetch, by repository."""
    root = folder / "git"
    made = [package_repository(n, name, root) for n, name in enumerate(packages)]
    rows, ratios = [], {}
    with served(made, root) as (api_url, archive_url):
        side = Side(api_url, archive_url)
        for one in made:
            name = one.full_name.rpartition("/")[2]
            results: dict[str, Hashes] = {}

            def fetch(one: DoubleRepository = one, into: dict[str, Hashes] = results) -> None:
                into["fetch"] = side.fetch(one)

            def clone(one: DoubleRepository = one, into: dict[str, Hashes] = results) -> None:
                into["clone"] = clone_once(f"{archive_url}/git/{one.full_name}.git", folder / "c")

            fetch()
            clone()
            if results["fetch"] != results["clone"]:
                raise SystemExit(f"{name}: the two sides gave different files")
            costs = measure_in_turn({"fetch": fetch, "clone": clone}, rounds)
            ratios[name] = costs["clone"].wall_s / costs["fetch"].wall_s
            rows.append(row_of(one, len(results["fetch"]), costs, ratios[name]))
        side.close()
    print_table(
        ("repository", "python files", "archive MB", "fetch s", "clone s", "ratio", "CPU ratio"),
        rows,
    )
    return ratios


def row_of(
    one: DoubleRepository, files: int, costs: Mapping[str, Cost], ratio: float
) -> tuple[object, ...]:
    """A row of the table."""
    assert isinstance(one.tarball, Path)
    fetch, clone = costs["fetch"], costs["clone"]
    megabytes = one.tarball.stat().st_size / 1e6
    cpu = clone.cpu_s / max(fetch.cpu_s, 1e-3)
    return one.full_name, files, megabytes, fetch.wall_s, clone.wall_s, ratio, cpu


class Side:
    """The crawl's side: one transport, opened before, as a crawl has one for a thousand."""

    def __init__(self, api_url: str, archive_url: str) -> None:
        config = CrawlConfig(
            source="github",
            contact=CONTACT,
            max_requests_per_second=1000.0,
            github=GithubConfig(api_url=api_url, git_url=f"{archive_url}/git", as_of="2026-11-24"),
        )
        rules = Rules(
            languages=frozenset({"Python"}),
            max_file_bytes=100_000_000,
            licenses=(),
            opt_out=OptOut(),
        )
        token = Token("token-0", TOKEN)
        transport = Transport(Settings.of(config, AGENT, 1), (token,), Pauses(None))
        self._fetcher = Fetcher(
            config.github, rules, transport, EarlierCrawls(), token, Patience(600.0, 1, 1.0)
        )
        self._runner = asyncio.Runner()

    def fetch(self, one: DoubleRepository) -> Hashes:
        """Fetch a repository and make its rows, without caches; sha256 by path."""
        ref = RepositoryRef(
            source="github",
            repo_id=f"github:{one.id}",
            repo=one.full_name,
            commit=one.commit,
            license="MIT",
        )
        harvest = self._runner.run(self._fetcher.fetch(ref))
        return {row["path"]: row["sha256"] for row in harvest.rows}

    def close(self) -> None:
        """End the transport and its loop."""
        self._runner.run(self._fetcher.transport.__aexit__())
        self._runner.close()


def clone_once(url: str, folder: Path) -> Hashes:
    """Clone at depth 1 with a checkout, and hash its Python files; what the crawl drops is not."""
    shutil.rmtree(folder, ignore_errors=True)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", f"http.userAgent={AGENT}", "clone", "--quiet", "--depth", "1"]
    subprocess.run([*command, url, str(folder)], env=environment, check=True)
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".py3", ".pyw") and path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if data and b"\0" not in data and is_text(data):
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def crawl_many(folder: Path, number: int, workers: int) -> dict[str, object]:
    """Crawl small repositories as the command does; repositories a second and memory over time."""
    with served(number, None) as (api_url, _):
        config = CrawlConfig(
            source="github",
            contact=CONTACT,
            max_requests_per_second=1000.0,
            github=GithubConfig(api_url=api_url, as_of="2026-11-24", created_from="2019-12-01"),
        )
        execution = Execution(data_root=str(folder / "data"), workers=workers)
        step = find_step("crawl")
        with watched_memory() as held:
            begun = time.perf_counter()
            outcome = execute(step, config, {}, folder / "out", execution)
            seconds = time.perf_counter() - begun
    tally = outcome.artifact.manifest.tally.counts
    if tally["repositories"] != number:
        raise SystemExit(f"expected {number} repositories, got {tally['repositories']}")
    half = len(held) // 2
    rows = [(number, tally["files"], tally["bytes"] / 1e6, seconds, number / seconds)]
    print_table(("repositories", "files", "MB", "s", "repositories a second"), rows)
    return {
        "repos_per_s": round(number / seconds, 1),
        "repositories": number,
        "files": tally["files"],
        "rss_first_half_mb": round(max(held[:half], default=0.0), 1),
        "rss_second_half_mb": round(max(held[half:], default=0.0), 1),
        "workers": workers,
    }


def draw_repositories(number: int) -> list[DoubleRepository]:
    """Repositories of about 20 files and 200 KB of real code, their archives made."""
    corpus = read_corpus((".py",))
    files = [one.content for one in corpus if 2_000 < len(one.content) < 20_000]
    draw = random.Random(1)
    made = []
    for index in range(number):
        chosen = draw.sample(files, FILES_PER_REPOSITORY)
        held = {f"src/f{n}.py": data for n, data in enumerate(chosen)}
        month, day = index % 12 + 1, index % 28 + 1
        made.append(
            repository(
                index,
                {"LICENSE": MIT, **held},
                created_at=f"2020-{month:02d}-{day:02d}T{index % 24:02d}:00:00Z",
            )
        )
    return made


@contextlib.contextmanager
def served(
    repositories: list[DoubleRepository] | int, git_root: Path | None
) -> Iterator[tuple[str, str]]:
    """The double in a process of its own; its two addresses. A violation ends the benchmark.

    A number of repositories is drawn there: their bytes are no memory of the crawl.
    """
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    process = context.Process(target=serve, args=(repositories, git_root, other), daemon=True)
    process.start()
    urls: tuple[str, str] = mine.recv()
    try:
        yield urls
    finally:
        mine.send("end")
        violations = mine.recv()
        process.join(10)
    if violations:
        raise SystemExit(f"the double saw {violations[0]}")


def serve(
    repositories: list[DoubleRepository] | int, git_root: Path | None, pipe: Connection
) -> None:
    """Serve until told to end, and hand back the violations."""
    if isinstance(repositories, int):
        repositories = draw_repositories(repositories)
    double = GithubDouble(repositories, git_root=git_root, max_concurrency=64)
    with double.running():
        pipe.send((double.api_url, double.archive_url))
        pipe.recv()
    pipe.send(double.violations)


@contextlib.contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Resident memory of this process in 10**6 bytes, ten times a second."""
    held: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            held.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
