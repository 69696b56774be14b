"""Any engine, any number of workers: the same digests of the whole corpus path."""

import base64
import hashlib
import os
import signal

import pytest

from components.clean import run as clean_run
from components.crawl import installed

SOURCE = '''\
import math


def area_of_{name}(radius: float) -> float:
    """Return the area of a {name}."""
    if radius < 0:
        raise ValueError(f"expected a radius of at least 0, got {{radius!r}}")
    return math.pi * radius ** 2 + {number}


def names_of_{name}(words):
    """Take the {name}s of a list of words, number {number} of all."""
    return [word.strip().lower() for word in words if word and len(word) > {number}]
'''

NAMES = ("circle", "disk", "plate", "wheel", "coin", "ring", "dial", "moon")


def install(folder, name, files):
    """A distribution as an installer leaves it: files, METADATA, RECORD."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\nLicense-Expression: MIT\n")
    record = ""
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={sha256.rstrip('=')},{len(text)}\n"
    (info / "RECORD").write_text(record)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Eight small distributions, with copies and near copies of one another's files."""
    folder = tmp_path / "site-packages"
    for number, name in enumerate(NAMES):
        text = SOURCE.format(name=name, number=number)
        files = {
            f"{name}/shape.py": text,
            f"{name}/copy.py": text,
            f"{name}/near.py": text.replace("strip()", "rstrip()"),
            f"{name}/other.py": "\n".join(f"{name}_{i} = {i * number}" for i in range(99)),
            f"{name}/broken.py": "def f(:\n" * 9,
        }
        install(folder, name, files)
    monkeypatch.setattr(installed, "package_folders", lambda: (str(folder),))


def make_corpus(make_step, **execution):
    """The digest of every step from the crawl to token shards."""
    made = {"crawl": make_step("crawl", exclude=["cpython"], shard_bytes=3000, **execution)}

    def add(name, inputs, **config):
        artifacts = {key: made[step].artifact for key, step in inputs.items()}
        made[name] = make_step(name, artifacts, **config, **execution)

    add("clean", {"documents": "crawl"})
    add("dedup", {"documents": "clean"})
    add("decontamination", {"documents": "dedup"}, benchmarks=["easy"])
    add("tokenizer", {"documents": "decontamination"}, vocabulary_size=384)
    holdout = {"validation_fraction": 0.3, "validation_min_repositories": 1}
    add("packing", {"documents": "decontamination", "tokenizer": "tokenizer"}, **holdout)
    assert len(made["crawl"].artifact.part("documents")) > 3
    assert not any(outcome.reused for outcome in made.values())
    return {name: outcome.artifact.manifest for name, outcome in made.items()}


@pytest.mark.slow
def test_every_step_of_the_corpus_has_the_digest_of_one_process(make_step, packages, tmp_path):
    expected = make_corpus(make_step, data_root=str(tmp_path / "one"))
    for engine, workers in (("local", 2), ("indexed", 2), ("indexed", 3)):
        root = tmp_path / f"{engine}-{workers}"
        made = make_corpus(make_step, engine=engine, workers=workers, data_root=str(root))
        for name, manifest in made.items():
            assert manifest == expected[name], (engine, workers, name)
        assert not list(root.glob("*/.*.scratch"))


WORK = clean_run.clean_shard


def clean_but_die_once(*arguments, **keywords):
    """Commit nothing and die, the first time that a second index gets here."""
    if os.environ.get("JOB_COMPLETION_INDEX") == "1":
        try:
            os.close(os.open(os.environ["CODEKILN_TEST_MARK"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return WORK(*arguments, **keywords)


def test_a_step_with_a_killed_index_has_the_same_digest(
    make_step, documents_of, document, tmp_path, monkeypatch
):
    rows = [document(f"{n}.py", SOURCE.format(name=n, number=n)) for n in range(8)]
    documents = documents_of(*([row] for row in rows))
    expected = make_step("clean", {"documents": documents}).artifact.manifest
    mark = tmp_path / "mark"
    monkeypatch.setenv("CODEKILN_TEST_MARK", str(mark))
    monkeypatch.setattr(clean_run, "clean_shard", clean_but_die_once)
    made = make_step(
        "clean",
        {"documents": documents},
        engine="indexed",
        workers=2,
        data_root=str(tmp_path / "other"),
    )
    assert mark.exists()
    assert made.artifact.manifest == expected
