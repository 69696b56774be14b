"""Two rates that `benchmarks.scale` reckons with: what dedup spills, and what its catalogue holds.

`python -m benchmarks.spilling` takes n-grams of real code, and the provenance of synthetic
documents: names as long as those of repositories.
"""

import argparse
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.corpus import megabytes, read_corpus
from benchmarks.measuring import peak_rss_mb, print_result, print_table
from components.dedup.catalogue import COLUMNS, ORDER, Catalogue
from components.dedup.config import DedupConfig
from components.dedup.exact import first_copies
from components.dedup.shingles import Texts, hash_slabs

CORPUS_BYTES = 60_000_000


def measure_hashes() -> float:
    """Bytes of n-gram hashes that a byte of real code spills."""
    files = read_corpus(max_bytes=CORPUS_BYTES)
    config = DedupConfig()
    texts = Texts.of_contents([file.content for file in files])
    slabs = hash_slabs(texts, np.arange(len(files)), config.ngram_words, config.splitter)
    return sum(len(sets.hashes) for sets in slabs) * 8 / 1e6 / megabytes(files)


def measure_catalogue(count: int) -> float:
    """Bytes a document at the peak of ranking `count` documents and finding exact copies."""
    numbers = [f"{number:07d}" for number in range(count)]
    keys = [hashlib.sha256(number.encode()).hexdigest() for number in numbers]
    columns = {
        "repo": [f"an-owner/repository-{number[:5]}" for number in numbers],
        "path": [f"src/package/subpackage/module_{number}.py" for number in numbers],
        "sha256": keys,
        "commit": [key[:40] for key in keys],
        "source": ["github"] * count,
        "stars": pa.array(np.arange(count) % 97, pa.int64()),
    }
    whole = pa.table({name: columns[name] for name in COLUMNS})
    whole = whole.cast(
        pa.schema(
            [
                field.with_type(pa.large_string()) if field.name != "stars" else field
                for field in whole.schema
            ]
        )
    )
    del columns, keys, numbers
    before = _resident_mb()
    order = pc.sort_indices(whole, sort_keys=ORDER)
    catalogue = Catalogue(whole.take(order).combine_chunks(), [])
    first_copies(catalogue.keys())
    return float(peak_rss_mb() - before + whole.nbytes / 1e6) * 1e6 / count


def _resident_mb() -> float:
    """What this process holds now, in 10**6 bytes."""
    pa.default_memory_pool().release_unused()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def main() -> None:
    """Measure both; `--documents` of the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    arguments = parser.parse_args()
    catalogue = measure_catalogue(arguments.documents)
    hashes = measure_hashes()
    rows = [("catalogue, bytes a document", catalogue), ("hashes, bytes a byte of code", hashes)]
    print_table(["rate", "value"], rows)
    print_result({"catalogue_bytes": round(catalogue), "hash_bytes_a_byte": round(hashes, 3)})


if __name__ == "__main__":
    main()
