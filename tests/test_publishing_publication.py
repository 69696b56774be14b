"""What is published: the model as it was, true cards, provenance, and a page that is safe to open.

The input artifacts are made by hand in the shapes that the steps before write.
"""

import gzip
import html
import json
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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
from components.publishing.model_card import SNIPPET
from components.stage.execution import Outcome
from tests.page_elements import Elements

HOSTILE = "<script>alert('x')</script>"
Inputs = dict[str, Artifact]

WEIGHTS = bytes(range(256)) * 4
MODEL_CONFIG = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 128,
    "window_size": 16,
    "vocab_size": 300,
}


@dataclass
class Fakes:
    """Writes artifacts as the steps would."""

    folder: Path
    made: Inputs = field(default_factory=dict)

    def make(
        self,
        name: str,
        step: str,
        kind: str,
        drafts: Sequence[Draft],
        parents: Mapping[str, str] = MappingProxyType({}),
        **extra: Any,
    ) -> None:
        """Add an input of publishing; `parents` names other inputs, `extra` is its manifest's."""
        storage = open_storage(str(self.folder / step))
        writer = ArtifactWriter(storage)
        writer.commit(0, drafts, Tally())
        committed = writer.committed(0)
        assert committed is not None
        files = tuple(sorted(committed[0], key=lambda entry: (entry.part, entry.index, entry.name)))
        digest = digest_of_files(files, frozenset())
        given = {name: self.made[of].manifest for name, of in parents.items()}
        manifest = Manifest(
            step=step,
            version=1,
            kind=kind,
            key=digest[::-1][:32],
            digest=digest,
            files=files,
            tally=extra.get("tally", Tally()),
            measures=extra.get("measures", {}),
            config={"config": extra.get("config", {}), "observed": {}},
            parents={
                name: Parent(step=m.step, key=m.key, digest=m.digest) for name, m in given.items()
            },
            code_version="test",
        )
        storage.create("manifest.json", manifest.to_bytes())
        self.made[name] = Artifact.open(storage.uri)


def funnel_tally(kept: Mapping[str, int], drops: Mapping[str, int]) -> Tally:
    """A tally of documents of 1,000 bytes each, kept by licence and dropped by reason."""
    tally = Tally()
    for name in Counter(kept).elements():
        tally.take_in(1000)
        tally.keep(1000, name, "Python")
    for reason in Counter(drops).elements():
        tally.take_in(1000)
        tally.drop(reason, 1000)
    return tally


def token_drafts(split: str, rows: Sequence[Mapping[str, Any]]) -> list[Draft]:
    """A token shard with four tokens a document."""
    ids = np.arange(4 * len(rows), dtype=np.uint16)
    return draft_tokens(split, ids, range(0, len(ids) + 1, 4), rows, {"eos_id": 0})


def source_row(repo: str, path: str, license_name: str) -> dict[str, Any]:
    """Where a packed document is from."""
    sha256 = sha256_hex(f"{repo}/{path}".encode())
    names = {"source": "installed", "repo": repo, "commit": "1.0", "path": path}
    return {**names, "sha256": sha256, "size": 1000, "language": "Python", "license": license_name}


