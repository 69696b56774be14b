"""What every request to Google Cloud Storage shares: client, retries, and errors in one line.

Credentials are Google's application default ones: Workload Identity in a pod, `gcloud auth
application-default login` for a person. STORAGE_EMULATOR_HOST names another endpoint, which is
asked without any.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import google.auth.exceptions
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from components.artifacts.errors import StorageError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
RETRY_FOR_S = 300.0
"""Google asks clients to go on for minutes with pauses that double: a service that is short of
capacity answers 429 and 503 (cloud.google.com/storage/docs/retry-strategy)."""

CONNECT_S, READ_S = 10.0, 60.0
"""Until a connection stands, and between two pieces of an answer."""

EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"

MAX_REASON_CHARACTERS = 200

os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
# Else a thread of the client asks for the bucket's metadata, which tracing alone needs and which
# the role roles/storage.objectUser may not read.

_buckets: dict[tuple[int, str, str], storage.Bucket] = {}

CONNECTIONS = 32
"""Of one process at once; those beyond it would be made anew for every request."""


def request_options() -> dict[str, Any]:
    """Retries and time limits of one call; all calls here may be repeated.

    429, 5xx, 408 and connections that drop are tried again.
    """
    pauses = DEFAULT_RETRY.with_delay(initial=FIRST_PAUSE_S, maximum=LONGEST_PAUSE_S, multiplier=2)
    return {"retry": pauses.with_timeout(RETRY_FOR_S), "timeout": (CONNECT_S, READ_S)}


def open_bucket(name: str) -> storage.Bucket:
    """The bucket of a name, with a client of this process; asked once whether it is there.

    Raises:
        StorageError: no such bucket, no permission, no credentials, or no answer.
    """
    key = (os.getpid(), name, os.environ.get(EMULATOR_VARIABLE, ""))
    if key not in _buckets:
        with named_errors("list", f"gs://{name}"):
            bucket = _client().bucket(name)
            next(iter(bucket.list_blobs(max_results=1, **request_options())), None)
        _buckets[key] = bucket
    return _buckets[key]


def _client() -> storage.Client:
    """A client that keeps a connection for each of its threads."""
    client = storage.Client(project=None)
    for scheme in ("https://", "http://"):
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS)
        client._http.mount(scheme, adapter)
    return client


@contextlib.contextmanager
def named_errors(what: str, uri: str, missing_ok: bool = False) -> Iterator[None]:
    """Turn what the store refuses into one line.

    No text of the client enters it: that holds addresses of upload sessions, which are secrets.
    """
    try:
        yield
    except (exceptions.NotFound, exceptions.PreconditionFailed):
        if missing_ok:
            return
        raise StorageError(
            f"expected to {what} {uri!r}, found no such bucket: create it, or mend --data-root"
        ) from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise StorageError(
            f"expected permission to {what} {uri!r}, got {_reason(error)}: give this account the "
            "role roles/storage.objectUser on the bucket"
        ) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise StorageError(
            f"expected credentials to {what} {uri!r}, got {type(error).__name__}: run `gcloud auth "
            "application-default login`, or bind the pod's service account (Workload Identity)"
        ) from None
    except exceptions.RetryError as error:
        raise StorageError(
            f"expected to {what} {uri!r}, got {_reason(error.cause)} for {RETRY_FOR_S:g} s: "
            "look at the network and the quota, then run again"
        ) from None
    except (exceptions.GoogleAPICallError, requests.RequestException) as error:
        raise StorageError(
            f"expected to {what} {uri!r}, got {_reason(error)}: mend that and run again"
        ) from None


def _reason(error: Any) -> str:
    """Status and the server's own words, without any address."""
    code = getattr(error, "code", None)
    if code is None:
        return type(error).__name__
    try:
        text = str(error.response.json()["error"]["message"])
    except Exception:  # no body, no JSON, or another shape: the status says enough
        text = type(error).__name__
    return f"{int(code)} {' '.join(text.split())[:MAX_REASON_CHARACTERS]}"
