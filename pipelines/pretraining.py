"""Pretraining and its measure: from token shards to a scored model."""

from typing import NamedTuple

from kfp import dsl

from components.generation.component import generation
from components.sandbox.component import sandbox
from components.scoring.component import scoring
from components.stage.kubeflow import execution_arguments
from components.training.component import training


class Pretraining(NamedTuple):
    """The artifacts of pretraining."""

    model: dsl.Model
    samples: dsl.Dataset
    verdicts: dsl.Dataset
    scores: dsl.Dataset


@dsl.pipeline(name="pretraining", description="From token shards to a scored model")
def pretraining(
    tokens: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    decontamination: dsl.Input[dsl.Dataset],
    training_config: dict,
    generation_config: dict,
    sandbox_config: dict,
    scoring_config: dict,
    data_root: str,
    workers: int,
    threads: int,
    engine: str,
    accelerator: str,
    accelerators: int,
    queue: str,
    spot: bool,
    max_hours: float,
    node_selector: str,
    tolerations: str,
) -> Pretraining:
    """From token shards to a scored model."""
    where = execution_arguments(locals())

    # Step 7: a model from scratch, measured in bits per byte on held-out repositories.
    trained = training(tokens=tokens, tokenizer=tokenizer, config=training_config, **where)
    # Step 8: completions for every problem, continuations of held-out code.
    generated = generation(
        model=trained.outputs["output"], tokens=tokens, config=generation_config, **where
    )
    # Step 9: completions are run where they can do no harm.
    judged = sandbox(samples=generated.outputs["output"], config=sandbox_config, **where)
    # Step 10: pass@k with intervals, why samples failed, and which problems the corpus held.
    scored = scoring(
        samples=generated.outputs["output"],
        verdicts=judged.outputs["output"],
        decontamination=decontamination,
        config=scoring_config,
        **where,
    )
    for task in (trained, generated, judged, scored):
        task.set_caching_options(False)  # keys do the work; Kubeflow's cache does not see the code
    return Pretraining(
        model=trained.outputs["output"],
        samples=generated.outputs["output"],
        verdicts=judged.outputs["output"],
        scores=scored.outputs["output"],
    )
