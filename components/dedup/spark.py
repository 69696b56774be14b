"""The join of near-dedup on Spark: pairs that share a band, each verified once.

Executors read the spills of the shards and send back the pairs that join clusters; the union-find
stays with the driver. The pairs are those of the join in one process, and so the clusters are.
pyspark is imported only when a join begins.
"""

import contextlib
import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.artifacts.errors import MissingExtraError, StepFailedError
from components.dedup.clusters import Forest
from components.dedup.config import DedupConfig
from components.dedup.pairing import (
    KEY_SCHEMA,
    PAIR_SCHEMA,
    PLACE,
    RANKS,
    VERIFIED_SCHEMA,
    pair_members,
    read_keys,
    verify_pairs,
)
from components.dedup.shingles import Indices
from components.dedup.spill import Spill, SpilledSets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MASTER_VARIABLE = "SPARK_MASTER"
"""Where Spark runs, such as `spark://host:7077`; unset, on the cores of this machine."""

SUBMITTED_VARIABLE = "PYSPARK_GATEWAY_PORT"
"""Set where spark-submit started this process, as a SparkApplication does: it knows the master."""

LOG_NAME = "spark.log"


@dataclass(frozen=True)
class SparkJoin:
    """What the join found, as `clusters.Join` says it."""

    forest: Forest
    sets: SpilledSets
    num_compared: int
    num_similar: int
    num_skipped: int
    """Pairs that `max_comparisons` left out. More than one process counts, which stops looking at
    a bucket once it is one cluster; the clusters are the same."""


