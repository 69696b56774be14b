"""Tokens: read from the environment or a mounted file, and shown to nobody."""

import os
import re
from pathlib import Path
from typing import NoReturn

from components.artifacts.errors import ConfigError

TOKENS_VARIABLE = "GITHUB_TOKEN"
"""One token, or several with blanks or commas between them."""

TOKENS_FILE_VARIABLE = "GITHUB_TOKEN_FILE"
"""A file that holds them, such as a key of a mounted Secret. The variable above wins."""

_TOKEN = re.compile(r"[A-Za-z0-9_.\-]{1,255}")


class Token:
    """A secret with a name that may be shown. It cannot be pickled: a process reads its own."""

    __slots__ = ("_secret", "name")

    def __init__(self, name: str, secret: str) -> None:
        self.name = name
        self._secret = secret

    def authorization(self) -> str:
        """The value of an Authorization header."""
        return f"Bearer {self._secret}" if self._secret else ""

    def git_authorization(self) -> str:
        """The same for git over HTTPS, which takes Basic alone."""
        import base64

        pair = f"x-access-token:{self._secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self._secret else ""

    def __repr__(self) -> str:
        return f"Token({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} stays in its process")


ANONYMOUS = Token("anonymous", "")


def read_tokens() -> tuple[Token, ...]:
    """The tokens of this process; the anonymous one alone where there is none.

    Raises:
        ConfigError: the file cannot be read, or a token has characters that none has.
    """
    text = os.environ.get(TOKENS_VARIABLE, "")
    where = TOKENS_VARIABLE
    path = os.environ.get(TOKENS_FILE_VARIABLE, "")
    if not text.strip() and path:
        where = TOKENS_FILE_VARIABLE
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"expected a file of tokens in {TOKENS_FILE_VARIABLE}, got {path!r} "
                f"({type(error).__name__}): mount the Secret there"
            ) from None
    secrets = [one for one in re.split(r"[\s,]+", text) if one]
    for number, secret in enumerate(secrets):
        if not _TOKEN.fullmatch(secret):
            raise ConfigError(
                f"expected letters, digits, '_', '-' and '.' in a token, got others in number "
                f"{number} of {where}: give the token alone"
            )
    return tuple(Token(f"token-{n}", one) for n, one in enumerate(secrets)) or (ANONYMOUS,)
