"""Recipes: a function each that returns one complete typed config, with the source of every value.

A recipe is identity only. Where and how fast it runs is `Execution`. Variants change a few fields
of another recipe; a command line changes any by its name (`--training.max-steps 200`).

Sources are named by letters:
    [C] GPT-Code-Clippy's model card and its training command (run_clm_streaming_flax_v2.py)
    [D] GPT-Code-Clippy's data scripts (CodedotAl/gpt-code-clippy, camera-ready)
    [P] PyCodeGPT's README and the CERT paper (microsoft/PyCodeGPT)
    [E] PyCodeGPT's evaluator (eval_human_eval.py)
    [N] GPT-Neo-125M as published (EleutherAI)
    [O] our own choice, where nothing was published or where we measured (LOG.md)
"""

from collections.abc import Callable
from dataclasses import dataclass

from components.clean.config import CleanConfig
from components.clean.presets import gpt_cc, pycodegpt
from components.crawl.config import CrawlConfig
from components.decontamination.config import DecontaminationConfig
from components.dedup.config import DedupConfig
from components.generation.config import GenerationConfig
from components.model.config import InitializationConfig, ModelConfig
from components.packing.config import PackingConfig
from components.publishing.config import PublishingConfig
from components.sandbox.config import SandboxConfig
from components.scoring.config import ScoringConfig
from components.stage.config import Config, unknown_name
from components.stage.step import STEP_ORDER
from components.tokenizer.config import TokenizerConfig
from components.training.config import ScheduleConfig, TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Config):
    """What a whole run computes: a config a step."""

    name: str
    """What `codekiln run` takes."""

    summary: str
    """One line for `codekiln recipes`."""

    crawl: CrawlConfig
    """What is crawled."""

    clean: CleanConfig
    """Which rules drop a file."""

    dedup: DedupConfig
    """What counts as a duplicate."""

    decontamination: DecontaminationConfig
    """Which benchmarks must not be in the corpus."""

    tokenizer: TokenizerConfig
    """The vocabulary."""

    packing: PackingConfig
    """Which repositories are held out."""

    training: TrainingConfig
    """Model, optimizer and schedule."""

    generation: GenerationConfig
    """Problems, samples and temperature."""

    sandbox: SandboxConfig
    """Limits of a program."""

    scoring: ScoringConfig
    """k and intervals."""

    publishing: PublishingConfig
    """Name and allowed licences."""

    def steps(self) -> dict[str, Config]:
        """The config of each step, in the order of the graph."""
        return {name: getattr(self, name) for name in STEP_ORDER}


def tiny() -> Recipe:
    """The code that is installed on this machine, a 2.6M-parameter model, minutes on two cores.

    It proves the whole path and learns to write lines that parse; it solves no problems.
    """
    return Recipe(
        name="tiny",
        summary="installed code, 2.6M parameters, minutes on 2 CPU cores",
        crawl=CrawlConfig(
            languages=("Python",),
            # [O] 0.5 MB of a distribution: many styles count for more than one project's bulk.
            max_distribution_bytes=500_000,
            standard_library_tests=False,  # [O] 19 of its 31 MB, and little like other code
            shard_bytes=4_000_000,  # [O] enough shards for two workers
        ),
        clean=pycodegpt(),  # [P]
        dedup=DedupConfig(),  # [O] 0.7 on word 5-grams, as The Stack
        decontamination=DecontaminationConfig(benchmarks=("humaneval", "easy")),
        tokenizer=TokenizerConfig(
            vocabulary_size=4096,  # [O] 2,048 and 8,192 were worse at equal time
            context_length=128,
            max_training_bytes=8_000_000,
        ),
        packing=PackingConfig(
            validation_fraction=0.05,
            validation_max_bytes=300_000,  # [O] 15 s of scoring
            always_training=("cpython",),
        ),
        training=TrainingConfig(
            # [O] small and many steps beat large and few on a CPU.
            model=ModelConfig(context_length=128, num_layers=4, num_heads=3, hidden_size=192),
            initialization=InitializationConfig(output_projections="zero", scale_queries=True),
            schedule=ScheduleConfig(kind="wsd", warmup_share=0.02, hold_share=0.5),
            learning_rate=1e-2,  # [O] with Muon's, the best of ten screens of 120 steps
            muon_learning_rate=0.012,  # [O]
            max_steps=650,
            batch_size=16,
            dtype="float32",  # [O] bfloat16 is ten times slower on a CPU without AVX512-BF16
            validate_every_steps=200,
        ),
        generation=GenerationConfig(
            samples_per_problem=(5, 1),
            max_new_tokens=(48, 64),  # [O] an easy solution has 10 to 40 tokens
            num_continuations=288,
            prefix_tokens=48,
            continuation_tokens=80,
            continuation_temperature=0.4,  # [O] at 0.2 it loops; see LOG.md
            dtype="float32",  # [O] so small a model gains nothing; one identity on all machines
            batch_size=128,
        ),
        sandbox=SandboxConfig(),
        scoring=ScoringConfig(k=(1, 2, 5)),
        publishing=PublishingConfig(title="codekiln-tiny", recipe="tiny"),
    )


