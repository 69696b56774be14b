"""What 330 GB of code cost on three kinds of machines, reckoned from measured rates.

`python -m benchmarks.scale` prints the tables of `docs/scale.md`; `--write` puts them there. It
measures nothing: each rate below names the command that did. Rates of one core of the machine that
measured them (2 cores of a Zen 4 server, shared with other work): read the results to one digit.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import print_result
from pipelines.documentation import fill

# The corpus: PyCodeGPT's (Zan et al. 2022): raw, and what its cleaning and dedup left.
RAW_BYTES, RAW_FILES = 330e9, 60e6
KEPT_BYTES, KEPT_FILES = 96e9, 13e6

# Rates, per CPU second of one core.
CLEAN_FILES = 2190.0
"""`python -m benchmarks.clean`: the whole step at its defaults."""

DEDUP_COMMAND_MB = 75.0
"""`python -m benchmarks.dedup`, the whole command: Parquet read twice and written once."""

SIGNATURE_MB = 600.0
"""`python -m benchmarks.dedup`, signature_mb_per_cpu_s: the kernel's share of the line above."""

JOIN_S_A_DOCUMENT = 2.4e-6
"""`python -m benchmarks.clusters`: 2.43 s for a million documents with a pair for every tenth."""

JOIN_S_A_PAIR = 0.48e-6
"""`python -m benchmarks.dedup`: 0.55 s for 29,463 documents and 1.0 million pairs compared."""

PAIRS_A_DOCUMENT = 34.0
"""Of the same corpus, which is worse than most: C++ headers, and libraries in several copies. The
Python files of one installation had 2.2 (33,713 pairs of 15,108 files)."""

DECONTAMINATION_MB = 33.0
"""`python -m benchmarks.decontamination 300`: the whole step, HumanEval and the easy set."""

TOKENIZER_TRAINING_MB = 3.1
"""Hugging Face tokenizers 0.23, vocabulary of 32,768, 32.6 MB of Python: 10.6 CPU seconds."""

TOKENIZER_TRAINING_BYTES = 1e9
"""The default of `max_training_bytes`."""

ENCODE_MB = 54.0
"""`python -m benchmarks.encode`: fastokens as packing uses it."""

READ_MB = 400.0
"""Reading Parquet with its checks, to draw the tokenizer's sample; an assumption."""

TWO_CORES = 0.9
"""`python -m benchmarks.dedup`: two cores are at least 1.8 times one."""

SPARK_S_A_PAIR, SPARK_PAIRS = 10e-6, 3.7
"""`codekiln dedup --engine spark` on the corpus of `benchmarks.dedup`: 35 CPU seconds more than
the join in one process, for 3.6 million pairs in place of 1.0: it cannot leave out the pairs that
others already join."""

# Memory and storage.
CATALOGUE_BYTES = 823.0
"""`python -m benchmarks.spilling`, catalogue_bytes: a document's provenance and key at the peak."""

FOREST_BYTES = 24.0
"""A document's place in the forest, address and size: three 64-bit numbers."""

PAIR_BYTES = 32.0
"""A compared pair in the table of those that proved different: 16 to 32."""

HASHES_A_BYTE = 0.666
"""`python -m benchmarks.spilling`, hash_bytes_a_byte."""

KEY_BYTES = 8.0 * 42
"""Band keys of a document."""

WORKER_GB = 1.0
"""`python -m benchmarks.dedup`, peak_rss_mb of the command: 0.9 GB with shards of 32 MB."""

TRAINING_GB = 4.0
"""0.36 GB for 40 MB of text, 0.24 GB for 8 MB: a straight line to 1 GB (`components/tokenizer`)."""

COMPRESSED = 0.2
"""zstd Parquet over UTF-8: 196.7 of 972.7 MB."""

TOKENS_A_BYTE = 1 / 3.65
"""Bytes per token of 3.65: 32,768 tokens on held-out Python."""

