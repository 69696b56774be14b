"""The source `git`: folders and URLs, nothing executed, hostile trees counted."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from components.crawl.config import CrawlConfig
from components.crawl.estimate import estimate
from tests.github_double import GithubDouble
from tests.github_repositories import CONTACT, MIT, commit_files, git


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.part("documents")
        for row in read_documents(artifact, entry).to_pylist()
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four bare repositories of two owners, two of one name."""
    root = tmp_path / "repositories"
    for number, name in enumerate(("a/utils", "b/utils", "b/other", "single")):
        files = {"LICENSE": MIT, "m.py": f"value = {number}\n".encode(), "x.bin": b"\0"}
        commit_files(files, root / f"{name}.git")
    return root


@pytest.fixture
def served(folder: Path) -> Iterator[GithubDouble]:
    double = GithubDouble([], git_root=folder)
    with double.running():
        yield double


def test_a_folder_of_repositories_is_read_without_a_checkout(
    folder: Path, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    artifact = make_step("crawl", source="git", git={"repositories": [str(folder)]}).artifact
    rows = rows_of(artifact)
    seen = [(row["repo"], row["path"], row["content"], row["license"]) for row in rows]
    assert seen == [
        (name, "m.py", f"value = {number}\n", "MIT")
        for number, name in ((0, "a/utils"), (2, "b/other"), (1, "b/utils"), (3, "single"))
    ]
    for row in rows:
        head = git("rev-parse", "HEAD", folder=folder / f"{row['repo']}.git").decode().strip()
        assert row["commit"] == head
    assert str(tmp_path) not in str(artifact.manifest.config)


def test_urls_give_the_rows_of_folders(
    folder: Path, served: GithubDouble, make_step: Callable[..., Any]
) -> None:
    names = ("a/utils", "b/utils", "b/other", "single", "b/missing")
    urls = [f"{served.archive_url}/git/{name}.git" for name in names]
    config = {"source": "git", "git": {"repositories": urls}, "contact": CONTACT}
    artifact = make_step("crawl", **config).artifact
    assert served.violations == []
    columns = ("path", "commit", "sha256", "blob_sha1", "license", "license_source")
    local = rows_of(make_step("crawl", source="git", git={"repositories": [str(folder)]}).artifact)
    assert sorted(tuple(row[name] for name in columns) for row in rows_of(artifact)) == sorted(
        tuple(row[name] for name in columns) for row in local
    )
    outcomes = {row["repo"]: row["outcome"] for row in read_rows(artifact, "repositories")}
    assert outcomes["git/b/missing"] == "not_found"
    assert list(outcomes.values()).count("fetched") == 4


def test_a_remote_that_stumbles_is_tried_again(folder: Path, make_step: Callable[..., Any]) -> None:
    planned = {"git:a/utils": ["502"], "git:b/other": ["429_secondary", "502"]}
    double = GithubDouble([], git_root=folder, planned=planned, secondary_wait_s=0.2)
    with double.running():
        urls = [f"{double.archive_url}/git/{name}.git" for name in ("a/utils", "b/other", "no/no")]
        config = {"source": "git", "git": {"repositories": urls}, "contact": CONTACT}
        artifact = make_step("crawl", **config, secondary_wait_s=0.2, max_attempts=4).artifact
    outcomes = [row["outcome"] for row in read_rows(artifact, "repositories")]
    assert sorted(outcomes) == ["fetched", "fetched", "not_found"]
    assert sum(double.fault_counts.values()) == 3


def test_neither_shards_nor_workers_change_the_rows(
    folder: Path, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    config = {"source": "git", "git": {"repositories": [str(folder)], "repositories_per_shard": 1}}
    one, two = (
        make_step("crawl", workers=n, data_root=str(tmp_path / str(n)), **config).artifact
        for n in (1, 2)
    )
    assert one.manifest.digest == two.manifest.digest
    assert len(one.part("documents")) == 4


def test_a_new_commit_is_another_key(folder: Path, make_step: Callable[..., Any]) -> None:
    config = {"source": "git", "git": {"repositories": [str(folder)]}}
    before = make_step("crawl", **config).artifact.manifest.key
    assert make_step("crawl", **config).artifact.manifest.key == before
    git(
        "fast-import",
        "--quiet",
        "--force",
        folder=folder / "single.git",
        stdin=b"commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 1\ny\n"
        b"M 100644 inline m.py\ndata 6\nx = 9\n\n",
    )
    assert make_step("crawl", **config).artifact.manifest.key != before


def test_nothing_of_a_repository_is_executed(tmp_path: Path, make_step: Callable[..., Any]) -> None:
    bare = tmp_path / "evil.git"
    files = {"a.py": b"x = 1\n", ".gitattributes": b"*.py filter=evil diff=evil\n"}
    commit_files(files, bare)
    mark = tmp_path / "executed"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    for name in (
        "core.fsmonitor",
        "core.sshCommand",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "core.pager",
        "core.alternateRefsCommand",
        "remote.origin.uploadpack",
    ):
        git("config", name, str(script), folder=bare)
    git("config", "remote.origin.url", f"ext::{script}", folder=bare)
    git("config", "remote.origin.promisor", "true", folder=bare)
    hooks = bare / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / hook).symlink_to(script)
    artifact = make_step("crawl", source="git", git={"repositories": [str(bare)]}).artifact
    assert [row["content"] for row in rows_of(artifact)] == ["x = 1\n"]
    assert not mark.exists()


@pytest.mark.parametrize("protocol", ["ext", "file"])
def test_a_promised_object_is_not_fetched_by_what_the_repository_names(
    tmp_path: Path, make_step: Callable[..., Any], protocol: str
) -> None:
    """A partial clone whose own configuration allows protocols that run programs."""
    bare, mark, script = (tmp_path / name for name in ("evil.git", "executed", "evil.sh"))
    commit_files({"a.py": b"x = 1\n", "b.py": b"x = 2\n"}, bare)
    script.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::{script}" if protocol == "ext" else str(bare)),
        ("remote.origin.uploadpack", str(script)),
        (f"protocol.{protocol}.allow", "always"),
    ):
        git("config", name, value, folder=bare)
    for pack in (bare / "objects" / "pack").glob("*.pack"):  # promised by the remote, and gone
        data = pack.read_bytes()
        for one in pack.parent.glob(f"{pack.stem}.*"):
            one.unlink()
        git("unpack-objects", "-q", folder=bare, stdin=data)
    blob = git("rev-parse", "HEAD:b.py", folder=bare).decode().strip()
    (bare / "objects" / blob[:2] / blob[2:]).unlink()
    config = {"source": "git", "git": {"repositories": [str(bare)]}}
    with pytest.raises(ConfigError, match="see whether git can read"):
        make_step("crawl", **config)
    assert not mark.exists()


