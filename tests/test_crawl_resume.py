"""A crawl that is killed, shared by indexes, or made again later; and as a step of a pipeline."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.errors import StepFailedError
from components.crawl import github
from tests.github_crawls import config_of, corpus, rows_of
from tests.github_double import TOKEN, GithubDouble
from tests.github_repositories import MIT, repository

ROOT = Path(__file__).resolve().parents[1]


def crawl_command(double: GithubDouble, folder: Path, *more: str) -> list[str]:
    config = config_of(
        double,
        max_attempts=14,
        github={"created_from": "2019-12-01", "as_of": "2021-01-01"},
    )
    (folder / "config.json").write_text(json.dumps(config))
    where = ["--data-root", str(folder / "data"), "--output", str(folder / "out")]
    return [sys.executable, "-m", "pipelines.cli", "crawl", "--config", str(folder / "config.json"),
            *where, "--workers", "1", *more]  # fmt: skip


def run_crawl(command: Sequence[str], **variables: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GITHUB_TOKEN": TOKEN, **variables}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def recorded(folder: Path) -> set[str]:
    """Numbers of the repositories that have a record, or whose window has one."""
    names = {
        path.stem.rpartition("-")[2]
        for path in folder.glob("data/crawl/*/journal/*/*.arrow")
        if not path.name.startswith(".")
    }
    for path in folder.glob("data/crawl/*/records/*.json"):
        plan = path.parents[1] / "plan" / path.name
        names |= {one["repo_id"].rpartition(":")[2] for one in json.loads(plan.read_text())["refs"]}
    return names


@pytest.mark.slow
def test_a_crawl_that_is_killed_twenty_times_gives_the_undisturbed_digest(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    """With 20 % faults; nothing is fetched again that has a record."""
    repositories = corpus(80)
    numbers = {one.full_name: str(one.id) for one in repositories}
    calm = double_of(repositories)
    whole = {"created_from": "2019-12-01", "as_of": "2021-01-01"}
    expected = make_step("crawl", **config_of(calm, github=whole)).artifact.manifest.digest
    kinds = ("403_secondary", "429_secondary", "502", "cut", "403_retry_after", "429_primary")
    double = double_of(repositories, fault_rate=0.2, seed=7, faults=kinds, delay_s=0.02)
    folder = tmp_path / "killed"
    folder.mkdir()
    command, draw = crawl_command(double, folder), random.Random(11)
    kills = 0
    while kills < 20:
        before, at = recorded(folder), time.time()
        process = run_crawl(command)
        deadline = time.monotonic() + 60
        wanted = len(double.requests) + draw.randrange(1, 8)
        while len(double.requests) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        time.sleep(0.05)  # what the double was about to answer is answered
        double.forget_waits(time.time() - 0.2)
        again = {name for when, name in double.served if when > at} & {
            name for name, number in numbers.items() if number in before
        }
        assert not again, out
        kills += process.returncode == -signal.SIGKILL
        assert process.returncode != 0, "the crawl ended before it was killed twenty times"
    process = run_crawl(command)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    location = json.loads((folder / "out" / "location.json").read_text())
    assert location["digest"] == expected
    assert not [*folder.glob("data/crawl/*/journal/*/*")]


def most_in_a_second(double: GithubDouble) -> int:
    times = sorted(at for at, _, _ in double.requests)
    return max(sum(1 for at in times if start <= at < start + 1) for start in times)


def check_shared(artifact: Artifact, double: GithubDouble, number: int) -> None:
    """One record a window, nothing fetched twice, and the pace of one crawl."""
    windows = {entry.index for entry in artifact.part("documents")}
    assert windows == set(range(len(windows)))
    assert len(windows) >= 2
    names = [name for _, name in double.served]
    assert sorted(names) == sorted({one.full_name for one in double.repositories})
    assert len(names) == number


def test_two_indexes_share_one_plan_and_one_pace(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    repositories = corpus(60)
    for number, one in enumerate(repositories):  # two windows, and as much in each
        one.created_at = f"2020-0{number % 2 + 1}-15T{number // 2 % 24:02d}:00:00Z"
    double = double_of(repositories)
    months = {"created_from": "2020-01-01", "as_of": "2020-03-01"}
    config = config_of(double, max_requests_per_second=40.0, github=months)
    alone = make_step("crawl", data_root=str(tmp_path / "one"), **config).artifact
    served = len(double.served)
    double.served.clear()
    double.requests.clear()
    shared = make_step(
        "crawl", data_root=str(tmp_path / "two"), engine="indexed", workers=2, **config
    ).artifact
    assert served == 60
    assert shared.manifest.digest == alone.manifest.digest
    check_shared(shared, double, 60)
    assert most_in_a_second(double) <= 40 + 2


def test_the_same_command_is_an_index_of_a_job(
    double_of: Callable[..., GithubDouble], tmp_path: Path
) -> None:
    double = double_of(corpus(40))
    command = crawl_command(double, tmp_path, "--engine", "indexed")
    command[command.index("--workers") + 1] = "2"
    pods = []
    for index in (1, 0):
        out = command.index("--output") + 1
        folder = tmp_path / f"out-{index}"
        mine = [*command[:out], str(folder), *command[out + 1 :]]
        pods.append(run_crawl(mine, JOB_COMPLETION_INDEX=str(index)))
    for pod in pods:
        text, _ = pod.communicate(timeout=120)
        assert pod.returncode == 0, text
    located = [json.loads((tmp_path / f"out-{n}/location.json").read_text()) for n in (0, 1)]
    assert located[0]["digest"] == located[1]["digest"]
    check_shared(Artifact.open(located[0]["uri"]), double, 40)


def test_a_crawl_whose_server_is_down_stops_and_goes_on_later(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    repositories = corpus(40)
    calm = double_of(repositories)
    expected = make_step("crawl", data_root=str(tmp_path / "calm"), **config_of(calm)).artifact
    double = double_of(repositories)
    down = {f"archive:{one.full_name}": ["502"] * 2 for one in repositories[5:]}
    double._planned = down
    config = config_of(double, max_attempts=2)
    with pytest.raises(StepFailedError, match="20 failures in a row"):
        make_step("crawl", **config)
    down.clear()
    again = make_step("crawl", **config).artifact
    assert again.manifest.digest == expected.manifest.digest
    names = [name for _, name in double.served]
    assert len(names) == len(set(names)) == 40


def test_a_later_crawl_fetches_what_changed_and_nothing_else(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    repositories = corpus(20)
    double = double_of(repositories)
    make_step("crawl", **config_of(double))
    changed = repository(3, {"LICENSE": MIT, "new.py": b"new = 1\n"})
    new = repository(77, {"LICENSE": MIT, "born.py": b"born = 1\n"})
    double.repositories[3] = changed
    double.repositories.append(new)
    double.repositories[4].stars = 9999
    double.repositories[5].full_name = "renamed/name5"
    double.served.clear()
    github._EARLIER.clear()
    later = config_of(double, github={"as_of": "2026-12-24"})
    delta = make_step("crawl", **later).artifact
    assert sorted(name for _, name in double.served) == sorted([changed.full_name, new.full_name])
    fresh = make_step("crawl", data_root=str(tmp_path / "fresh"), **later).artifact
    assert delta.manifest.digest == fresh.manifest.digest
    assert delta.manifest.tally.to_json() == fresh.manifest.tally.to_json()
    assert {row["stars"] for row in rows_of(delta) if row["repo_id"] == "github:1004"} == {9999}
    assert {row["repo"] for row in rows_of(delta) if row["repo_id"] == "github:1005"} == {
        "renamed/name5"
    }


def test_by_rest_a_later_crawl_asks_with_the_etag(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    double = double_of(corpus(12))
    rest = {"discovery": "rest"}
    make_step("crawl", **config_of(double, github=rest))
    for one in double.repositories[:6]:
        one.pushed_at = "2026-02-02T00:00:00Z"  # to another branch: the archive is the same
    double.served.clear()
    double.requests.clear()
    github._EARLIER.clear()
    later = config_of(double, github={**rest, "as_of": "2026-12-24"})
    delta = make_step("crawl", **later).artifact
    asked = [target for _, host, target in double.requests if host == "archive"]
    assert len(asked) == 6
    assert double.served == []  # each was answered with 304
    fresh = make_step("crawl", data_root=str(tmp_path / "fresh"), **later).artifact
    assert delta.manifest.digest == fresh.manifest.digest


class KubeflowArtifact:
    """What a Kubeflow task is handed for an output."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.metadata: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}

    def log_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value