def check_spark() -> None:
    """Find out before any work whether there is a Spark.

    Raises:
        MissingExtraError: pyspark or Java is missing.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise MissingExtraError(
            "engine spark needs the package 'pyspark', which is not installed: "
            "pip install 'codekiln[spark]', or run with --engine local"
        )
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        where = f"JAVA_HOME {home!r}" if home else "PATH"
        raise MissingExtraError(
            f"engine spark needs Java 17, found no java in {where}: install a JRE (such as "
            "openjdk-17-jre-headless) or set JAVA_HOME, or run with --engine local"
        )


def join_on_spark(
    spills: Sequence[Spill], ranks: Sequence[Indices], size: int, config: DedupConfig, workers: int
) -> SparkJoin:
    """Join the spilled shards.

    Args:
        spills: one for every shard, in folders that every executor can read.
        ranks: for every shard the documents that its rows stand for.
        size: documents in all.
        config: threshold and limits.
        workers: Python processes at once where Spark runs on this machine.

    Raises:
        StepFailedError: Spark gave up.
    """
    sets = SpilledSets(spills, ranks, size)
    if np.count_nonzero(sets.sizes) < 2:  # nothing to compare
        return SparkJoin(Forest(size), sets, 0, 0, 0)
    for spill, documents in zip(spills, ranks, strict=True):
        np.save(spill.folder / RANKS, documents)
    folders = [str(spill.folder) for spill in spills]
    scratch = spills[0].folder.parent
    with _spark(scratch, workers) as spark:
        verified, num_skipped = _run(spark, folders, config, size)
    forest = Forest(size)
    joined = [verified[side].combine_chunks().flatten().to_numpy() for side in ("left", "right")]
    forest.union(*joined)
    compared, similar = (int(np.sum(verified[name].to_numpy())) for name in ("compared", "similar"))
    return SparkJoin(forest, sets, compared, similar, num_skipped)


def _run(
    spark: "SparkSession", folders: Sequence[str], config: DedupConfig, size: int
) -> tuple[pa.Table, int]:
    """The rows of VERIFIED_SCHEMA, and how many pairs were left out."""
    from pyspark.sql import functions as F

    shards = pa.table({"shard": np.arange(len(folders)), "folder": list(folders)})
    keys = spark.createDataFrame(shards).repartition(len(folders)).mapInArrow(read_keys, KEY_SCHEMA)
    members = F.sort_array(F.collect_list(F.struct(*PLACE))).alias("members")
    buckets = keys.groupBy("band", "key").agg(members).select("members")
    pair = partial(pair_members, threshold=config.threshold, max_comparisons=config.max_comparisons)
    pairs = buckets.where(F.size("members") > 1).mapInArrow(pair, PAIR_SCHEMA)
    # One exchange by the left document serves both the distinct pairs and the order.
    names = ["left_document", "right_document"]
    distinct = pairs.repartition("left_document").dropDuplicates(names).sortWithinPartitions(names)
    verify = partial(verify_pairs, folders=folders, threshold=config.threshold)
    verified: pa.Table = distinct.mapInArrow(verify, VERIFIED_SCHEMA).toArrow()
    limit = config.max_comparisons
    return verified, _count_skipped(keys, limit) if 0 < limit < size - 1 else 0


def _count_skipped(keys: "DataFrame", max_comparisons: int) -> int:
    """Pairs of buckets so large that `max_comparisons` leaves some out."""
    from pyspark.sql import functions as F

    beyond = F.col("count") - 1 - max_comparisons
    counts = keys.groupBy("band", "key").count().where(beyond > 0)
    total = counts.agg(F.sum(beyond * (beyond + 1) / 2)).first()
    return int(total[0] or 0) if total else 0


@contextlib.contextmanager
def _spark(scratch: Path, workers: int) -> Iterator["SparkSession"]:
    """A session whose processes end with it, and whose log goes to a file."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    launch: Any = launch_gateway  # untyped
    log = scratch / LOG_NAME
    with log.open("wb") as file, _environment(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pyspark")  # of pandas 3, which is not used here
        gateway = None
        try:
            conf = _configure(scratch, workers)
            gateway = launch(conf, {"stdout": file, "stderr": file})
            context = SparkContext(conf=conf, gateway=gateway)
            try:
                yield SparkSession(context)
            finally:
                context.stop()
        except (Py4JError, PySparkException) as error:
            line = str(error).strip().partition("\n")[0]
            raise StepFailedError(f"the join on Spark failed: {line}; its log: {log}") from error
        finally:
            if gateway is not None:
                _end(gateway)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What Spark's Python processes need to be told before they start."""
    wanted = {
        "PYSPARK_PYTHON": sys.executable,  # else they are the system's Python
        "PYTHONSAFEPATH": "1",  # else they import from the folder they start in
    }
    before = {**os.environ}
    os.environ.update({name: before.get(name, value) for name, value in wanted.items()})
    try:
        yield
    finally:
        for name in wanted.keys() - before.keys():
            del os.environ[name]


def _configure(scratch: Path, workers: int) -> Any:
    from pyspark import SparkConf

    conf = SparkConf().setAppName("codekiln dedup")
    conf.set("spark.ui.enabled", "false").set("spark.ui.showConsoleProgress", "false")
    conf.set("spark.driver.maxResultSize", "0")  # edges: at most one a document and batch
    conf.set("spark.executorEnv.PYTHONSAFEPATH", "1")
    conf.set("spark.sql.warehouse.dir", str(scratch / "warehouse"))
    master = os.environ.get(MASTER_VARIABLE)
    if not master and SUBMITTED_VARIABLE not in os.environ:
        master = f"local[{workers}]"
    if master:
        conf.setMaster(master)
    if master and master.startswith("local"):
        conf.set("spark.local.dir", str(scratch / "spark"))
        conf.set("spark.driver.host", "127.0.0.1").set("spark.driver.bindAddress", "127.0.0.1")
    return conf


def _end(gateway: Any) -> None:
    """End the Java process, and forget it: the next session starts its own."""
    from pyspark import SparkContext

    gateway.shutdown()
    if gateway.proc is not None:
        gateway.proc.stdin.close()
        gateway.proc.wait()
    SparkContext._gateway = None
    SparkContext._jvm = None
