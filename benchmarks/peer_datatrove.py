"""datatrove's near-dedup at its defaults; runs in the peers' environment, not in ours.

python peer_datatrove.py FOLDER_OF_JSONL OUTPUT_FOLDER
"""

import sys
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def main() -> None:
    """Its four stages, one task each but for the buckets, which need one a bucket."""
    source, output = sys.argv[1], Path(sys.argv[2])
    config = MinhashConfig()
    signatures, buckets, removed = (str(output / name) for name in ("sigs", "buckets", "removed"))
    stages = [
        ([JsonlReader(source), MinhashDedupSignature(signatures, config=config)], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, removed, config=config)], 1),
        (
            [
                JsonlReader(source),
                MinhashDedupFilter(removed),
                JsonlWriter(str(output / "kept"), compression=None),
            ],
            1,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        logs = str(output / f"logs-{number}")
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=logs).run()


if __name__ == "__main__":
    main()
