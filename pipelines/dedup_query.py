"""The command `codekiln dedup-query`: is this file in the corpus, or something like it?"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS
from components.artifacts.errors import ConfigError
from components.stage.command import OneLineParser


def run_dedup_query(argv: Sequence[str]) -> int:
    """Ask a finished corpus for copies of files; the exit code."""
    parser = OneLineParser(
        prog="codekiln dedup-query",
        usage="codekiln dedup-query FILE ... --documents DIR [--threshold 0.7] [--limit 10]",
        description="List the documents of a finished corpus that are like a file: datasketch's "
        "LSH proposes, exact Jaccard similarity decides.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="source files to ask for"
    )
    parser.add_argument(
        "--documents",
        required=True,
        metavar="DIR",
        help="an artifact of documents: its folder, or the step of a run, such as "
        "runs/NAME/steps/corpus/dedup",
    )
    parser.add_argument(
        "--threshold",
        metavar="SHARE",
        help="least similarity that is listed (default: the one that the corpus was made with; "
        "below it more and more documents are missed)",
    )
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="matches for each file")
    arguments = parser.parse_known(argv)
    if arguments.limit < 1:
        raise ConfigError(
            f"expected --limit of at least 1, got {arguments.limit} in codekiln dedup-query"
        )
    documents = Artifact.open(arguments.documents, kind=DOCUMENTS)
    # By name: what it works with must not load when other commands print their help.
    query = importlib.import_module("components.dedup.query")
    config = query.config_of(documents)
    threshold = _read_share(arguments.threshold, config.threshold)
    texts = [query.read_text(path) for path in arguments.files]
    corpus = query.Corpus(documents, config)
    for path, text in zip(arguments.files, texts, strict=True):
        matches = corpus.find_matches(text, threshold)
        sys.stdout.write(f"{path}: {len(matches)} of similarity {threshold:g} or more\n")
        for match in matches[: arguments.limit]:
            sys.stdout.write(
                f"  {match.similarity:.3f}  {match.repo} {match.commit}  {match.path}  "
                f"{match.license}\n"
            )
    return 0


def _read_share(text: str | None, default: float) -> float:
    try:
        share = default if text is None else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ConfigError(
            f"expected --threshold above 0 and at most 1, got {text!r} in codekiln dedup-query"
        )
    return share