def gpt_cc_125m() -> Recipe:
    """GPT-Code-Clippy 125M from scratch, at the values that its authors published."""
    return Recipe(
        name="gpt_cc_125m",
        summary="GPT-Code-Clippy's published values: 125M parameters, GPT-2's vocabulary",
        # [D] had no limit of a file's size; 100 MB is the most that the crawl takes.
        crawl=CrawlConfig(max_file_bytes=100_000_000),
        clean=gpt_cc(),  # [D]
        # [D] exact match of the word sequence; it also drops files that differ, see the room.
        dedup=DedupConfig(exact_key="gpt_cc", near=False),
        # [D] did not decontaminate; a score that nobody can trust is no use to repeat.
        decontamination=DecontaminationConfig(),
        tokenizer=TokenizerConfig(
            method="extend",
            base="EleutherAI/gpt-neo-125M",  # [C] --tokenizer_name
            context_length=2048,  # [C] --block_size
        ),
        packing=PackingConfig(),  # [O] its split is not published
        training=TrainingConfig(
            model=ModelConfig(  # [N]
                context_length=2048, num_layers=12, num_heads=12, hidden_size=768, window=256
            ),
            initialization=InitializationConfig(),  # [N]
            optimizer="adamw",
            learning_rate=3e-5,  # [C] 20 times below what this size wants
            beta1=0.9,  # [C]
            beta2=0.95,  # [C]
            weight_decay=0.1,  # [C]
            gradient_clip=0.0,  # [C] none
            schedule=ScheduleConfig(
                kind="cosine",
                warmup_steps=2500,  # [C]
                decay_steps=25_000,  # [C] spelt --decap_steps: 72,500 steps run at the floor
                floor_share=0.1,  # [C]'s script
            ),
            max_steps=100_000,  # [C]
            batch_size=64,  # [C] 8 a core on 8 cores, no accumulation
            dtype="bfloat16",  # [C]
            validate_every_steps=500,  # [C]
            checkpoint_every_steps=500,  # [C]
            log_every_steps=50,  # [C]
        ),
        generation=GenerationConfig(  # evaluation/evaluate.py of [D]
            benchmarks=("humaneval",),
            samples_per_problem=(10,),
            max_new_tokens=(128,),
            temperatures=(0.8,),
            top_p=1.0,
            stop_strings=("\ndef", "\nclass", "\n#", "\nif"),
            prompt="raw",
            trim_incomplete=False,
        ),
        sandbox=SandboxConfig(benchmarks=("humaneval",)),
        scoring=ScoringConfig(k=(1, 2, 5, 10)),  # [C]'s table
        publishing=PublishingConfig(title="codekiln-gpt-cc-125m", recipe="gpt_cc_125m"),
    )


def pycodegpt_110m() -> Recipe:
    """PyCodeGPT 110M, at the values that its authors published."""
    return Recipe(
        name="pycodegpt_110m",
        summary="PyCodeGPT's published values: 110M parameters, 32K vocabulary, cleaned Python",
        crawl=CrawlConfig(languages=("Python",), max_file_bytes=1_000_000),  # [P]
        clean=pycodegpt(),  # [P]
        dedup=DedupConfig(near=False),  # [P] "unique files"; how is not published
        decontamination=DecontaminationConfig(),  # [O] not published
        tokenizer=TokenizerConfig(
            vocabulary_size=32_000,  # [P]
            newline="merged",  # [E] "not treat '\n' as a independent token"
            context_length=1024,
        ),
        packing=PackingConfig(),  # [O] its split is not published
        training=TrainingConfig(
            model=ModelConfig(  # [P] 12 x 768 x 12, 110.4M parameters
                context_length=1024, num_layers=12, num_heads=12, hidden_size=768, window=256
            ),
            initialization=InitializationConfig(),  # [N]
            optimizer="adamw",
            # The base run's values are not published; these are its continual stage's [P].
            learning_rate=5e-4,
            beta2=0.95,
            weight_decay=0.1,
            gradient_clip=1.0,  # [O]
            schedule=ScheduleConfig(kind="cosine", warmup_steps=1000, floor_share=0.0),
            # [O] about 200,000 steps and 100 B tokens are told of the base run: 2^19 a step.
            max_steps=200_000,
            batch_size=64,
            gradient_accumulation=8,
            dtype="bfloat16",  # [O] [P] had fp16 on V100s
            validate_every_steps=2000,
            checkpoint_every_steps=2000,
            log_every_steps=50,
        ),
        generation=GenerationConfig(  # [E]
            benchmarks=("humaneval",),
            samples_per_problem=(100,),
            max_new_tokens=(100,),
            temperatures=(0.2,),
            top_p=0.95,
            prompt="stripped",
            trim_incomplete=False,
        ),
        sandbox=SandboxConfig(benchmarks=("humaneval",)),
        scoring=ScoringConfig(k=(1, 10, 100)),  # [P]
        publishing=PublishingConfig(title="codekiln-pycodegpt-110m", recipe="pycodegpt_110m"),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe for recipe in (tiny, gpt_cc_125m, pycodegpt_110m)
}


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes."""
    return tuple(RECIPES)


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, set(RECIPES), "codekiln")
    return RECIPES[name]()
