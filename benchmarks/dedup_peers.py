"""Near-dedup from files to files against text-dedup and datatrove, each at its own defaults.

`python -m benchmarks.dedup_peers` draws files from the corpus of `benchmarks.corpus` by a printed
seed, makes an environment for the peers beside this one (`.venv-peers`: their dependencies are not
ours), and runs each as its users do, one process, start-up included. What each keeps differs,
because their defaults do: the number stands beside. Last line: one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import SourceFile, draw, megabytes, read_corpus
from benchmarks.dedup_command import run_command
from benchmarks.documents import write_documents
from benchmarks.measuring import Cost, measure, print_result, print_table
from components.artifacts.artifact import Artifact

PEERS = (
    "text-dedup==0.4.0",
    "datatrove==0.10.1",
    "spacy==3.8.18",
    "xxhash==3.6.1",
    "tokenizers==0.23.3",
    "orjson==3.13.0",
)
"""text-dedup 0.4.1 needs Python 3.12; datatrove's word splitter is spaCy's, and xxhash 4
refuses the strings that it gives it."""

ENVIRONMENT = Path(".venv-peers")


def peers_python() -> str:
    """The interpreter of the peers' environment, which is made where it is missing."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
        (ENVIRONMENT / "ready").touch()
    return str(python.absolute())


def write_lines(files: Sequence[SourceFile], folder: Path) -> Path:
    """The files as JSON lines, as peers read them."""
    folder.mkdir()
    path = folder / "files.jsonl"
    with path.open("w") as lines:
        for number, file in enumerate(files):
            row = {"id": str(number), "text": file.content.decode()}
            lines.write(json.dumps(row) + "\n")
    return path


def run_text_dedup(python: str, lines: Path, folder: Path) -> tuple[Cost, int]:
    """text-dedup's minhash command, and how many files it keeps."""
    command = [python, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(lines)]
    command += ["--split", "train", "--cache_dir", str(folder / "cache"), "--column", "text"]
    command += ["--output", str(folder / "kept"), "--num_proc", "1"]
    cost = _run(command)
    count = "import sys; from datasets import load_from_disk as r; print(len(r(sys.argv[1])))"
    kept = subprocess.run(
        [python, "-c", count, str(folder / "kept")], check=True, capture_output=True, text=True
    )
    return cost, int(kept.stdout.split()[-1])


def run_datatrove(python: str, lines: Path, folder: Path) -> tuple[Cost, int]:
    """Datatrove's four stages, and how many files they keep."""
    script = str(Path(__file__).with_name("peer_datatrove.py"))
    cost = _run([python, script, str(lines.parent), str(folder)])
    kept = (path.read_text().count("\n") for path in (folder / "kept").iterdir())
    return cost, sum(kept)


def _run(command: Sequence[str]) -> Cost:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

    def call() -> None:
        ended = subprocess.run(command, capture_output=True, text=True, env=env)
        if ended.returncode:
            sys.exit(f"{command[1:3]} failed: {ended.stderr[-2000:]}")

    return measure(call)


def main() -> None:
    """Run the three once each, in turn, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=3000, help="how many to draw")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    arguments = parser.parse_args()
    python = peers_python()
    files = draw(read_corpus(), arguments.files, arguments.seed)
    size = megabytes(files)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = write_lines(files, folder / "lines")
        documents = write_documents(files, folder / "documents")
        run_command(documents, folder / "warm")
        ours = run_command(documents, folder / "ours").whole
        kept = Artifact.open(str(folder / "ours" / "out")).manifest.tally.counts["files"]
        sides = {
            "codekiln": (ours, kept),
            "text-dedup 0.4.0": run_text_dedup(python, lines, folder / "text-dedup"),
            "datatrove 0.10.1": run_datatrove(python, lines, folder / "datatrove"),
        }
    print(f"{len(files):,} files, {size:.1f} MB, seed {arguments.seed}, start-up included")
    print_table(
        ["from files to files", "CPU s", "MB per CPU s", "codekiln is", "files kept"],
        [
            (side, cost.cpu_s, size / cost.cpu_s, f"{cost.cpu_s / ours.cpu_s:.1f} x", count)
            for side, (cost, count) in sides.items()
        ],
    )
    print_result(
        {
            "ratio_text_dedup": round(sides["text-dedup 0.4.0"][0].cpu_s / ours.cpu_s, 2),
            "ratio_datatrove": round(sides["datatrove 0.10.1"][0].cpu_s / ours.cpu_s, 2),
            "codekiln_cpu_s": round(ours.cpu_s, 3),
        }
    )


if __name__ == "__main__":
    main()