def test_what_replaces_objects_does_not_change_a_commit(
    folder: Path, make_step: Callable[..., Any]
) -> None:
    bare = folder / "single.git"
    config = {"source": "git", "git": {"repositories": [str(bare)]}}
    other = git("hash-object", "-w", "--stdin", folder=bare, stdin=b"replaced = 1\n").decode()
    git(
        "replace",
        git("rev-parse", "HEAD:m.py", folder=bare).decode().strip(),
        other.strip(),
        folder=bare,
    )
    assert [row["content"] for row in rows_of(make_step("crawl", **config).artifact)] == [
        "value = 3\n"
    ]


def test_a_file_url_is_its_folder_whoever_owns_it(
    folder: Path, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65532, 65532)
    digests = {
        make_step(
            "crawl",
            source="git",
            git={"repositories": [place]},
            data_root=str(tmp_path / str(number)),
        ).artifact.manifest.digest
        for number, place in enumerate((str(folder), folder.as_uri()))
    }
    assert len(digests) == 1


def test_what_holds_no_repository_is_refused_before_and_in_a_dry_run(
    make_step: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text("# none yet\n")
    for chosen, said in (
        ({"repositories": [str(tmp_path / "empty")]}, "which is none and holds none"),
        ({"repositories": [str(tmp_path / "absent")]}, "give one that is there"),
        ({"list_file": str(tmp_path / "list")}, "write one a line"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_step("crawl", source="git", git=chosen)
        with pytest.raises(ConfigError, match=said):
            estimate(CrawlConfig.from_json({"source": "git", "git": chosen}))


def test_hostile_trees_are_counted(tmp_path: Path, make_step: Callable[..., Any]) -> None:
    bare = tmp_path / "hostile.git"
    bare.mkdir()
    git("init", "--quiet", "--bare", "--initial-branch=main", ".", folder=bare)
    commit = (
        b"commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 1\nx\n"
        b"M 100644 inline a.py\ndata 6\nx = 1\n\n"
        b"M 100644 inline A.py\ndata 6\nx = 2\n\n"
        b"M 120000 inline link.py\ndata 11\n/etc/passwd\n"
        b"M 160000 0123456789abcdef0123456789abcdef01234567 sub.py\n"
        b'M 100644 inline "caf\\351.py"\ndata 6\nx = 3\n\n'
        b'M 100644 inline "two\\nlines.py"\ndata 6\nx = 4\n\n'
        b"M 100644 inline big.py\ndata 2000\n" + b"y" * 2000 + b"\n"
        b"M 100644 inline latin.py\ndata 2\n\xe9\n\n"
    )
    git("fast-import", "--quiet", folder=bare, stdin=commit)
    config = {"source": "git", "git": {"repositories": [str(bare)]}, "max_file_bytes": 1000}
    artifact = make_step("crawl", **config).artifact
    assert [(row["path"], row["content"]) for row in rows_of(artifact)] == [("A.py", "x = 2\n")]
    drops = {reason: files for reason, (files, _) in artifact.manifest.tally.drops.items()}
    assert drops == {
        "case_collision": 1,
        "link": 1,
        "special_file": 1,
        "name_not_utf8": 1,
        "unsafe_name": 1,
        "too_large": 1,
        "not_utf8": 1,
    }


def test_an_estimate_asks_nothing(folder: Path, tmp_path: Path) -> None:
    chosen = {"repositories": [str(folder), "https://example.invalid/a/b.git"]}
    told = estimate(CrawlConfig.from_json({"source": "git", "git": chosen}))
    assert told.startswith("git: 1 URLs, about 6 requests")
    assert "4 repositories in folders" in told
    (tmp_path / "a.parquet").write_bytes(b"x" * 20_000_000)
    paths = {"paths": [str(tmp_path / "a.parquet")]}
    told = estimate(CrawlConfig.from_json({"source": "archive", "archive": paths}))
    assert told == "archive: 1 files, 0.02 GB on this machine"
    assert "no requests" in estimate(CrawlConfig())


def test_a_protocol_that_was_not_asked_for_is_refused(make_step: Callable[..., Any]) -> None:
    for url in ("ext::sh -c touch%20x", "ssh://host/x"):
        with pytest.raises(ConfigError):
            make_step("crawl", source="git", git={"repositories": [url]})


def test_the_environment_of_git_holds_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from components.crawl.clone import Git, Remote

    monkeypatch.setenv("GIT_SSH_COMMAND", "evil")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    remote = Remote("https://example.org/x.git", "Basic c2VjcmV0")
    environment = Git(Path("/tmp/none"), 1.0, remote)._environment()
    assert "GIT_SSH_COMMAND" not in environment
    assert "GIT_DIR" not in environment
    assert environment["GIT_CONFIG_GLOBAL"] == os.devnull
    assert "c2VjcmV0" not in repr(remote)


def test_a_place_of_another_source_and_a_misspelt_licence_are_refused(folder: Path) -> None:
    for value, said in (
        ({"git": {"repositories": [str(folder)]}}, "expected --source git beside"),
        ({"archive": {"paths": ["a"]}}, "expected --source archive beside --archive.paths"),
        (
            {"source": "git", "git": {"repositories": ["a"]}, "licenses": ["permisive"]},
            "did you mean 'permissive'",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            CrawlConfig.from_json(value).require()
