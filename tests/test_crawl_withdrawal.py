"""Where a file is from, and taking a repository back out of a corpus that exists."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_documents
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.inspection import find_damage
from components.artifacts.opt_out import OptOut
from components.artifacts.rows import read_rows
from components.crawl import github
from pipelines.cli import main
from tests.github_double import TOKEN, GithubDouble
from tests.github_repositories import CONTACT, repository, small_files


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.part("documents")
        for row in read_documents(artifact, entry).to_pylist()
    ]


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[GithubDouble]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    github._EARLIER.clear()
    started = GithubDouble([repository(n, small_files(n)) for n in range(40)])
    with started.running():
        yield started
    assert started.violations == []


@pytest.fixture
def crawled(double: GithubDouble, make_step: Callable[..., Any]) -> Callable[..., Artifact]:
    def crawl(as_of: str = "2026-11-24", **config: Any) -> Artifact:
        artifact: Artifact = make_step(
            "crawl",
            source="github",
            contact=CONTACT,
            max_requests_per_second=900.0,
            github={"as_of": as_of, "api_url": double.api_url},
            **config,
        ).artifact
        return artifact

    return crawl


def test_explain_says_where_a_file_is_from(
    crawled: Callable[..., Artifact],
    make_step: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifact = crawled()
    cleaned = make_step("clean", {"documents": artifact}, min_lines=0).artifact
    row = next(row for row in rows_of(artifact) if row["path"] == "src/main.py")
    data = ["--data-root", str(tmp_path / "data")]
    assert main(["crawl-explain", row["sha256"], *data]) == 0
    told = capsys.readouterr().out
    for word in (
        f"{row['repo']} ({row['repo_id']}, source github)",
        row["commit"],
        "src/main.py",
        "MIT, read from api",
        f"swh:1:cnt:{row['blob_sha1']}",
        f"swh:1:rev:{row['commit']}",
        f"crawl {artifact.manifest.key}",
        f"clean {cleaned.manifest.key}",
        "LICENSE sha256 ",
    ):
        assert word in told, word
    assert main(["crawl-explain", "0" * 64, *data]) == 1
    assert main(["crawl-explain", "no hash", *data]) == 2


def test_forget_publishes_a_successor_and_names_what_was_made(
    crawled: Callable[..., Artifact],
    make_step: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = crawled()
    cleaned = make_step("clean", {"documents": old}, min_lines=0).artifact
    tokenizer = make_step("tokenizer", {"documents": cleaned}, vocabulary_size=300).artifact
    data = ["--data-root", str(tmp_path / "data")]
    assert main(["crawl-forget", "OWNER3/name3", *data, "--reason", "by mail"]) == 0
    told = capsys.readouterr().out
    assert f"clean {cleaned.manifest.key}" in told
    assert f"tokenizer: tokenizer {tokenizer.manifest.key}" in told
    tombstone = json.loads(old.storage.read("tombstone.json"))
    assert (tombstone["entry"], tombstone["reason"]) == ("OWNER3/name3", "by mail")
    new = Artifact.open(str(tmp_path / "data" / "crawl" / tombstone["successor"]))
    assert rows_of(new) == [row for row in rows_of(old) if row["repo"] != "owner3/name3"]
    assert find_damage(new, frozenset()) == []
    new.manifest.tally.balance()
    files, _ = new.manifest.tally.drops["opted_out"]
    assert files == len(rows_of(old)) - len(rows_of(new)) == 3
    outcomes = {row["repo"]: row["outcome"] for row in read_rows(new, "repositories")}
    assert outcomes["owner3/name3"] == "opted_out"
    untouched = {entry.name for entry in old.part("documents")} & {
        entry.name for entry in new.part("documents")
    }
    assert untouched  # shards without the repository are the same files


def test_what_was_withdrawn_is_refused_by_every_step(
    crawled: Callable[..., Artifact], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    old = crawled()
    data = ["--data-root", str(tmp_path / "data")]
    assert main(["crawl-forget", "owner3/name3", *data, "--remove"]) == 0
    with pytest.raises(ArtifactError, match="withdrawn on"):
        make_step("clean", {"documents": old})
    with pytest.raises(ArtifactError, match=r"add the entry to crawl\.opt_out"):
        crawled()
    assert not old.storage.exists(old.part("documents")[0].name)
    assert main(["crawl-forget", "owner3/name3", *data]) == 1


def test_a_later_crawl_builds_on_the_successor(
    crawled: Callable[..., Artifact], double: GithubDouble, tmp_path: Path
) -> None:
    crawled()
    assert main(["crawl-forget", "owner3/name3", "--data-root", str(tmp_path / "data")]) == 0
    double.served.clear()
    github._EARLIER.clear()
    later = crawled(as_of="2026-12-24", opt_out=["owner3/name3"])
    assert double.served == []
    assert "owner3/name3" not in {row["repo"] for row in rows_of(later)}


def test_an_installed_distribution_can_be_forgotten(
    make_step: Callable[..., Any], tmp_path: Path
) -> None:
    config = {"exclude": ["cpython"], "languages": ["Python"], "max_distribution_bytes": 20_000}
    old = make_step("crawl", **config).artifact
    assert "pluggy" in {row["repo"] for row in rows_of(old)}
    assert main(["crawl-forget", "pluggy", "--data-root", str(tmp_path / "data")]) == 0
    key = json.loads(old.storage.read("tombstone.json"))["successor"]
    new = Artifact.open(str(tmp_path / "data/crawl" / key))
    assert "pluggy" not in {row["repo"] for row in rows_of(new)}


@pytest.mark.parametrize(
    ("entry", "repo_id", "repo", "hit"),
    [
        ("Octocat", "github:1", "octocat/hello", True),
        ("octocat", "github:1", "octocatalog/hello", False),
        ("octocat/Hello", "github:1", "OctoCat/hello", True),
        ("id:github:1", "github:1", "renamed/since", True),
        ("id:github:1", "github:11", "octocat/hello", False),
        ("octo*/hello", "github:1", "octocat/hello", True),
        ("octocat/*", "github:1", "octocat/hello", True),
        ("*/hello", "github:1", "octocat/hello-world", False),
    ],
)
def test_entries_name_owners_repositories_ids_and_globs(
    entry: str, repo_id: str, repo: str, hit: bool
) -> None:
    assert bool(OptOut.read([entry]).of_repository(repo_id, repo)) == hit


def test_a_line_that_is_no_entry_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"line 3 of 'list\.txt'"):
        OptOut.read(["fine", "# comment", "not / fine"], "'list.txt'")


def test_publishing_refuses_who_opted_out(
    make_step: Callable[..., Any], documents_of: Callable[..., Any], document: Callable[..., Any]
) -> None:
    from components.publishing.opt_outs import refuse_opted_out

    rows = [document(f"{n}.py", f"value = {n}\n" * 9, repo=f"o{n % 3}/r{n}") for n in range(12)]
    documents = documents_of(rows)
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=280).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    tokens = make_step("packing", inputs, validation_fraction=0.3).artifact
    refuse_opted_out(tokens, ["someone", "o1/r2"])
    for entry in ("O1", "o2/r5", "*/r4/*", rows[7]["sha256"]):
        with pytest.raises(ConfigError, match=r"got [14] repositories, such as"):
            refuse_opted_out(tokens, [entry])
