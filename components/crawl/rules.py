"""What a config takes of each repository, with the opt-outs of its list and its file."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError
from components.artifacts.opt_out import OptOut
from components.crawl.clone import Patience
from components.crawl.config import CrawlConfig
from components.crawl.harvest import Rules
from components.crawl.languages import NAMES


def user_agent(config: CrawlConfig) -> str:
    """Who asks, and whom to write to."""
    contact = f" (+{config.contact})" if config.contact else ""
    return f"codekiln/{version('codekiln')}{contact}"


def patience_of(config: CrawlConfig) -> Patience:
    """How long and how often a remote of git is tried."""
    return Patience(config.timeout_s, config.max_attempts, config.secondary_wait_s)


def rules_of(config: CrawlConfig) -> Rules:
    """What a config takes of each repository."""
    return Rules(
        languages=frozenset(config.languages) or NAMES,
        max_file_bytes=config.max_file_bytes,
        licenses=config.licenses,
        opt_out=read_opt_out(config),
    )


def read_opt_out(config: CrawlConfig) -> OptOut:
    """The opt-outs of a config and of its file.

    Raises:
        ConfigError: an entry is none, or the file cannot be read.
    """
    entries = OptOut.read(config.opt_out).entries
    if not config.opt_out_file:
        return OptOut.read(entries)
    try:
        lines = Path(config.opt_out_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected a file of opt-outs in opt_out_file, got {config.opt_out_file!r} "
            f"({type(error).__name__}): give one that exists and can be read"
        ) from None
    listed = OptOut.read(lines, repr(config.opt_out_file)).entries
    return OptOut.read([*entries, *listed])


def observe_opt_out(config: CrawlConfig, opt_out: OptOut) -> dict[str, Any]:
    """What a file of opt-outs adds to the identity."""
    return {"opt_out": [*opt_out.entries]} if config.opt_out_file else {}
