"""Crawls of the double: their config, and what they left."""

from typing import Any

from components.artifacts.artifact import Artifact
from components.artifacts.documents import read_documents
from tests.github_double import DoubleRepository, GithubDouble
from tests.github_repositories import CONTACT, repository, small_files

SECONDARY_WAIT_S = 0.3


def config_of(double: GithubDouble, **changes: Any) -> dict[str, Any]:
    nested = {
        "as_of": "2026-11-24",
        "api_url": double.api_url,
        "git_url": f"{double.archive_url}/git",
        **changes.pop("github", {}),
    }
    return {
        "source": "github",
        "contact": CONTACT,
        "max_requests_per_second": 800.0,
        "secondary_wait_s": SECONDARY_WAIT_S,
        "timeout_s": 30.0,
        "languages": ["Python", "C", "Markdown"],
        "github": nested,
        **changes,
    }


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.part("documents")
        for row in read_documents(artifact, entry).to_pylist()
    ]


def corpus(number: int) -> list[DoubleRepository]:
    return [repository(n, small_files(n)) for n in range(number)]
