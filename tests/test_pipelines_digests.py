"""Golden digests: changed output under an unchanged step version is caught here.

When a change is meant: raise `version` in the step's config.py, then CODEKILN_WRITE_GOLDEN=1 make
test. Writing is refused while the version is the old one. Weights are bitwise equal only on one
kind of machine: the golden of `training` holds losses to two digits, and `generation` and
`publishing`, whose rows hang on the weights, have none.
"""

import base64
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.canonical import digest_of
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import draft_rows, read_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.crawl import installed
from components.stage.step import find_step

GOLDEN = Path(__file__).parent / "golden" / "digests.json"

SOURCE = """\
# Copyright 2020 the authors. Licensed under the Apache License, Version 2.0.

import math


def area_of_{name}(radius: float) -> float:
    \"\"\"Return the area of a {name}.\"\"\"
    if radius < 0:
        raise ValueError(f"expected a radius of at least 0, got {{radius!r}}")
    return math.pi * radius ** 2 + {number}


def names_of_{name}(words):
    return [word.strip().lower() for word in words if word and len(word) > {number}]
"""

NOUNS = ("circle", "disk", "round", "plate", "wheel", "coin", "ring", "lid", "dial", "moon")


def corpus(document):
    """Forty small files of ten repositories: duplicates, a generated file, a short one."""
    rows = []
    for number, noun in enumerate(NOUNS):
        text = SOURCE.format(name=noun, number=number)
        repo = f"owner/{noun}"
        rows += [
            document("shape.py", text, repo=repo, stars=number),
            document("copy.py", text, repo=repo),
            document("near.py", text.replace("strip()", "rstrip()"), repo=repo),
            document(
                "other.py", "\n".join(f"{noun}_{i} = {i * number}" for i in range(99)), repo=repo
            ),
        ]
    rows += [
        document("generated.py", "# auto-generated, do not edit\n" + SOURCE, repo="owner/made"),
        document("short.py", "x = 1\n", repo="owner/made"),
        document("broken.py", "def f(:\n" * 9, repo="owner/made"),
    ]
    return sorted(rows, key=lambda row: (row["repo"], row["path"]))


def artifact_of(folder, kind, drafts, like):
    writer = ArtifactWriter(open_storage(str(folder)))
    writer.commit(0, drafts, Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(sorted(committed[0], key=lambda entry: (entry.part, entry.index)))
    manifest: Manifest = dataclasses.replace(
        like, kind=kind, files=files, digest=digest_of_files(files, frozenset())
    )
    writer.storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(str(folder))


def samples_of(folder, like):
    completions = {
        "passes": "    return 2 * number\n",
        "fails": "    return 3\n",
        "breaks": "  )\n",
    }
    from components.problems.benchmark import load_benchmark

    problem = load_benchmark("easy").problems[0]
    rows = [
        {
            "benchmark": "easy",
            "task_id": problem.task_id,
            "temperature": 0.2,
            "sample": index,
            "prompt": problem.prompt,
            "completion": problem.canonical_solution if name == "passes" else text,
            "num_tokens": 9,
            "finish": "stop",
        }
        for index, (name, text) in enumerate(completions.items())
    ]
    lines = "x = 1\ny = (\nfor a in b: pass\nz = 2\n" * 9
    continuations = [
        {"author": author, "index": 0, "repo": "r", "path": "p", "prefix": "", "text": lines}
        for author in ("real", "trained", "untrained")
    ]
    drafts = [draft_rows("samples", rows), draft_rows("continuations", continuations)]
    return artifact_of(folder, "samples", drafts, like)


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
def made(make_step, documents_of, document, tmp_path, monkeypatch):
    """Every step's outcome on the small corpus, by name."""
    packages = tmp_path / "site-packages"
    install(packages, "shapes", {f"shapes/{n}.py": SOURCE for n in NOUNS[:3]})
    install(packages, "rounds", {"rounds/a.js": "var x = 1;\n", "rounds/empty.py": ""})
    monkeypatch.setattr(installed, "package_folders", lambda: (str(packages),))
    rows = corpus(document)
    documents = documents_of(rows[:20], rows[20:])
    out = {"crawl": make_step("crawl", exclude=["cpython"], shard_bytes=2000)}
    out["clean"] = make_step("clean", {"documents": documents})
    out["dedup"] = make_step("dedup", {"documents": out["clean"].artifact})
    out["decontamination"] = make_step(
        "decontamination", {"documents": out["dedup"].artifact}, benchmarks=["easy"]
    )
    unseen = out["decontamination"].artifact
    out["tokenizer"] = make_step("tokenizer", {"documents": unseen}, vocabulary_size=384)
    tokenizer = out["tokenizer"].artifact
    out["packing"] = make_step(
        "packing",
        {"documents": unseen, "tokenizer": tokenizer},
        validation_fraction=0.3,
        validation_min_repositories=1,
    )
    out["training"] = make_step(
        "training",
        {"tokens": out["packing"].artifact, "tokenizer": tokenizer},
        max_steps=6,
        batch_size=2,
        model={"num_layers": 2, "num_heads": 2, "hidden_size": 32, "context_length": 32},
    )
    samples = samples_of(tmp_path / "samples", documents.manifest)
    out["sandbox"] = make_step("sandbox", {"samples": samples}, benchmarks=["easy"])
    out["scoring"] = make_step(
        "scoring", {"samples": samples, "verdicts": out["sandbox"].artifact}, min_lines=1
    )
    return {name: outcome.artifact for name, outcome in out.items()}


def fingerprint(name, artifact):
    if name != "training":
        return artifact.manifest.digest
    rows = read_rows(artifact, "records")
    return digest_of([[row["step"], f"{row.get('training_loss', 0):.2f}"] for row in rows])


def test_every_steps_output_is_the_golden_one_of_its_version(made):
    current = {
        name: {"version": find_step(name).version, "digest": fingerprint(name, artifact)}
        for name, artifact in made.items()
    }
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("CODEKILN_WRITE_GOLDEN"):
        for name, entry in current.items():
            old = golden.get(name, {"version": 0, "digest": ""})
            assert entry == old or entry["version"] != old["version"], f"raise {name}'s version"
        GOLDEN.write_text(json.dumps(current, indent=1) + "\n")
        golden = current
    assert current == golden
