"""What is published: the model as it was, true cards, provenance, and a page that is safe to open.

The input artifacts are made by hand in the shapes that the steps before write.
"""

import gzip
import html
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
from components.stage.execution import Outcome
from components.stage.step import find_step

HOSTILE = "<script>alert('x')</script>"
Inputs = dict[str, Artifact]

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


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return make_inputs(tmp_path / "inputs")


def published(outcome: Outcome, name: str) -> bytes:
    """A published file by its name in the model folder."""
    [entry] = [e for e in outcome.artifact.manifest.files if e.name == f"model/{name}"]
    return outcome.artifact.read(entry)


def card(outcome: Outcome) -> str:
    return published(outcome, "README.md").decode()


def page(outcome: Outcome) -> str:
    return outcome.artifact.read(outcome.artifact.only("report")).decode()


def front_matter(outcome: Outcome) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(card(outcome).split("---\n")[1])
    return value


class Elements(HTMLParser):
    """Collects the elements and attributes of a page as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_model_is_copied_byte_for_byte(make_step, inputs):
    outcome = make_step("publishing", inputs)
    for entry in inputs["model"].part("model"):
        name = entry.name.removeprefix("model/")
        assert published(outcome, name) == inputs["model"].read(entry)
    names = {entry.name for entry in outcome.artifact.part("model")}
    written = {"README.md", "DATA_CARD.md", "provenance.json", "training_files.jsonl.gz"}
    assert {f"model/{name}" for name in written} <= names


def test_the_same_inputs_give_the_same_bytes_wherever_and_however_often(
    make_step, inputs, tmp_path
):
    one = make_step("publishing", inputs, workers=1)
    two = make_step("publishing", inputs, workers=2, data_root=str(tmp_path / "elsewhere"))
    assert not two.reused
    assert one.artifact.manifest.files == two.artifact.manifest.files
    assert one.artifact.manifest.digest == two.artifact.manifest.digest


def test_what_is_published_names_no_place_host_or_time(make_step, inputs, tmp_path):
    outcome = make_step("publishing", inputs)
    for name in ("README.md", "DATA_CARD.md", "provenance.json"):
        text = published(outcome, name).decode()
        assert str(tmp_path) not in text
        assert socket.gethostname() not in re.findall(r"[\w.-]+", text)
        assert "unix" not in text
    assert str(tmp_path) in page(outcome)  # the report is of this run, and outside the digest


def test_the_digest_does_not_cover_the_report(make_step, inputs, tmp_path):
    outcome = make_step("publishing", inputs)
    manifest = outcome.artifact.manifest
    without = tuple(entry for entry in manifest.files if entry.part != "report")
    assert manifest.digest == digest_of_files(without, frozenset())


def test_a_killed_step_goes_on_after_what_it_published(make_step, inputs, tmp_path, monkeypatch):
    whole = make_step("publishing", inputs)
    root = str(tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(publishing_run, "write_cards", lambda facts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_step("publishing", inputs, data_root=root)
    monkeypatch.setattr(publishing_run, "copy_model", lambda model: 1 / 0)
    resumed = make_step("publishing", inputs, data_root=root)
    assert resumed.artifact.manifest.files == whole.artifact.manifest.files


@pytest.mark.parametrize("field", ["completion", "repo", "path"])
def test_hostile_text_is_shown_and_never_becomes_markup(make_step, tmp_path, field):
    text = f"{HOSTILE}\x00\ud800\u202e\x1b[2J"
    outcome = make_step("publishing", make_inputs(tmp_path / "inputs", **{field: text}))
    seen = Elements(page(outcome))
    assert not [tag for tag, _ in seen.found if tag in {"script", "img", "iframe", "object"}]
    assert f"{HOSTILE}<U+0000><U+D800><U+202E><U+001B>" in seen.text
    for name in ("README.md", "DATA_CARD.md"):
        assert "<script" not in published(outcome, name).decode()


def test_a_hostile_licence_stays_in_its_cell(make_step, tmp_path):
    licenses = ("MIT", f"{HOSTILE}|`x`\n# Title\n[a](javascript:1)", "(" * 5000)
    outcome = make_step("publishing", make_inputs(tmp_path / "inputs", licenses=licenses))
    for text in (card(outcome), published(outcome, "DATA_CARD.md").decode()):
        assert "<script" not in text
        [row] = [line for line in text.splitlines() if "&lt;script&gt;" in line]
        assert row.count(" | ") == 3
        assert "\\|\\`x\\`" in row
        assert "\\[a\\]" in row
    assert "script" not in {tag for tag, _ in Elements(page(outcome)).found}


def test_the_report_needs_nothing_from_outside(make_step, inputs):
    text = page(make_step("publishing", inputs))
    seen = Elements(text)
    for tag, attributes in seen.found:
        assert tag not in {"script", "link", "img", "iframe"}
        assert all(str(attributes.get(name, "#")).startswith("#") for name in ("href", "src"))
        assert not [name for name in attributes if name.startswith("on")]
    [policy] = [a["content"] for _, a in seen.found if "http-equiv" in a]
    assert "default-src 'none'" in str(policy)
    assert re.findall(r"url\(([^)]*)\)|@import", text) == ["#fade"]
    anchors = {a["id"] for _, a in seen.found if "id" in a}
    links = {str(a["href"])[1:] for tag, a in seen.found if tag == "a"}
    assert links
    assert links <= anchors


def test_the_report_is_also_the_page_that_kubeflow_shows(make_step, inputs):
    outcome = make_step("publishing", inputs)
    assert outcome.artifact.storage.read("page.html").decode() == page(outcome)


def test_the_report_shows_what_a_run_is_judged_by(make_step, inputs):
    text = " ".join(html.unescape(Elements(page(make_step("publishing", inputs))).text).split())
    for shown in (
        "2.750",  # bits per byte, then untrained
        "4.125",
        "near duplicate",
        "GPL-3.0-only",
        "held out 5",  # the last validation loss, 9 - 100 / 25
        "PyCodeGPT 110M",
        "8.32 %",
        "1 of 4 samples of 4 problems passed",
        "0 of 164 samples of 164 problems",
        "HumanEval/0",  # a decontamination span
        "easy/2 passed",
        "easy/0 failed: NameError",
    ):
        assert shown in text, shown


def test_the_card_is_valid_and_names_the_training_data_as_its_licence(make_step, inputs):
    outcome = make_step("publishing", inputs, title='A "quoted": title')
    metadata = front_matter(outcome)
    assert metadata["license"] == "other"
    assert metadata["license_link"] == "DATA_CARD.md"
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "text-generation"
    assert {"code", "python"} <= {*metadata["tags"]}
    [model] = metadata["model-index"]
    assert model["name"] == 'A "quoted": title'
    values = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in model["results"]}
    assert values == {"HumanEval": 0.0, "easy set": 0.25}
    for name in ("MIT", "GPL-3.0-only", "unknown"):
        assert f"| {name} | " in card(outcome)
    assert "25.0 % of its bytes stand under a copyleft licence" in card(outcome)


def test_the_card_has_the_sections_and_risks_of_its_model(make_step, inputs):
    text = card(make_step("publishing", inputs))
    headings = re.findall(r"^#+ (.*)$", text.split("```python")[0], re.MULTILINE)
    for heading in ("Model description", "Training data", "Training procedure", "Risks"):
        assert heading in headings
    for risk in ("Over-reliance", "Economic and labor market", "Security", "Legal", "Biases"):
        assert f"**{risk}.**" in text
    assert "2 layers" in text
    assert "| model.num\\_layers | 2 |" in text
    assert "| dropped by clean: syntax | \u22123 | \u22123.0 kB |" in text
    assert "codekiln run tiny" in text


def test_a_score_of_zero_is_said_plainly_and_a_higher_one_with_its_interval(make_step, tmp_path):
    none = card(make_step("publishing", make_inputs(tmp_path / "none")))
    assert "**HumanEval: pass@1 is 0.00 %.** None of 164 samples of 164 problems passed" in none
    assert "lies below 1.8 % with 95 % confidence" in none
    some = card(make_step("publishing", make_inputs(tmp_path / "some", humaneval_passed=4)))
    assert "**HumanEval: pass@1 is 2.44 %** (interval 1.22 % to 3.66 %): 4 of 164" in some


def test_every_packed_file_is_listed_with_its_hash(make_step, inputs):
    data = published(make_step("publishing", inputs), "training_files.jsonl.gz")
    assert data[4:8] == bytes(4)  # gzip's time
    rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    assert [(r["split"], r["repo"], r["path"], r["license"]) for r in rows] == [
        ("training", "repo0", "src/m0.py", "MIT"),
        ("training", "repo1", "src/m1.py", "GPL-3.0-only"),
        ("training", "repo2", "src/m2.py", "unknown"),
        ("validation", "requests", "requests/api.py", "MIT"),
    ]
    assert rows[0]["sha256"] == sha256_hex(b"repo0/src/m0.py")


def test_provenance_names_every_artifact_by_what_went_in_and_came_out(make_step, inputs):
    value = json.loads(published(make_step("publishing", inputs), "provenance.json"))
    steps = {step["step"]: step for step in value["steps"]}
    assert list(steps)[:3] == ["crawl", "clean", "dedup"]
    assert len(steps) == len(inputs)
    for artifact in inputs.values():
        manifest = artifact.manifest
        step = steps[manifest.step]
        assert (step["key"], step["digest"]) == (manifest.key, manifest.digest)
        assert step["tally"] == manifest.tally.to_json()
        assert step["identity"] == manifest.config
        for parent in step["parents"].values():
            assert parent["digest"] == steps[parent["step"]]["digest"]
    weights = value["model_files"]["model.safetensors"]
    assert weights["sha256"] == sha256_hex(bytes(range(256)) * 4)


def test_a_licence_outside_the_list_refuses_the_publication(make_step, tmp_path):
    licenses = ("MIT", "GPL-3.0-only", "GPL-3.0-only", "unknown", "EPL-2.0", "ISC OR X", "A AND B")
    inputs = make_inputs(tmp_path / "inputs", licenses=licenses)
    with pytest.raises(ConfigError) as caught:
        make_step("publishing", inputs, allowed_licenses=["MIT", "ISC"])
    message = str(caught.value)
    assert "'GPL-3.0-only' (2 files, 2.0 kB), 'unknown'" in message
    assert "and 1 more" in message
    assert "ISC" not in message
    assert "\n" not in message
    assert not list((tmp_path / "data").rglob("manifest.json"))
    everything = [*licenses[:-1], "A", "B", "ISC"]
    assert not make_step("publishing", inputs, allowed_licenses=everything).reused


def test_artifacts_of_two_runs_are_refused(make_step, inputs, tmp_path):
    other = make_inputs(tmp_path / "other", completion="    return 2\n")
    with pytest.raises(ArtifactError, match="expected scores made from generation"):
        make_step("publishing", {**inputs, "samples": other["samples"]})


def test_the_cards_snippet_runs_as_it_stands(make_step, documents_of, document, tmp_path):
    from components.model.config import ModelConfig
    from components.model.folder import export_model
    from components.model.initialization import initialize

    texts = [f"def f{i}(x):\n    return x + {i}\n" for i in range(40)]
    documents = documents_of([document(f"{i}.py", text) for i, text in enumerate(texts)])
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=300).artifact
    files = {
        entry.name.removeprefix("tokenizer/"): tokenizer.read(entry)
        for entry in tokenizer.part("tokenizer")
    }
    model = initialize(
        ModelConfig(
            vocabulary_size=320, context_length=256, num_layers=2, num_heads=2, hidden_size=32
        ),
        seed=0,
    )
    files |= export_model(model, bos_id=0, eos_id=0)
    outcome = make_step("publishing", make_inputs(tmp_path / "inputs", model_files=files))
    folder = tmp_path / "model"
    folder.mkdir()
    for entry in outcome.artifact.part("model"):
        (folder / Path(entry.name).name).write_bytes(outcome.artifact.read(entry))
    [snippet] = re.findall(r"```python\n(.*?)```", card(outcome), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("def greet(name):\n")
    assert len(done.stdout) > len("def greet(name):\n")


def test_the_component_takes_the_inputs_of_the_step():
    from components.publishing.component import publishing

    step = find_step("publishing")
    artifacts = publishing.component_spec.inputs.keys() - step.config().to_json().keys()
    assert artifacts == {*step.inputs, "config", "data_root", "workers", "threads"}
    assert "page" in publishing.component_spec.outputs