# Prices: round figures for on-demand machines of a large cloud, assumed in November 2026.
CORE_HOUR_USD = 0.05
"""A virtual core with 4 GB."""

GB_MONTH_USD = 0.02
"""Object storage."""

PAGE_READ_S = 100e-6
"""One page of an NVMe disk at queue depth 1; an assumption."""


@dataclass(frozen=True)
class Machine:
    """What runs a corpus."""

    name: str
    cores: int
    leader_gb: float
    """Memory of the machine, or of the pod that leads."""

    leader_cores: int
    joins_on_spark: bool = False
    """The engine `spark` for dedup: its maps run on the leader's cores."""


MACHINES = (
    Machine("1 machine, 2 cores, 16 GB", 2, 16, 2),
    Machine("1 machine, 32 cores, 256 GB, NVMe", 32, 256, 32),
    Machine("100 pods of 4 cores, the leader's with 96 GB, join on Spark", 400, 96, 4, True),
)


@dataclass(frozen=True)
class Cost:
    """What a step takes."""

    step: str
    cpu_s: float
    serial_s: float
    """Of the CPU seconds, those of one process."""

    leader_gb: float
    """Memory of the leading process."""

    storage_gb: float
    """What the step leaves."""

    scratch_gb: float = 0.0
    wait_s: float = 0.0
    """What one process waits for its disk."""

    on_leader: bool = False
    """Whether it runs on the leader's cores alone."""

    def hours(self, machine: Machine) -> float:
        """Wall time on a machine, if nothing waits for anything else."""
        cores = machine.leader_cores if self.on_leader else machine.cores
        shared = max(0.0, self.cpu_s - self.serial_s) / (cores * TWO_CORES)
        return (shared + self.serial_s + self.wait_s) / 3600


def costs(machine: Machine, scale: float = 1.0) -> Iterator[Cost]:
    """What each step of the corpus takes on a machine, for `scale` times the corpus."""
    raw_mb, files = scale * RAW_BYTES / 1e6, scale * RAW_FILES
    kept_mb = scale * KEPT_BYTES / 1e6
    out_gb = kept_mb * COMPRESSED / 1e3
    catalogue_gb = files * CATALOGUE_BYTES / 1e9
    yield Cost("clean", files / CLEAN_FILES, 0, 0.5, raw_mb * COMPRESSED / 1e3)
    spilled_gb = (raw_mb * 1e6 * HASHES_A_BYTE + files * KEY_BYTES) / 1e9
    cpu_s = raw_mb / DEDUP_COMMAND_MB
    yield Cost(
        "dedup: signatures, Parquet",
        cpu_s,
        0,
        catalogue_gb,
        out_gb,
        spilled_gb,
        on_leader=machine.joins_on_spark,
    )
    yield _join_cost(machine, files, spilled_gb)
    yield Cost("decontamination", kept_mb / DECONTAMINATION_MB, 0, 0.5, out_gb)
    training_s = TOKENIZER_TRAINING_BYTES / 1e6 / TOKENIZER_TRAINING_MB
    read_s = 2 * kept_mb / READ_MB
    yield Cost("tokenizer", training_s + read_s, training_s, TRAINING_GB, 0.01)
    tokens_gb = kept_mb * TOKENS_A_BYTE * 2 / 1e3
    yield Cost("packing", kept_mb / ENCODE_MB, 0, 0.5, tokens_gb)


def _join_cost(machine: Machine, files: float, spilled_gb: float) -> Cost:
    """The join: in one process with the spills mapped, or on Spark."""
    pairs = files * PAIRS_A_DOCUMENT
    arrays_gb = files * FOREST_BYTES / 1e9
    if machine.joins_on_spark:
        cpu_s = pairs * SPARK_PAIRS * SPARK_S_A_PAIR
        return Cost("dedup: join", cpu_s, 0, arrays_gb, 0, pairs * SPARK_PAIRS * 64 / 1e9)
    cpu_s = files * JOIN_S_A_DOCUMENT + pairs * JOIN_S_A_PAIR
    held_gb = arrays_gb + pairs * PAIR_BYTES / 1e9
    cached = min(1.0, machine.leader_gb / spilled_gb)
    wait_s = pairs * (1 - cached) * PAGE_READ_S
    return Cost("dedup: join", cpu_s, cpu_s, held_gb, 0, wait_s=wait_s)