def score(problems: int, passed: int) -> dict[str, Any]:
    """Scores of one benchmark with one sample a problem."""
    share = passed / problems
    bounds = {"value": share, "low": share / 2, "high": min(1.0, share * 1.5)}
    return {
        "n": 1,
        "samples": problems,
        "problems": problems,
        "problems_in_benchmark": problems,
        "temperatures": [0.2],
        "grid": [{"temperature": 0.2, "n": 1, "pass_at_k": {"1": bounds}, "curve": []}],
        "selection": {},
        "exposure": {"unseen": {"problems": problems, "pass_at_k": {"1": bounds}}},
        "texts": {"duplicates": 0.25, "blank": 0, "repeats_prompt": 0, "trimmed": 0, "period": 0},
        "pass_at_k": {"1": bounds},
        "verdicts": {"passed": passed, "failed": problems - passed - 1, "timeout": 1},
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
    pretrained_folder: str = "",
) -> Inputs:
    """A whole run's artifacts, small and made by hand."""
    fakes = Fakes(folder)
    kept, member = Counter(licenses), {"repo": repo, "path": path, "sha256": "0" * 64}
    cluster = {
        "cluster": 0,
        "kept": member,
        "dropped": [{**member, "reason": "near_duplicate", "jaccard": 0.91}],
    }
    span = {"benchmark": "humaneval", "task_id": "HumanEval/0", "text": completion, **member}
    funnel: tuple[tuple[str, dict[str, int], list[Draft]], ...] = (
        ("crawl", {"too_large": 2}, []),
        ("clean", {"syntax": 3, "generated": 1}, []),
        ("dedup", {"near_duplicate": 2}, [draft_rows("clusters", [cluster])]),
        ("decontamination", {"humaneval": 1}, [draft_rows("spans", [span])]),
    )
    parents: dict[str, str] = {}
    for place, (step, drops, drafts) in enumerate(funnel):
        later = sum(sum(others.values()) for _, others, _ in funnel[place + 1 :])
        documents = draft_rows("documents", [{"step": step}])
        tally = funnel_tally(kept + Counter({"MIT": later}), drops)
        fakes.make(step, step, "documents", [documents, *drafts], parents, tally=tally)
        parents = {"documents": step}
    tokenizer = [draft_text("tokenizer", ".json", "{}", name="tokenizer/tokenizer.json")]
    fakes.make("tokenizer", "tokenizer", "tokenizer", tokenizer, parents, config={"method": "bpe"})
    rows = [source_row(repo, path, licenses[0])]
    rows += [source_row(f"repo{i}", f"src/m{i}.py", name) for i, name in enumerate(licenses[1:])]
    tokens = token_drafts("training", rows[1:]) + token_drafts("validation", rows[:1])
    parents |= {"tokenizer": "tokenizer"}
    fakes.make("tokens", "packing", "tokens", tokens, parents, tally=funnel_tally(kept, {}))
    make_model(fakes, pretrained_folder)
    make_samples(fakes, completion, member)
    make_scores(fakes, humaneval_passed)
    return fakes.made


def make_model(fakes: Fakes, pretrained_folder: str) -> None:
    """The model and its records: loss falls to 4 in training, to 5 on what is held out."""
    drafts = [
        Draft(part="model", suffix="", data=data, rows=1, digest=sha256_hex(data), name=name)
        for name, data in (
            ("model/config.json", json.dumps(MODEL_CONFIG).encode()),
            ("model/model.safetensors", WEIGHTS),
        )
    ]
    records: list[dict[str, Any]] = [
        {"step": step, "tokens": step * 64, "training_loss": 9 - step / 20, "learning_rate": 1e-3}
        for step in range(10, 101, 10)
    ]
    records += [
        {"step": step, "validation_loss": 9 - step / 25, "bits_per_byte": 4 - step / 80}
        for step in (50, 100)
    ]
    fakes.make(
        "model",
        "training",
        "model",
        [*drafts, draft_rows("records", records)],
        {"tokens": "tokens", "tokenizer": "tokenizer"},
        config={"pretrained_folder": pretrained_folder, "model": {"num_layers": 2}},
        measures={
            "bits_per_byte": 2.75,
            "bits_per_byte_untrained": 4.125,
            "parameters": 35_000,
            "tokens_trained": 6400,
            "validation_bytes": 1000,
            "loss_training": 4.0,
        },
    )


def make_samples(fakes: Fakes, completion: str, member: Mapping[str, str]) -> None:
    """Samples of seven problems, of which easy/2 is solved, and their verdicts out of order."""
    rows: list[dict[str, Any]] = [
        {"benchmark": benchmark, "task_id": f"{benchmark}/{task}", "temperature": 0.2, "sample": 0}
        for benchmark, tasks in (("easy", 4), ("humaneval", 3))
        for task in range(tasks)
    ]
    text = {"prompt": "def f(x):\n", "completion": completion, "num_tokens": 7, "finish": "stop"}
    failed, passed = (
        {"verdict": "failed", "detail": "NameError"},
        {"verdict": "passed", "detail": ""},
    )
    verdicts = [row | (passed if row["task_id"] == "easy/2" else failed) for row in rows]
    continuations = [
        {"author": author, "index": 0, **member, "prefix": "import os\n", "text": completion}
        for author in ("trained", "untrained", "real")
    ]
    samples = [draft_rows("samples", [row | text for row in rows])]
    samples += [draft_rows("continuations", continuations)]
    fakes.make("samples", "generation", "samples", samples, {"model": "model"})
    judged = [draft_rows("verdicts", verdicts[::-1])]
    fakes.make("verdicts", "sandbox", "verdicts", judged, {"samples": "samples"})


