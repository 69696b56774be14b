"""Drop exact, then near duplicates: the order of the steps."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.documents import DOCUMENTS
from components.artifacts.rows import draft_rows
from components.artifacts.tally import Tally
from components.dedup.catalogue import Catalogue, read_catalogue
from components.dedup.clusters import Join, keep_extremes
from components.dedup.config import DedupConfig
from components.dedup.exact import first_copies
from components.dedup.page import draw_page
from components.dedup.removal import EXACT, NEAR, MarkedShard, Removal, cluster_rows, write_kept
from components.dedup.shingles import Indices
from components.dedup.spark import SparkJoin, check_spark, join_on_spark
from components.dedup.spill import SpilledSets, SpillTask, spill_shard, spilled_bands
from components.stage.engine import Engine, map_shards
from components.stage.step import Report

CLUSTERS = "clusters"
"""The part with the clusters, in the place after the last shard."""


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: DedupConfig, engine: Engine
) -> Report:
    """Rank all documents, find exact copies, join near ones, keep the best of each cluster."""
    documents = inputs["documents"]
    entries = documents.part(DOCUMENTS)
    catalogue = read_catalogue(engine, documents, config.exact_key)
    twins = first_copies(catalogue.keys())
    join = _join_near(documents, output, config, engine, catalogue, twins) if config.near else None
    kept = _choose_kept(join, config, twins) if join else twins
    removal = Removal.of(twins, kept, join.sets if join else None, config.threshold)
    shards = [
        MarkedShard(entry, removal.marks[ranks])
        for entry, ranks in zip(entries, catalogue.ranks, strict=True)
    ]
    tally = map_shards(engine, output, partial(write_kept, documents), shards, "writing")
    if output.committed(len(entries)) is None:
        rows = cluster_rows(catalogue, removal)
        output.commit(len(entries), [draft_rows(CLUSTERS, rows)], Tally())
    sizes = np.bincount(kept, minlength=1)
    measures = {
        "exact_duplicates": float(np.count_nonzero(removal.marks == EXACT)),
        "near_duplicates": float(np.count_nonzero(removal.marks == NEAR)),
        "clusters": float(np.count_nonzero(sizes > 1)),
        "largest_cluster": float(sizes.max()),
    }
    if join:
        measures |= {
            "pairs_compared": float(join.num_compared),
            "pairs_similar": float(join.num_similar),
            "pairs_skipped": float(join.num_skipped),
            "recall_at_threshold": config.recall,
            "below_threshold": float(np.count_nonzero(removal.similarities < config.threshold)),
        }
    page = draw_page(documents, catalogue, removal, config.seed)
    return Report(tally=tally, measures=measures, html=page)


def _choose_kept(join: Join | SparkJoin, config: DedupConfig, twins: Indices) -> Indices:
    """The document that is kept for each, by rank."""
    kept = join.forest.roots()
    if config.keep == "extremes":
        kept = keep_extremes(kept, join.sets, config.threshold)
    return kept[twins]


def _join_near(
    documents: Artifact,
    output: ArtifactWriter,
    config: DedupConfig,
    engine: Engine,
    catalogue: Catalogue,
    twins: Indices,
) -> Join | SparkJoin:
    """Spill every shard's n-grams and band keys, then join the bands here or on Spark."""
    if engine.joins_on_spark:
        check_spark()
    scratch = output.storage.scratch()
    compared = [twins[ranks] == ranks for ranks in catalogue.ranks]
    ranks = [ranks[keep] for ranks, keep in zip(catalogue.ranks, compared, strict=True)]
    tasks = [
        SpillTask(entry, np.flatnonzero(keep), scratch / f"{index:05d}")
        for index, (entry, keep) in enumerate(zip(documents.part(DOCUMENTS), compared, strict=True))
    ]
    spills = list(engine.map_here(partial(spill_shard, documents, config), tasks, "signing"))
    if engine.joins_on_spark:
        return join_on_spark(spills, ranks, len(catalogue), config, engine.workers)
    sets = SpilledSets(spills, ranks, len(catalogue))
    join = Join(sets, config.threshold, config.max_comparisons)
    join.join_bands(spilled_bands(spills, ranks, config.bands))
    return join