def machine_table(machine: Machine) -> list[str]:
    """A Markdown table of a machine: a row a step, and the whole."""
    rows = list(costs(machine))
    lines = [
        f"**{machine.name}**",
        "",
        "| step | CPU h | hours | memory of the leader, GB | leaves, GB | scratch, GB |",
        "|---|---|---|---|---|---|",
    ]
    for cost in rows:
        fits = "" if cost.leader_gb <= machine.leader_gb else " (too much)"
        lines.append(
            f"| {cost.step} | {_round(cost.cpu_s / 3600)} | {_round(cost.hours(machine))} "
            f"| {_round(cost.leader_gb)}{fits} | {_round(cost.storage_gb)} "
            f"| {_round(cost.scratch_gb)} |"
        )
    hours = sum(cost.hours(machine) for cost in rows)
    usd = hours * machine.cores * CORE_HOUR_USD
    kept = sum(cost.storage_gb for cost in rows) + RAW_BYTES * COMPRESSED / 1e9
    return [
        *lines,
        f"| all | {_round(sum(c.cpu_s for c in rows) / 3600)} | {_round(hours)} "
        f"| {_round(max(c.leader_gb for c in rows))} | {_round(kept)}, the crawl included "
        f"| {_round(max(c.scratch_gb for c in rows))} |",
        "",
        f"About {_round(usd)} USD of computing and {_round(kept * GB_MONTH_USD)} USD a month of "
        f"storage; workers take {_round(machine.cores * WORKER_GB)} GB more together.",
    ]


def breaking_table(scale: float) -> list[str]:
    """What one process would have to hold at a multiple of the corpus, the largest first."""
    files = scale * RAW_FILES
    held = {
        "catalogue: provenance and keys of all documents": files * CATALOGUE_BYTES,
        "table of pairs that proved different": files * PAIRS_A_DOCUMENT * PAIR_BYTES,
        "band keys of one band, sorted": files * 8 * 4,
        "forest, addresses and sizes": files * FOREST_BYTES,
    }
    spill = scale * RAW_BYTES * HASHES_A_BYTE + files * KEY_BYTES
    lines = ["| in one process | GB |", "|---|---|"]
    lines += [f"| {name} | {_round(size / 1e9)} |" for name, size in held.items()]
    return [*lines, f"| on one disk: n-gram hashes and band keys | {_round(spill / 1e9)} |"]


def page() -> str:
    """The generated part of `docs/scale.md`."""
    tables = [machine_table(machine) for machine in MACHINES]
    return "\n\n".join("\n".join(lines) for lines in tables)


def breaking() -> str:
    """The second generated part: a hundred times the corpus."""
    return "\n".join(breaking_table(100))


def _round(value: float) -> str:
    """Two digits: the rates bear no more."""
    return f"{float(f'{value:.2g}'):,.10g}"


PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"


def main() -> None:
    """Print the tables, or write them with `--write`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    if parser.parse_args().write:
        text = fill(PAGE.read_text(), "machines", page(), PAGE)
        PAGE.write_text(fill(text, "breaking", breaking(), PAGE))
    sys.stdout.write(f"{page()}\n\n{breaking()}\n")
    hours = {machine.cores: sum(c.hours(machine) for c in costs(machine)) for machine in MACHINES}
    print_result({f"scale_hours_{cores}_cores": round(h, 2) for cores, h in hours.items()})


if __name__ == "__main__":
    main()
