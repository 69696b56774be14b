"""The crawl of GitHub as a whole, against the double: truth, records, licences, opt-out."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.documents import git_blob_sha1
from components.artifacts.errors import ConfigError
from components.artifacts.rows import read_rows
from tests.github_crawls import config_of, corpus, rows_of
from tests.github_double import TOKEN, DoubleRepository, GithubDouble
from tests.github_repositories import (
    CONTACT,
    MIT,
    commit_files,
    git,
    package_files,
    package_repository,
    repository,
    tarball,
)

ROOT = Path(__file__).resolve().parents[1]


def test_the_truth_is_found(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    """Set equality of (repository, commit, path, sha256) over repositories of real packages."""
    names = ["pluggy", "iniconfig", "packaging"]
    real = [package_repository(n, name, tmp_path / "git") for n, name in enumerate(names)]
    double = double_of(real, git_root=tmp_path / "git")
    artifact = make_step("crawl", **config_of(double, languages=["Python"])).artifact
    expected = {
        (f"packages/{name}", one.commit, path, hashlib.sha256(data).hexdigest())
        for name, one in zip(names, real, strict=True)
        for path, data in package_files(name).items()
        if path.endswith(".py") and data
    }
    rows = rows_of(artifact)
    assert {(r["repo"], r["commit"], r["path"], r["sha256"]) for r in rows} == expected
    for row in rows:
        assert row["blob_sha1"] == git_blob_sha1(row["content"].encode())
        tree = git(
            "ls-tree", row["commit"], row["path"], folder=tmp_path / f"git/{row['repo']}.git"
        )
        assert row["blob_sha1"] in tree.decode()


def test_two_repositories_of_one_name_stay_two(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any]
) -> None:
    """C3: GPT-Code-Clippy cloned into a folder named without the owner, and two collided."""
    same = [
        repository(n, {"a.py": f"owner = {n}\n".encode()}, full_name=f"o{n}/utils")
        for n in range(30)
    ]
    rows = rows_of(make_step("crawl", **config_of(double_of(same))).artifact)
    assert {(row["repo"], row["content"]) for row in rows} == {
        (f"o{n}/utils", f"owner = {n}\n") for n in range(30)
    }


def test_what_cannot_be_fetched_is_recorded_with_its_class(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any]
) -> None:
    bomb = bytes(64 << 20)
    repositories = [
        *corpus(3),
        repository(10, {}, state="blocked"),
        repository(11, {}, state="empty"),
        repository(12, {}, size_kb=3_000_000),
        repository(13, {}, tarball=b"no archive"),
        repository(14, {}, tarball=tarball({"a.bin": bomb}, "0" * 40)),
        repository(15, {"a.py": b"x = 1\n"}, tarball=tarball({"a.py": b"x"}, "f" * 40)),
        repository(16, {}),
    ]
    double = double_of(repositories, planned={"archive:owner2/name16": ["cut"] * 99})
    artifact = make_step("crawl", **config_of(double, max_attempts=2)).artifact
    outcomes = {row["repo"]: row["outcome"] for row in read_rows(artifact, "repositories")}
    assert outcomes == {
        **{f"owner{n}/name{n}": "fetched" for n in range(3)},
        "owner3/name10": "blocked",
        "owner4/name11": "empty_repository",
        "owner5/name12": "repository_too_large",
        "owner6/name13": "corrupt_archive",
        "owner0/name14": "archive_bomb",
        "owner1/name15": "commit_differs",
        "owner2/name16": "truncated",
    }
    counts = artifact.manifest.tally.counts
    assert counts["repositories"] == 3
    assert counts["repositories_not_fetched"] == 7
    assert "| archive_bomb | 1 |" in artifact.storage.read("summary.md").decode()


def test_rest_discovery_takes_the_commit_of_the_archive_and_gives_the_same(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    double = double_of(corpus(25))
    made = [
        make_step("crawl", data_root=str(tmp_path / form), **config_of(double, github=changes))
        for form, changes in (("graphql", {}), ("rest", {"discovery": "rest"}))
    ]
    assert made[0].artifact.manifest.digest == made[1].artifact.manifest.digest
    assert all(len(row["commit"]) == 40 for row in rows_of(made[1].artifact))


def test_neither_faults_nor_workers_change_the_digest(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    calm = double_of(corpus(30))
    expected = make_step("crawl", data_root=str(tmp_path / "calm"), **config_of(calm)).artifact
    stormy = double_of(corpus(30), fault_rate=0.2, seed=5)
    again = make_step(
        "crawl", data_root=str(tmp_path / "storm"), **config_of(stormy, max_attempts=12)
    ).artifact
    assert sum(stormy.fault_counts.values()) > 5
    assert again.manifest.digest == expected.manifest.digest


def test_a_limit_that_graphql_tells_under_status_200_is_kept(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any]
) -> None:
    double = double_of(corpus(3), planned={"/graphql": ["200_limited"]})
    artifact = make_step("crawl", **config_of(double)).artifact
    assert artifact.manifest.tally.counts["repositories"] == 3
    assert double.fault_counts["200_limited"] == 1


def test_no_token_and_no_place_of_this_machine_is_in_what_was_made(
    double_of: Callable[..., GithubDouble],
    make_step: Callable[..., Any],
    tmp_path: Path,
) -> None:
    make_step("crawl", **config_of(double_of(corpus(5))))
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        assert TOKEN.encode() not in data, path
        if path.name != "ledger.json":
            assert str(tmp_path).encode() not in data, path


def test_who_opted_out_is_not_asked_for_and_leaves_a_tombstone(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    double = double_of(corpus(14))
    secret = hashlib.sha256(b"# number 5\n").hexdigest()
    listed = tmp_path / "opt-out.txt"
    listed.write_text(f"owner1  # an owner\nowner3/name3\nid:github:1004\n{secret}\n")
    config = config_of(double, opt_out=["owner6/*/src/*"], opt_out_file=str(listed))
    artifact = make_step("crawl", **config).artifact
    outcomes = {row["repo"]: row["outcome"] for row in read_rows(artifact, "repositories")}
    out = {repo for repo, outcome in outcomes.items() if outcome == "opted_out"}
    assert out == {"owner1/name1", "owner1/name8", "owner3/name3", "owner4/name4"}
    asked = {target for _, _, target in double.requests}
    assert not [one for one in asked for repo in out if repo in one]
    assert artifact.manifest.tally.drops["opted_out"][0] == 5
    rows = rows_of(artifact)
    assert {row["path"] for row in rows if row["repo"] == "owner6/name6"} == {"README.md"}
    assert secret not in {row["sha256"] for row in rows}
    listed.write_text("owner2\n")
    assert make_step("crawl", **config).artifact.manifest.key != artifact.manifest.key


def test_licences_are_read_nearest_first_with_their_evidence(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any]
) -> None:
    apache = (ROOT / "LICENSE").read_bytes()
    files = {
        "LICENSE": MIT,
        "a.py": b"x = 1\n",
        "b.py": b"# SPDX-License-Identifier: BSD-3-Clause\nx = 1\n",
        "vendor/LICENSE.txt": apache,
        "vendor/deep/c.py": b"x = 1\n",
        "third/COPYING": b"You may not.\n",
        "third/d.py": b"x = 1\n",
    }
    named = repository(1, files, license="GPL-3.0")
    other = repository(2, {**files, "pyproject.toml": b""}, license="NOASSERTION")
    bare = repository(
        3, {"pyproject.toml": b'[project]\nlicense = "ISC"\n', "a.py": b"x = 1\n"}, license=None
    )
    none = repository(4, {"a.py": b"x = 2\n"}, license=None)
    config = config_of(double_of([named, other, bare, none]), languages=["Python"])
    rows = rows_of(make_step("crawl", **config).artifact)
    seen = {(r["repo"][-5:], r["path"]): (r["license"], r["license_source"]) for r in rows}
    shared = {
        "b.py": ("BSD-3-Clause", "SPDX-License-Identifier"),
        "vendor/deep/c.py": ("Apache-2.0", "file:vendor/LICENSE.txt"),
        "third/d.py": ("unknown", "file:third/COPYING"),
    }
    assert seen == {
        **{("name1", path): value for path, value in shared.items()},
        **{("name2", path): value for path, value in shared.items()},
        ("name1", "a.py"): ("GPL-3.0", "api"),
        ("name2", "a.py"): ("MIT", "file:LICENSE"),
        ("name3", "a.py"): ("ISC", "pyproject.toml"),
        ("name4", "a.py"): ("unknown", "unknown"),
    }
    permissive = make_step("crawl", **{**config, "licenses": ["permissive"]}).artifact
    assert permissive.manifest.tally.drops["license"][0] == 4


def test_a_large_repository_is_cloned_and_gives_the_same_rows(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    real = [package_repository(0, "packaging", tmp_path / "git")]
    double = double_of(real, git_root=tmp_path / "git")
    by_archive = make_step("crawl", data_root=str(tmp_path / "a"), **config_of(double)).artifact
    config = config_of(double, github={"clone_from_mb": 0})
    double.served.clear()
    by_clone = make_step("crawl", data_root=str(tmp_path / "b"), **config).artifact
    assert not double.served
    assert any("/git/" in target for _, _, target in double.requests)
    assert by_clone.manifest.digest == by_archive.manifest.digest
    names = [name for name in by_clone.storage.names() if name.startswith("ledger/")]
    lines = [json.loads(one) for n in names for one in by_clone.storage.read(n).split()]
    assert [one["transport"] for one in lines] == ["clone"]


def test_export_attributes_are_flagged_or_cloned(
    double_of: Callable[..., GithubDouble], make_step: Callable[..., Any], tmp_path: Path
) -> None:
    files = {
        ".gitattributes": b"tests/ export-ignore\n",
        "LICENSE": MIT,
        "a.py": b"x = 1\n",
        "tests/t.py": b"t = 1\n",
    }
    bare = tmp_path / "git/owner1/name1.git"
    commit = commit_files(files, bare)
    data = git("archive", "--format=tar.gz", "--prefix=r/", commit, folder=bare)
    one = DoubleRepository(
        id=1001, full_name="owner1/name1", created_at="2020-01-01T00:00:00Z", commit=commit,
        tarball=data,
    )  # fmt: skip
    double = double_of([one], git_root=tmp_path / "git")
    flagged = rows_of(make_step("crawl", **config_of(double)).artifact)
    assert [(row["path"], row["flags"]) for row in flagged] == [("a.py", ["export_attributes"])]
    config = config_of(double, github={"export_attributes": "clone"})
    cloned = rows_of(make_step("crawl", **config).artifact)
    assert [(row["path"], row["flags"]) for row in cloned] == [("a.py", []), ("tests/t.py", [])]


def test_a_crawl_without_a_contact_or_a_day_is_refused(make_step: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="--contact"):
        make_step("crawl", source="github", github={"as_of": "2026-11-24"})
    with pytest.raises(ConfigError, match=r"--github\.as-of"):
        make_step("crawl", source="github", contact=CONTACT)
    with pytest.raises(ConfigError) as caught:
        make_step("crawl", source="git", git={"repositories": ["https://me:s3cret@x.org/r.git"]})
    assert "s3cret" not in str(caught.value)