def test_as_one_step_of_a_pipeline_tokens_come_from_a_mounted_secret(
    double_of: Callable[..., GithubDouble],
    make_step: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from components.stage.kubeflow import run_component

    double = double_of(corpus(12))
    config = config_of(double)
    expected = make_step("crawl", **config).artifact.manifest.digest
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "token").write_text(TOKEN + "\n")
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("GITHUB_TOKEN_FILE", str(tmp_path / "secret" / "token"))
    monkeypatch.setenv("CODEKILN_LOG", "json")
    outputs = {
        name: KubeflowArtifact(tmp_path / "task" / name)
        for name in ("output", "metrics", "summary")
    }
    where = {"data_root": str(tmp_path / "other"), "workers": 1, "threads": 1, "engine": "local"}
    struct = json.loads(json.dumps(config), parse_int=float)  # as Kubeflow sends a struct
    run_component("crawl", {}, outputs, struct, where)
    assert outputs["output"].metadata["digest"] == expected
    assert outputs["metrics"].metrics["repositories"] == 12.0


def test_the_compiled_pipeline_hands_the_secret_to_the_crawl_alone() -> None:
    import yaml

    golden = (ROOT / "tests" / "golden" / "tiny.yaml").read_text()
    _, platforms = yaml.safe_load_all(golden)
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert list(executors) == ["exec-crawl"]
    (secret,) = executors["exec-crawl"]["secretAsEnv"]
    assert secret["optional"] is True
    assert secret["keyToEnv"] == [{"envVar": "GITHUB_TOKEN", "secretKey": "token"}]
