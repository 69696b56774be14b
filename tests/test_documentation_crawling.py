"""The commands of docs/crawling.md run, against the double of GitHub."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_documents
from components.crawl.config import STEP, CrawlConfig
from components.stage.command import read_config_flags, step_parser
from components.stage.execution import Execution
from pipelines.cli import main
from tests.github_crawls import corpus
from tests.github_double import GithubDouble
from tests.github_repositories import commit_files, small_files

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "crawling.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_every_command_runs(
    double_of: Callable[..., GithubDouble],
    document: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from components.artifacts.archives import spell_archive

    repositories = corpus(30)
    for one in repositories:
        one.stars += 11
    double = double_of(repositories)
    monkeypatch.chdir(tmp_path)
    Path("opt-out.txt").write_text("owner1\n")
    commit_files(small_files(1), Path("repositories/me/mine.git"))
    Path("archives").mkdir()
    Path("archives/a.jsonl.zst").write_bytes(spell_archive([document("a.py", "x = 1\n")]))
    here = ["--github.api-url", double.api_url, "--max-requests-per-second", "900"]
    commands = [line for block in blocks("") for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        name, verb, *rest = shlex.split(command)
        assert name == "codekiln"
        if verb == "crawl":
            rest += here
        if "SHA256" in rest:
            trial = Artifact.open("out/trial")
            table = read_documents(trial, trial.part("documents")[-1], ["sha256"])
            rest = [table["sha256"][0].as_py()]
        asked = len(double.requests)
        assert main([verb, *rest]) == 0, capsys.readouterr().err
        if "--dry-run" in rest:
            assert len(double.requests) == asked
            assert "1,200,000 requests of the API" in capsys.readouterr().out
    without = json.loads(Path("out/without/manifest.json").read_text())
    assert without["tally"]["counts"]["repositories_opted_out"] >= 1


def test_the_job_runs_a_command_that_is_taken() -> None:
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["codekiln", "crawl"]
    arguments = step_parser(STEP).parse_known(container["args"])
    config = read_config_flags(arguments, STEP.preset(arguments.preset))
    assert isinstance(config, CrawlConfig)
    config.require()
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)
    assert execution.workers == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert execution.engine == "indexed"
