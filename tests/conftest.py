"""Fixtures for every test file: a step on a temporary data root, documents made by hand."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.documents import (
    DOCUMENTS,
    documents_table,
    draft_documents,
    git_blob_sha1,
)
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.stage.execution import Execution, Outcome, execute
from components.stage.step import find_step

MakeStep = Callable[..., Outcome]
DocumentsOf = Callable[..., Artifact]


@pytest.fixture
def document() -> Callable[..., dict[str, Any]]:
    """Make a document row with every field filled: document("a.py", "x = 1", repo="me/mine")."""
    return _document


def _document(path: str, content: str, **fields: Any) -> dict[str, Any]:
    data = content.encode()
    row: dict[str, Any] = {
        "source": "test",
        "repo_id": fields.get("repo", "owner/name"),
        "repo": "owner/name",
        "commit": "1.0",
        "path": path,
        "blob_sha1": git_blob_sha1(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "content": content,
        "language": "Python",
        "license": "MIT",
        "license_source": "test",
        "stars": 0,
        "flags": [],
    }
    return {**row, **fields}


@pytest.fixture
def make_step(tmp_path: Path) -> MakeStep:
    """Run a step: make_step("dedup", {"documents": artifact}, threshold=0.8, workers=2)."""
    calls = iter(range(1_000_000))

    def make(
        name: str,
        inputs: Mapping[str, Artifact] | None = None,
        *,
        workers: int = 1,
        threads: int = 1,
        engine: Literal["local", "indexed", "spark"] = "local",
        data_root: str | None = None,
        **config: Any,
    ) -> Outcome:
        step = find_step(name)
        return execute(
            step,
            step.config.from_json(config),
            {key: artifact.storage.uri for key, artifact in (inputs or {}).items()},
            tmp_path / "outputs" / f"{name}-{next(calls)}",
            Execution(
                data_root=data_root or str(tmp_path / "data"),
                workers=workers,
                threads=threads,
                engine=engine,
            ),
        )

    return make


@pytest.fixture
def documents_of(tmp_path: Path) -> DocumentsOf:
    """Make an artifact of documents from shards of rows: documents_of([row, ...], [row, ...])."""
    calls = iter(range(1_000_000))

    def make(*shards: Sequence[Mapping[str, Any]]) -> Artifact:
        storage = open_storage(str(tmp_path / "documents" / str(next(calls))))
        writer = ArtifactWriter(storage)
        tally = Tally()
        files = []
        for index, rows in enumerate(shards):
            for row in rows:
                tally.take_in(row["size"])
                tally.keep(row["size"], row["license"], row["language"])
            writer.commit(index, [draft_documents(documents_table(rows))], Tally())
            committed = writer.committed(index)
            assert committed is not None
            files += committed[0]
        manifest = Manifest(
            step="test",
            version=1,
            kind=DOCUMENTS,
            key="0" * 32,
            digest=digest_of_files(tuple(files), frozenset()),
            files=tuple(files),
            tally=tally,
            measures={},
            config={},
            parents={},
            code_version="test",
        )
        storage.create("manifest.json", manifest.to_bytes())
        return Artifact.open(storage.uri)

    return make


@pytest.fixture
def wait_until_gone() -> Callable[[Sequence[int]], None]:
    """Fail unless every process of a list ends within a few seconds."""

    def wait(pids: Sequence[int]) -> None:
        deadline = time.monotonic() + PROCESS_END_LIMIT_S
        living = list(pids)
        while living and time.monotonic() < deadline:
            living = [pid for pid in living if _is_alive(pid)]
            time.sleep(0.05)
        assert living == []

    return wait


@pytest.fixture
def double_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start a double of GitHub: double_of([repository, ...], fault_rate=0.2).

    The token is in the environment; a violation that the double saw fails the test.
    """
    from components.crawl import github
    from tests.github_crawls import SECONDARY_WAIT_S
    from tests.github_double import TOKEN, GithubDouble

    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    github._ALLOWANCES.clear()
    github._EARLIER.clear()
    opened = []

    def start(repositories: Sequence[Any], **options: Any) -> GithubDouble:
        double = GithubDouble([*repositories], secondary_wait_s=SECONDARY_WAIT_S, **options)
        context = double.running()
        opened.append((context, double))
        return context.__enter__()

    yield start
    for context, double in opened:
        context.__exit__(None, None, None)
        assert not double.violations, "\n".join(double.violations)


@pytest.fixture(params=["stub", "real"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A Kubernetes API server: the stub, then the one that KUBECONFIG names (or a skip)."""
    from tests.kubernetes_server import REAL, real_server, stub_server

    if request.param == "stub":
        with stub_server(tmp_path, monkeypatch.setenv) as running:
            yield running
        return
    if not REAL:
        pytest.skip("KUBECONFIG names no API server")
    request.getfixturevalue("trainer")
    with real_server(monkeypatch.setenv) as running:
        yield running


@pytest.fixture(scope="session")
def trainer() -> Iterator[None]:
    """The kind TrainJob on the real server, as Kubeflow Trainer would bring it."""
    from tests.kubernetes_server import custom_kinds

    with custom_kinds("TrainJob"):
        yield


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """XLA without optimisation and with a cache on the disk: compiling small models takes longer
    than running them. The variables do the same for other processes."""
    import jax

    variables = {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    os.environ["XLA_FLAGS"] = variables["XLA_FLAGS"]  # read when the first device is asked for
    jax.config.update("jax_compilation_cache_dir", variables["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return variables


PROCESS_END_LIMIT_S = 10.0


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def artifact_of(tmp_path: Path) -> Callable[..., Artifact]:
    """Make an artifact of a kind from drafts: artifact_of("samples", [draft_rows(...)])."""
    calls = iter(range(1_000_000))

    def make(kind: str, drafts: Sequence[Draft], **fields: Any) -> Artifact:
        storage = open_storage(str(tmp_path / "artifacts" / f"{kind}-{next(calls)}"))
        writer = ArtifactWriter(storage)
        writer.commit(0, drafts, Tally())
        committed = writer.committed(0)
        assert committed is not None
        files = tuple(committed[0])
        manifest = Manifest(
            step="test",
            version=1,
            kind=kind,
            key=fields.get("key", "0" * 32),
            digest=digest_of_files(files, frozenset()),
            files=files,
            tally=Tally(),
            measures=fields.get("measures", {}),
            config=fields.get("config", {}),
            parents={},
            code_version="test",
        )
        storage.create("manifest.json", manifest.to_bytes())
        return Artifact.open(storage.uri)

    return make
