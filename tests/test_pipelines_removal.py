"""`codekiln data rm | gc | pin`: what a run or a pin needs stays, the rest goes, nothing half."""

import json

import pytest

from components.artifacts.storage import open_storage
from pipelines.cli import main
from tests.gcs_double import Double


@pytest.fixture(params=["disk", "bucket"])
def root(request, tmp_path, monkeypatch):
    if request.param == "disk":
        yield str(tmp_path / "root")
        return
    with Double() as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.host)
        monkeypatch.setenv("CODEKILN_SCRATCH", str(tmp_path / "scratch"))
        yield "gs://bucket/root"


pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def chain(root, make_step, documents_of, document):
    """first -> second -> last, and another child of the first that no run names."""
    rows = [document(f"{n}.py", f"name_{n} = {n}\n" * 20, repo=f"me/r{n}") for n in range(4)]

    def clean(documents, min_lines):
        config = {"min_lines": min_lines, "data_root": root}
        return make_step("clean", {"documents": documents}, **config).artifact

    first = clean(documents_of(rows), 1)
    second = clean(first, 2)
    return {"first": first, "second": second, "other": clean(first, 3), "last": clean(second, 4)}


def record(root, *artifacts):
    steps = [{"step": a.manifest.step, "key": a.manifest.key} for a in artifacts]
    data = json.dumps({"steps": steps}).encode()
    open_storage(root).child("runs").replace("tiny-1.json", data)


def held(root, chain):
    return {name for name, a in chain.items() if a.storage.exists("manifest.json")}


def collect(root, *flags):
    return main(["data", "gc", "--data-root", root, "--min-age-hours", "0", *flags])


def test_what_a_run_names_stays_with_all_that_it_was_made_of(root, chain, capsys):
    record(root, chain["last"])
    assert collect(root, "--dry-run") == 0
    assert "would remove" in capsys.readouterr().out
    assert held(root, chain) == set(chain)
    assert collect(root) == 0
    assert held(root, chain) == {"first", "second", "last"}
    assert chain["other"].storage.names() == []
    assert (
        main(["data", "verify", *(chain[n].storage.uri for n in ("first", "second", "last"))]) == 0
    )


def test_what_is_young_or_pinned_stays(root, chain):
    assert main(["data", "gc", "--data-root", root]) == 0
    assert held(root, chain) == set(chain), "all of it is younger than a day"
    assert main(["data", "pin", chain["other"].storage.uri]) == 0
    assert collect(root) == 0
    assert held(root, chain) == {"first", "other"}
    assert main(["data", "pin", "--remove", chain["other"].storage.uri]) == 0
    assert collect(root) == 0
    assert held(root, chain) == set()


def test_what_is_being_written_stays(root, chain, monkeypatch):
    from components.artifacts import gcs_lease

    monkeypatch.setattr(gcs_lease, "RENEW_S", 0.05)
    monkeypatch.setattr(gcs_lease, "POLL_S", 0.05)
    with chain["other"].storage.lease():
        assert collect(root) == 0
    assert held(root, chain) == {"other"}


def test_an_artifact_that_something_needs_is_not_removed_unless_forced(root, chain, capsys):
    record(root, chain["last"])
    assert main(["data", "rm", chain["second"].storage.uri]) == 2
    assert "was made of it; give --force" in capsys.readouterr().err
    assert main(["data", "rm", chain["last"].storage.uri]) == 2
    assert "/runs names it" in capsys.readouterr().err
    main(["data", "pin", chain["other"].storage.uri])
    assert main(["data", "rm", chain["other"].storage.uri]) == 2
    assert "it is pinned" in capsys.readouterr().err
    assert main(["data", "rm", "--force", chain["last"].storage.uri]) == 0
    assert held(root, chain) == {"first", "second", "other"}


def test_a_removed_artifact_is_made_again_to_the_same_digest(root, chain, make_step):
    main(["data", "rm", "--force", chain["second"].storage.uri])
    again = make_step("clean", {"documents": chain["first"]}, data_root=root, min_lines=2)
    assert not again.reused
    assert again.artifact.manifest.digest == chain["second"].manifest.digest


def test_a_record_that_cannot_be_read_stops_the_collection(root, chain, capsys):
    open_storage(root).child("runs").replace("broken.json", b"{")
    assert collect(root) == 1
    assert "broken.json, got something else" in capsys.readouterr().err
    assert held(root, chain) == set(chain)


def test_a_crash_during_removal_leaves_no_artifact_that_reads_as_whole(root, chain, monkeypatch):
    storage = type(chain["other"].storage)
    remove, calls = storage.remove, []

    def crash(self, name):
        calls.append(name)
        if len(calls) > 1:
            raise KeyboardInterrupt
        remove(self, name)

    monkeypatch.setattr(storage, "remove", crash)
    assert main(["data", "rm", chain["other"].storage.uri]) == 130
    monkeypatch.undo()
    assert calls[0] == "manifest.json"
