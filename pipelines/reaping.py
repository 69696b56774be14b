"""The command `codekiln reap`: remove from a cluster what a launcher left behind."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from components.cluster.client import ClusterClient
from components.cluster.reaping import SILENT_S, find_silent
from components.stage.command import OneLineParser


def run_reap(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    parser = OneLineParser(
        prog="codekiln reap",
        description="Remove Jobs, TrainJobs and ConfigMaps that a step launched and whose launcher "
        "has given no sign of life. Runs as a CronJob.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--namespaces",
        default="",
        metavar="NAME,NAME",
        help="where to look (default: codekiln, or what CODEKILN_NAMESPACE says)",
    )
    parser.add_argument(
        "--silent-s",
        type=float,
        default=float(SILENT_S),
        metavar="SECONDS",
        help=f"without a heartbeat for this long (default: {SILENT_S})",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    arguments = parser.parse_known(argv)
    client = ClusterClient.connect()
    namespaces = [name for name in arguments.namespaces.split(",") if name] or [client.namespace]
    now = datetime.now(UTC)
    removed = 0
    for reference in find_silent(client, namespaces, arguments.silent_s, now):
        if not arguments.dry_run:
            client.remove(reference)
        sys.stdout.write(f"{'would remove' if arguments.dry_run else 'removed'} {reference}\n")
        removed += 1
    sys.stdout.write(f"{removed} silent of namespaces {', '.join(namespaces)}\n")
    return 0
