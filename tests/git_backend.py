"""Git's own smart HTTP behind the double: every request goes through `git http-backend`."""

import asyncio
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.github_double import Request


@cache
def backend() -> str:
    """The program, beside git's others."""
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
    return str(Path(folder.stdout.strip()) / "git-http-backend")


async def serve_git(root: Path, request: "Request", writer: asyncio.StreamWriter) -> None:
    """Answer one request under `/git/`, and close."""
    parts = urlsplit(request.target)
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": parts.path.removeprefix("/git"),
        "QUERY_STRING": parts.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "REMOTE_ADDR": "127.0.0.1",
    }
    if protocol := request.headers.get("git-protocol"):
        environment["GIT_PROTOCOL"] = protocol
    if encoding := request.headers.get("content-encoding"):
        environment["HTTP_CONTENT_ENCODING"] = encoding
    process = await asyncio.create_subprocess_exec(
        backend(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, _ = await process.communicate(request.body)
    head, _, body = out.partition(b"\r\n\r\n")
    status, lines = "200 OK", []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Status":
            status = value
        else:
            lines.append(line)
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    writer.write(
        f"HTTP/1.1 {status}\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    )
    await writer.drain()
