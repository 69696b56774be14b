"""SWHIDs: Software Heritage's ids of a file and of a commit, computed from git's.

With them a row can be resolved in that archive even where its repository is gone
(swhid.org, version 1.2: `swh:1:cnt:` takes git's blob id, `swh:1:rev:` git's commit id).
"""

import re

_SHA1 = re.compile(r"[0-9a-f]{40}")


def content_swhid(blob_sha1: str) -> str:
    """The SWHID of a file by git's id of it."""
    assert _SHA1.fullmatch(blob_sha1), blob_sha1
    return f"swh:1:cnt:{blob_sha1}"


def revision_swhid(commit: str) -> str:
    """The SWHID of a commit; empty where the commit is none of git's, such as a version."""
    return f"swh:1:rev:{commit}" if _SHA1.fullmatch(commit) else ""
