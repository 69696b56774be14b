"""The step scores what the sandbox judged, and refuses what it cannot trust."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.errors import ArtifactError
from components.artifacts.manifest import Manifest, digest_of_files
from components.artifacts.rows import draft_rows
from components.artifacts.storage import open_storage
from components.artifacts.tally import Tally

Row = dict[str, Any]
NUM_PROBLEMS = 6
NUM_SAMPLES = 4


def _publish(folder: Path, kind: str, drafts: Sequence[Draft]) -> Artifact:
    storage = open_storage(str(folder))
    writer = ArtifactWriter(storage)
    writer.commit(0, drafts, Tally())
    committed = writer.committed(0)
    assert committed is not None
    files = tuple(committed[0])
    manifest = Manifest(
        step="test",
        version=1,
        kind=kind,
        key="0" * 32,
        digest=digest_of_files(files, frozenset()),
        files=files,
        tally=Tally(),
        measures={},
        config={},
        parents={},
        code_version="test",
    )
    storage.create("manifest.json", manifest.to_bytes())
    return Artifact.open(storage.uri)


def _samples() -> list[Row]:
    """Problem p has p passing samples of four, at most; a broken text is sample 3 of problem 0."""
    return [
        {
            "benchmark": "easy",
            "task_id": f"easy/{p}",
            "temperature": 0.2,
            "sample": n,
            "prompt": "def f(x):\n",
            "completion": "    return (" if (p, n) == (0, 3) else f"    return x + {n}\n",
            "num_tokens": 3,
            "finish": "stop",
        }
        for p in range(NUM_PROBLEMS)
        for n in range(NUM_SAMPLES)
    ]


def _verdicts() -> list[Row]:
    rows = []
    for sample in _samples():
        passed = sample["sample"] < int(sample["task_id"][5:])
        verdict = ("passed", "") if passed else ("failed", "AssertionError")
        rows.append(_verdict(sample["task_id"], sample["sample"], *verdict))
    rows[3].update(verdict="timeout", detail="cpu")
    rows[2].update(verdict="infra_error", detail="the worker died")
    return rows


def _verdict(task_id: str, sample: int, verdict: str, detail: str) -> Row:
    return {
        "benchmark": "easy",
        "task_id": task_id,
        "temperature": 0.2,
        "sample": sample,
        "verdict": verdict,
        "detail": detail,
    }


def _selfcheck() -> list[Row]:
    rows = []
    for p in range(NUM_PROBLEMS):
        rows.append({**_verdict(f"easy/{p}", 0, "passed", ""), "kind": "canonical"})
        rows.append({**_verdict(f"easy/{p}", 0, "failed", "TypeError"), "kind": "empty"})
    return rows


def _continuations() -> list[Row]:
    texts = {"trained": "a\nx = 1\ny = (\nb", "untrained": "a\n((\n))\nb", "real": "a\nx = 1\nb"}
    return [
        {"author": author, "index": n, "repo": "r", "path": "p", "prefix": "", "text": text}
        for author, text in texts.items()
        for n in range(3)
    ]


@pytest.fixture
def inputs_of(tmp_path: Path) -> Callable[..., dict[str, Artifact]]:
    """Make the step's inputs, with changed rows where they are given."""

    def make(
        verdicts: Sequence[Row] | None = None, selfcheck: Sequence[Row] | None = None
    ) -> dict[str, Artifact]:
        verdicts = _verdicts() if verdicts is None else verdicts
        selfcheck = _selfcheck() if selfcheck is None else selfcheck
        return {
            "samples": _publish(
                tmp_path / "samples",
                "samples",
                [
                    draft_rows("samples", _samples()),
                    draft_rows("continuations", _continuations()),
                ],
            ),
            "verdicts": _publish(
                tmp_path / "verdicts",
                "verdicts",
                [draft_rows("verdicts", verdicts), draft_rows("selfcheck", selfcheck)],
            ),
        }

    return make


def _scores(outcome: Any) -> Any:
    return json.loads(outcome.artifact.read(outcome.artifact.only("scores")))


