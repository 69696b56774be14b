"""Nobody who asked to be left out is in what a model read, or it is not published."""

from collections.abc import Sequence

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ConfigError
from components.artifacts.opt_out import OptOut
from components.artifacts.tokens import SPLITS
from components.publishing.corpus import read_sources

NUM_NAMED = 3


def refuse_opted_out(tokens: Artifact, entries: Sequence[str]) -> None:
    """Refuse to publish a model that read a file of someone who opted out.

    Args:
        tokens: what the model read.
        entries: as the crawl takes them; an `id:` is not looked for, tokens keep names alone.

    Raises:
        ConfigError: names the first repositories.
    """
    opt_out = OptOut.read(entries, "publishing.opt_out")
    if not opt_out.entries:
        return
    found: dict[str, str] = {}
    for split in SPLITS:
        for table in read_sources(tokens, split):
            for row in table.select(["repo", "path", "sha256"]).to_pylist():
                repo = row["repo"]
                if repo in found:
                    continue
                entry = opt_out.of_repository("", repo)
                entry = entry or opt_out.of_file(repo, row["path"], row["sha256"])
                if entry:
                    found[repo] = entry
    if found:
        named = ", ".join(
            f"{repo!r} by {entry!r}" for repo, entry in sorted(found.items())[:NUM_NAMED]
        )
        raise ConfigError(
            f"expected nobody of publishing.opt_out in the training data, got {len(found):,} "
            f"repositories, such as {named}, in {tokens.storage.uri}: take them out with "
            "`codekiln crawl-forget` and train again"
        )
