"""What the tokenizer step sees outside of its inputs: the bytes of a base vocabulary."""

from pathlib import Path

from components.artifacts.canonical import sha256_hex
from components.artifacts.errors import ConfigError
from components.tokenizer.config import TokenizerConfig

FILE_NAME = "tokenizer.json"


def observe(config: TokenizerConfig) -> dict[str, str]:
    """The sha256 of the base vocabulary; nothing for `bpe`."""
    if config.method == "bpe":
        return {}
    return {"base_sha256": sha256_hex(base_bytes(config))}


def base_bytes(config: TokenizerConfig) -> bytes:
    """The `tokenizer.json` of the base.

    A file is read, and not `Tokenizer.from_pretrained`, because a file has bytes to hash.

    Raises:
        ConfigError: there is no such file, or the Hub does not give it.
    """
    base = config.base
    assert base is not None, config
    path = Path(base)
    if path.is_dir():
        path = path / FILE_NAME
    elif not path.exists() and _is_hub_name(base):
        path = _download(base)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected base to be a {FILE_NAME}, its folder, or a name on the Hugging Face Hub, "
            f"got {base!r} ({error.strerror})"
        ) from None


def _is_hub_name(base: str) -> bool:
    return not base.startswith((".", "/", "~")) and base.count("/") <= 1 and ".json" not in base


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, FILE_NAME))
    except Exception as error:  # the tree of its errors changes between releases
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"expected the {FILE_NAME} of base {name!r} from the Hugging Face Hub, got "
            f"{type(error).__name__} ({reason}): give the path of a local {FILE_NAME}"
        ) from None