def test_the_scores_are_what_the_verdicts_say(
    make_step: Callable[..., Any], inputs_of: Callable[..., dict[str, Artifact]]
) -> None:
    outcome = make_step("scoring", inputs_of(), k=[1, 4, 5], max_infra_share=0.1)
    assert outcome.artifact.only("scores").name == "scores.json"
    scores = _scores(outcome)
    easy = scores["benchmarks"]["easy"]
    assert (easy["n"], easy["problems"]) == (4, 6)
    assert list(easy["pass_at_k"]) == ["1", "4"]
    assert easy["k_left_out"] == [5]
    assert easy["pass_at_k"]["1"]["value"] == pytest.approx((0 + 1 + 2 + 3 + 4 + 4) / 24)
    # Problem 0 has a sample without a verdict: three are left, and it says nothing of pass@4.
    assert easy["pass_at_k"]["4"]["value"] == 1.0
    assert easy["short"] == {"4": 1}
    assert easy["verdicts"] == {"passed": 14, "failed": 8, "infra_error": 1, "timeout": 1}
    assert easy["verdict_details"] == {"AssertionError": 8, "cpu": 1, "the worker died": 1}
    assert easy["syntax_valid"] == pytest.approx(23 / 24)
    assert scores["selfcheck"] == {
        "easy": {
            "canonical": 6,
            "canonical_passed": 6,
            "empty_passed": 0,
            "problems": 6,
            "unsound": [],
        }
    }
    shares = {author: score["share"] for author, score in scores["lines"].items()}
    assert shares == {"trained": 0.5, "untrained": 0.0, "real": 1.0}
    assert scores["lines"]["trained"]["lines"] == 6
    assert scores["lines"]["trained"]["parsed"] == 3
    measures = outcome.artifact.manifest.measures
    assert measures["pass_at_1_easy"] == easy["pass_at_k"]["1"]["value"]
    assert measures["lines_parse_trained"] == 0.5


def test_the_summary_says_what_limits_the_scores(
    make_step: Callable[..., Any], inputs_of: Callable[..., dict[str, Artifact]]
) -> None:
    outcome = make_step("scoring", inputs_of(), k=[1, 100], min_lines=4, max_infra_share=0.1)
    folder = Path(outcome.artifact.storage.uri)
    for name in ("summary.md", "page.html"):
        text = (folder / name).read_text()
        assert "no pass@100" in text
        assert "1 samples without a verdict" in text
        assert "real: 3 counted lines, fewer than the 4" in text
        assert "trained: 6" not in text
        assert "PyCodeGPT" in text
        assert "8.32" in text


def test_the_page_loads_nothing_and_shows_every_verdict(
    make_step: Callable[..., Any], inputs_of: Callable[..., dict[str, Artifact]]
) -> None:
    outcome = make_step("scoring", inputs_of(), max_infra_share=0.1)
    page = (Path(outcome.artifact.storage.uri) / "page.html").read_text()
    assert "<svg" in page
    for foreign in ("http:", "https:", "<script", "<link", "src="):
        assert foreign not in page
    for verdict in ("passed", "failed", "infra_error", "timeout"):
        assert f">{verdict}<" in page


@pytest.mark.parametrize("kind", ["canonical", "empty", "missing"])
def test_scores_are_refused_where_the_self_check_failed(
    make_step: Callable[..., Any], inputs_of: Callable[..., dict[str, Artifact]], kind: str
) -> None:
    selfcheck = _selfcheck()
    if kind == "missing":
        selfcheck = []
    for row in selfcheck[-2:]:
        if row["kind"] == kind:
            row["verdict"] = "timeout" if kind == "canonical" else "passed"
    with pytest.raises(ArtifactError, match="self-check of easy") as caught:
        make_step("scoring", inputs_of(selfcheck=selfcheck))
    assert "\n" not in str(caught.value)
    assert kind == "missing" or "easy/5" in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "foreign", "twice"])
def test_scores_are_refused_where_verdicts_and_samples_do_not_match(
    make_step: Callable[..., Any], inputs_of: Callable[..., dict[str, Artifact]], change: str
) -> None:
    verdicts = _verdicts()
    if change == "missing":
        verdicts.pop()
    if change == "foreign":
        verdicts[0]["task_id"] = "easy/99"
    if change == "twice":
        verdicts.append(dict(verdicts[0]))
    with pytest.raises(ArtifactError, match="one verdict for each of 24 samples"):
        make_step("scoring", inputs_of(verdicts=verdicts))


def test_the_same_inputs_give_the_same_bytes(
    make_step: Callable[..., Any],
    inputs_of: Callable[..., dict[str, Artifact]],
    tmp_path: Path,
) -> None:
    inputs = inputs_of()
    first = make_step("scoring", inputs, data_root=str(tmp_path / "1"), max_infra_share=1)
    second = make_step(
        "scoring", inputs, data_root=str(tmp_path / "2"), workers=2, max_infra_share=1
    )
    assert first.artifact.manifest.to_bytes() == second.artifact.manifest.to_bytes()
