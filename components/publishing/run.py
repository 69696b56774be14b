"""Publish: refuse licences, copy the model, write its cards and the report."""

from collections.abc import Mapping
from importlib.metadata import version

from components.artifacts.artifact import Artifact, ArtifactWriter, Draft
from components.artifacts.rows import draft_text
from components.artifacts.tally import Tally
from components.publishing.config import PublishingConfig
from components.publishing.corpus import draft_training_files
from components.publishing.data_card import write_data_card
from components.publishing.facts import Facts, read_facts
from components.publishing.licenses import refuse_licenses
from components.publishing.model_card import write_model_card
from components.publishing.opt_outs import refuse_opted_out
from components.publishing.provenance import write_provenance
from components.publishing.report import draw_report
from components.stage.engine import Engine
from components.stage.step import Report

MODEL = "model"
REPORT = "report"
"""The parts: what is published, and what is for people of this run."""


def run(
    inputs: Mapping[str, Artifact],
    output: ArtifactWriter,
    config: PublishingConfig,
    engine: Engine,  # noqa: ARG001  # one process copies the model faster than two start
) -> Report:
    """Publish a model.

    Raises:
        ConfigError: the training data carries a licence outside of `allowed_licenses`, or a file of
            someone in `opt_out`.
        ArtifactError: the inputs are not of one run, or one is damaged.
    """
    facts = read_facts(inputs, config)
    refuse_licenses(facts.corpus.licenses, config.allowed_licenses, inputs["tokens"].storage.uri)
    refuse_opted_out(inputs["tokens"], config.opt_out)
    page = draw_report(facts, version("codekiln"))
    if output.committed(0) is None:
        output.commit(0, copy_model(inputs["model"]), Tally())
    if output.committed(1) is None:
        output.commit(1, write_cards(facts), Tally())
    if output.committed(2) is None:
        output.commit(2, [draft_text(REPORT, ".html", page, name="report.html")], Tally())
    return Report(tally=count(facts), measures=_measure(facts), html=page)


def copy_model(model: Artifact) -> list[Draft]:
    """The model folder's files, byte for byte."""
    return [
        Draft(
            part=MODEL,
            suffix="",
            data=model.read(entry),
            rows=entry.rows,
            digest=entry.digest,
            name=entry.name,
        )
        for entry in model.part(MODEL)
    ]


def write_cards(facts: Facts) -> list[Draft]:
    """What stands beside the weights: the cards, the provenance, the list of training files."""
    training_files = draft_training_files(facts.inputs["tokens"], MODEL)
    provenance = write_provenance(facts, training_files, version("codekiln"))
    return [
        draft_text(MODEL, ".md", write_model_card(facts), name=f"{MODEL}/README.md"),
        draft_text(MODEL, ".md", write_data_card(facts), name=f"{MODEL}/DATA_CARD.md"),
        draft_text(MODEL, ".json", provenance, name=f"{MODEL}/provenance.json"),
        training_files,
    ]


def count(facts: Facts) -> Tally:
    """What was published, with the licences and languages of what the model read."""
    tally = Tally(licenses=dict(facts.corpus.licenses), languages=dict(facts.corpus.languages))
    tally.count("training_files", facts.corpus.files)
    tally.count("training_bytes", facts.corpus.bytes)
    tally.count("repositories", len(facts.corpus.repositories))
    return tally


def _measure(facts: Facts) -> dict[str, float]:
    return {
        "model_bytes": float(sum(entry.bytes for entry in facts.inputs["model"].part(MODEL))),
        "training_files": float(facts.corpus.files),
        "licenses": float(len(facts.corpus.licenses)),
    }