def make_scores(fakes: Fakes, humaneval_passed: int) -> None:
    """Scores of both benchmarks."""
    line = {"share": 0.6, "low": 0.5, "high": 0.7, "lines": 100, "parsed": 60}
    pycodegpt = {"model": "PyCodeGPT", "parameters": "110M", "source": "README"}
    shares = {"pass_at_1": 8.32, "pass_at_10": 13.53, "pass_at_100": None}
    scores = {
        "benchmarks": {"easy": score(4, 1), "humaneval": score(164, humaneval_passed)},
        "selfcheck": {"easy": {"canonical_passed": 4, "empty_passed": 0, "problems": 4}},
        "lines": {"trained": line, "untrained": line, "real": line},
        "bootstrap": {"seed": 0, "resamples": 1000, "level": 0.95},
        "published": [pycodegpt | shares | {"samples_per_problem": 100, "temperature": ""}],
    }
    draft = draft_text("scores", ".json", json.dumps(scores), name="scores.json")
    parents = {"samples": "samples", "verdicts": "verdicts"}
    fakes.make("scores", "scoring", "scores", [draft], parents)


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


def test_the_model_is_copied_byte_for_byte(make_step, inputs):
    outcome = make_step("publishing", inputs)
    for entry in inputs["model"].part("model"):
        name = entry.name.removeprefix("model/")
        assert published(outcome, name) == inputs["model"].read(entry)


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
    assert str(tmp_path) in page(outcome)  # the report is of this run, and outside the digest


def test_the_report_is_a_page_that_no_digest_covers(make_step, inputs, tmp_path):
    outcome = make_step("publishing", inputs)
    manifest = outcome.artifact.manifest
    without = tuple(entry for entry in manifest.files if entry.part != "report")
    assert manifest.digest == digest_of_files(without, frozenset())
    assert outcome.artifact.storage.read("page.html").decode() == page(outcome)


def test_a_killed_step_goes_on_after_what_it_published(make_step, inputs, tmp_path, monkeypatch):
    whole = make_step("publishing", inputs)
    root = str(tmp_path / "killed")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing_run, "write_cards", die)
        with pytest.raises(KeyboardInterrupt):
            make_step("publishing", inputs, data_root=root)
    monkeypatch.setattr(publishing_run, "copy_model", die)
    resumed = make_step("publishing", inputs, data_root=root)
    assert resumed.artifact.manifest.files == whole.artifact.manifest.files


@pytest.mark.parametrize("where", ["completion", "repo", "path"])
def test_hostile_text_is_shown_and_never_becomes_markup(make_step, tmp_path, where):
    text = f"{HOSTILE}\x00\u202e\x1b[2J"
    outcome = make_step("publishing", make_inputs(tmp_path / "inputs", **{where: text}))
    seen = Elements(page(outcome))
    assert not [tag for tag, _ in seen.found if tag in {"script", "img", "iframe", "object"}]
    assert f"{HOSTILE}<U+0000><U+202E><U+001B>" in seen.text
    for name in ("README.md", "DATA_CARD.md"):
        assert "<script" not in published(outcome, name).decode()


def test_half_a_character_in_a_completion_does_not_stop_the_step(make_step, tmp_path):
    outcome = make_step("publishing", make_inputs(tmp_path / "inputs", completion="x = '\ud800'"))
    assert "x = '<U+D800>'" in Elements(page(outcome)).text


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
        "HumanEval/0",
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
    for heading in ("Model description", "Training data", "Training procedure", "How to use"):
        assert f"\n## {heading}\n" in text
    for risk in ("Over-reliance", "Economic and labor market", "Security", "Legal", "Biases"):
        assert f"**{risk}.**" in text
    assert "2 layers" in text
    assert "| model.num\\_layers | 2 |" in text
    assert "| dropped by clean: syntax | \u22123 | \u22123.0 kB |" in text
    assert "codekiln run tiny" in text
    assert f"```python\n{SNIPPET}```" in text  # which test_publishing_snippet.py runs


def test_from_scratch_is_said_only_of_a_model_that_started_from_nothing(make_step, tmp_path):
    assert "trained from scratch" in card(make_step("publishing", make_inputs(tmp_path / "new")))
    inputs = make_inputs(tmp_path / "further", pretrained_folder="/home/me/gpt-neo")
    outcome = make_step("publishing", inputs, data_root=str(tmp_path / "data of its own"))
    for text in (card(outcome), page(outcome)):
        assert "from scratch" not in text
        assert "trained further from the given weights of gpt-neo" in text
    assert "/home/me" not in card(outcome) + published(outcome, "provenance.json").decode()


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
    assert weights["sha256"] == sha256_hex(WEIGHTS)


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
    make_step("publishing", inputs, allowed_licenses=[*licenses[:-1], "A", "B", "ISC"])


def test_artifacts_of_two_runs_are_refused(make_step, inputs, tmp_path):
    other = make_inputs(tmp_path / "other", completion="    return 2\n")
    with pytest.raises(ArtifactError, match="expected verdicts made from generation"):
        make_step("publishing", {**inputs, "samples": other["samples"]})
