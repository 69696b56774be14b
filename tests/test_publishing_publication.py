"""What is published: the model as it was, true cards, provenance, and a page that is safe to open.

The input artifacts are made by hand in the shapes that the steps before write.
"""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.canonical import sha256_hex
from components.artifacts.errors import ArtifactError, ConfigError
from components.artifacts.manifest import Manifest, Parent, digest_of_files
from components.artifacts.rows import draft_rows, draft_text
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally
from components.artifacts.tokens import draft_tokens
from components.publishing import run as publishing_run
from components.publishing.config import STEP

HOSTILE = "<script>alert('x')</script>"
Inputs = dict[str, Artifact]
MakeInputs = Callable[..., Inputs]

MODEL_CONFIG = {
    "architectures": ["GPTNeoForCausalLM"],
    "model_type": "gpt_neo",
    "activation_function": "gelu_new",
    "attention_types": [[["global", "local"], 1]],
    "attention_layers": ["global", "local"],
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 128,
    "window_size": 16,
    "vocab_size": 300,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "tie_word_embeddings": True,
}


def make_artifact(
    folder: Path,
    step: str,
    kind: str,
    drafts: Sequence[Draft],
    tally: Tally | None = None,
    parents: Mapping[str, Artifact] | None = None,
    config: Mapping[str, Any] | None = None,
    measures: Mapping[str, float] | None = None,
) -> Artifact:
    """Write an artifact as a step would."""
    storage = open_storage(str(folder / step))
    writer = ArtifactWriter(storage)
    writer.commit(0, drafts, Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(sorted(committed[0], key=lambda entry: (entry.part, entry.index, entry.name)))
    digest = digest_of_files(files, frozenset({"timings"}))
    manifest = Manifest(
        step=step,
        version=1,
        kind=kind,
        key=digest[::-1][:32],
        digest=digest,
        files=files,
        tally=tally or Tally(),
        measures=measures or {},
        config={"config": dict(config or {}), "observed": {}},
        parents={
            name: Parent(step=a.manifest.step, key=a.manifest.key, digest=a.manifest.digest)
            for name, a in (parents or {}).items()
        },
        code_version="test",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def funnel_tally(came: Mapping[str, int], drops: Mapping[str, int]) -> Tally:
    """A tally of documents by licence, with a size of 1,000 bytes each."""
    tally = Tally()
    for name, number in came.items():
        for _ in range(number):
            tally.take_in(1000)
            tally.keep(1000, name, "Python")
    for reason, number in drops.items():
        for _ in range(number):
            tally.take_in(1000)
            tally.drop(reason, 1000)
    return tally


def token_drafts(sources: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Draft]:
    """Token shards of both splits, four tokens a document."""
    drafts: list[Draft] = []
    for split, rows in sources.items():
        ids = np.arange(4 * len(rows), dtype=np.uint16)
        offsets = list(range(0, len(ids) + 1, 4))
        drafts += draft_tokens(split, ids, offsets, rows, {"eos_id": 0})
    return drafts


def source_row(repo: str, path: str, license_name: str, language: str = "Python") -> dict[str, Any]:
    """Where a packed document is from."""
    return {
        "source": "installed",
        "repo": repo,
        "commit": "1.0",
        "path": path,
        "sha256": sha256_hex(f"{repo}/{path}".encode()),
        "size": 1000,
        "language": language,
        "license": license_name,
    }


def score(n: int, problems: int, passed: int) -> dict[str, Any]:
    """Scores of one benchmark."""
    share = passed / (n * problems)
    return {
        "n": n,
        "problems": problems,
        "pass_at_k": {"1": {"value": share, "low": share / 2, "high": min(1.0, share * 1.5)}},
        "verdicts": {"passed": passed, "failed": n * problems - passed - 1, "timeout": 1},
        "verdict_details": {"SyntaxError": 3, "AssertionError": 2, "SIGKILL": 1},
        "syntax_valid": 0.5,
    }


def make_inputs(
    folder: Path,
    *,
    licenses: Sequence[str] = ("MIT", "MIT", "GPL-3.0-only", "unknown"),
    humaneval_passed: int = 0,
    completion: str = "    return 1\n",
    repo: str = "requests",
    path: str = "requests/api.py",
    model_files: Mapping[str, bytes] | None = None,
) -> Inputs:
    """A whole run's artifacts, small and made by hand."""
    rows = [source_row(repo, path, licenses[0])]
    rows += [source_row(f"repo{i}", f"src/m{i}.py", name) for i, name in enumerate(licenses[1:])]
    kept = {name: licenses.count(name) for name in licenses}
    more = {name: number + 3 for name, number in kept.items()}
    empty = draft_rows("documents", [])
    crawl = make_artifact(
        folder, "crawl", "documents", [empty], funnel_tally(more, {"too_large": 2})
    )
    clean = make_artifact(
        folder,
        "clean",
        "documents",
        [draft_rows("documents", [{"clean": 1}])],
        funnel_tally(kept | {"MIT": 6}, {"syntax": 3, "generated": 1}),
        {"documents": crawl},
        {"preset": "starcoder"},
    )
    member = {"repo": repo, "path": path, "sha256": "0" * 64}
    cluster = {
        "cluster": 0,
        "kept": member,
        "dropped": [{**member, "reason": "near_duplicate", "jaccard": 0.91}],
    }
    dedup = make_artifact(
        folder,
        "dedup",
        "documents",
        [draft_rows("documents", [{"dedup": 1}]), draft_rows("clusters", [cluster])],
        funnel_tally(kept | {"MIT": 4}, {"near_duplicate": 2}),
        {"documents": clean},
    )
    span = {"benchmark": "humaneval", "task_id": "HumanEval/0", "text": completion, **member}
    decontamination = make_artifact(
        folder,
        "decontamination",
        "documents",
        [draft_rows("documents", [{"decontamination": 1}]), draft_rows("spans", [span])],
        funnel_tally(kept, {"humaneval": 1}),
        {"documents": dedup},
    )
    tokenizer = make_artifact(
        folder,
        "tokenizer",
        "tokenizer",
        [draft_text("tokenizer", ".json", "{}", name="tokenizer/tokenizer.json")],
        None,
        {"documents": decontamination},
        {"method": "bpe", "vocabulary_size": 300},
    )
    tokens = make_artifact(
        folder,
        "packing",
        "tokens",
        token_drafts({"training": rows[1:], "validation": rows[:1]}),
        funnel_tally(kept, {}),
        {"documents": decontamination, "tokenizer": tokenizer},
    )
    return {
        "crawl": crawl,
        "clean": clean,
        "dedup": dedup,
        "decontamination": decontamination,
        "tokenizer": tokenizer,
        "tokens": tokens,
        **make_results(
            folder, tokens, tokenizer, humaneval_passed, completion, member, model_files
        ),
    }


def make_results(
    folder: Path,
    tokens: Artifact,
    tokenizer: Artifact,
    humaneval_passed: int,
    completion: str,
    member: Mapping[str, str],
    model_files: Mapping[str, bytes] | None,
) -> Inputs:
    """The artifacts from the model on."""
    files = model_files or {
        "config.json": json.dumps(MODEL_CONFIG).encode(),
        "model.safetensors": bytes(range(256)) * 4,
        "tokenizer.json": b"{}",
    }
    drafts = [
        Draft(
            part="model",
            suffix="",
            data=data,
            rows=1,
            digest=sha256_hex(data),
            name=f"model/{name}",
        )
        for name, data in files.items()
    ]
    records: list[dict[str, Any]] = [
        {"step": step, "tokens": step * 64, "training_loss": 9 - step / 20, "learning_rate": 1e-3}
        for step in range(10, 101, 10)
    ]
    records += [
        {"step": step, "validation_loss": 9 - step / 25, "bits_per_byte": 4 - step / 80}
        for step in (50, 100)
    ]
    model = make_artifact(
        folder,
        "training",
        "model",
        [*drafts, draft_rows("records", records)],
        None,
        {"tokens": tokens, "tokenizer": tokenizer},
        {"learning_rate": 0.001, "num_steps": 100, "model": {"num_layers": 2}},
        {
            "bits_per_byte": 2.75,
            "bits_per_byte_untrained": 4.125,
            "parameters": 35_000,
            "tokens_trained": 6400,
            "validation_bytes": 1000,
            "loss_training": 4.0,
        },
    )
    sample_rows, verdict_rows = [], []
    for benchmark, tasks in (("easy", 4), ("humaneval", 3)):
        for task in range(tasks):
            row = {"benchmark": benchmark, "task_id": f"{benchmark}/{task}", "sample": 0}
            passed = benchmark == "easy" and task == 2
            sample_rows.append(
                {
                    **row,
                    "prompt": f"def f{task}(x):\n",
                    "completion": completion,
                    "num_tokens": 7,
                    "finish": "stop",
                }
            )
            verdict = "passed" if passed else "failed"
            verdict_rows.append(
                {**row, "verdict": verdict, "detail": "" if passed else "NameError"}
            )
    continuations = [
        {"author": author, "index": 0, **member, "prefix": "import os\n", "text": completion}
        for author in ("trained", "untrained", "real")
    ]
    samples = make_artifact(
        folder,
        "generation",
        "samples",
        [draft_rows("samples", sample_rows), draft_rows("continuations", continuations)],
        None,
        {"model": model, "tokens": tokens},
        {"temperature": 0.2},
    )
    verdicts = make_artifact(
        folder,
        "sandbox",
        "verdicts",
        [draft_rows("verdicts", verdict_rows[::-1])],
        None,
        {"samples": samples},
        {"timeout_s": 3},
    )
    line = {"share": 0.6, "low": 0.5, "high": 0.7, "lines": 100, "parsed": 60}
    scores = {
        "benchmarks": {"easy": score(1, 4, 1), "humaneval": score(1, 164, humaneval_passed)},
        "selfcheck": {
            "humaneval": {"canonical_passed": 164, "empty_passed": 0, "problems": 164},
        },
        "lines": {"trained": line, "untrained": line, "real": line},
        "bootstrap": {"seed": 0, "resamples": 1000, "level": 0.95},
        "published": [
            {
                "model": "PyCodeGPT",
                "parameters": "110M",
                "pass_at_1": 8.32,
                "pass_at_10": 13.53,
                "pass_at_100": None,
                "samples_per_problem": 100,
                "temperature": "0.2",
                "source": "README of microsoft/PyCodeGPT",
            }
        ],
    }
    return {
        "model": model,
        "samples": samples,
        "verdicts": verdicts,
        "scores": make_artifact(
            folder,
            "scoring",
            "scores",
            [draft_text("scores", ".json", json.dumps(scores), name="scores.json")],
            None,
            {"samples": samples, "verdicts": verdicts},
        ),
    }
