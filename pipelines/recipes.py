"""Recipes: a function each that returns one complete typed config, with the source of every value.

A recipe is identity only. Where and how fast it runs is `Execution`. Variants change a few fields
of another recipe; a command line changes any by its name (`--training.max-steps 200`).

Sources are named by letters:
    [C] GPT-Code-Clippy's model card and its training command (run_clm_streaming_flax_v2.py)
    [D] GPT-Code-Clippy's data scripts (CodedotAl/gpt-code-clippy, camera-ready)
    [P] PyCodeGPT's README and the CERT paper (microsoft/PyCodeGPT)
    [E] PyCodeGPT's evaluator (eval_human_eval.py)
    [N] GPT-Neo-125M as published (EleutherAI)
    [G] Brown et al. 2020 (GPT-3), table 2.1: its own 125M model
    [K] nanochat and modded-nanogpt, whose models of this size are the best trained in public
    [O] our own choice, where nothing was published or where we measured (LOG.md)
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from components.clean.config import CleanConfig
from components.clean.presets import gpt_cc, pycodegpt
from components.crawl import presets as crawl_presets
from components.crawl.config import CrawlConfig
from components.decontamination.config import DecontaminationConfig
from components.dedup.config import DedupConfig
from components.generation.config import STOP_STRINGS, GenerationConfig
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
        crawl=crawl_presets.gpt_cc(),  # [D]; --crawl.source github makes it that crawl
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
            learning_rate=3e-5,  # [C] fault: 20 times below what this size wants (defect R5)
            beta1=0.9,  # [C]
            beta2=0.95,  # [C]
            epsilon=1e-8,  # [C] the script's default
            weight_decay=0.1,  # [C] never on biases and layer norms
            gradient_clip=0.0,  # [C] fault: none
            schedule=ScheduleConfig(
                kind="cosine",
                warmup_steps=2500,  # [C]
                decay_steps=25_000,  # [C] fault: 72,500 steps run at the floor (R5); spelt
                # --decap_steps on the card, which its parser refuses (R1)
                floor_share=0.1,  # [C]'s script
            ),
            max_steps=100_000,  # [C]
            batch_size=64,  # [C] 8 a core on 8 cores of a TPU v3-8
            gradient_accumulation=1,  # [C]
            # [C] says "from scratch" and passes --model_name_or_path, which loads GPT-Neo's weights
            # (R2); here it is from scratch.
            pretrained_folder="",
            dtype="bfloat16",  # [C]
            validate_every_steps=500,  # [C] fault: --do_eval died at step 500 (R3)
            checkpoint_every_steps=500,  # [C]
            save_total_limit=10,  # [C]
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


def gpt_cc_125m_corrected() -> Recipe:
    """GPT-Code-Clippy 125M with its known faults mended, at the same model and tokens."""
    published = gpt_cc_125m()
    return dataclasses.replace(
        published,
        name="gpt_cc_125m_corrected",
        summary="GPT-Code-Clippy with its known faults mended, at the same model and tokens",
        dedup=DedupConfig(),  # [O] C4: files that differ in punctuation are kept; near ones go
        training=dataclasses.replace(
            published.training,
            initialization=InitializationConfig(output_projections="scaled"),  # [G]
            learning_rate=6e-4,  # [G] R5
            gradient_clip=1.0,  # [G]
            schedule=ScheduleConfig(
                kind="cosine",
                warmup_steps=2500,
                decay_steps=0,  # [G] R1, R5: falls until the last step
                floor_share=0.1,  # [G]
            ),
        ),
        generation=dataclasses.replace(
            published.generation,
            temperatures=(0.2,),  # [E] for pass@1; [C] had 0.8 for every k
            top_p=0.95,  # [E]
            max_new_tokens=(300,),  # [O] 128 cut solutions short
            stop_strings=STOP_STRINGS,  # [E] with the two that [D] lacked
            prompt="auto",
            trim_incomplete=True,  # [O]
        ),
        publishing=PublishingConfig(
            title="codekiln-gpt-cc-125m-corrected", recipe="gpt_cc_125m_corrected"
        ),
    )


def pycodegpt_110m() -> Recipe:
    """PyCodeGPT 110M, at the values that its authors published."""
    return Recipe(
        name="pycodegpt_110m",
        summary="PyCodeGPT's published values: 110M parameters, 32K vocabulary, cleaned Python",
        crawl=crawl_presets.pycodegpt(),  # [P]; --crawl.source github makes it that crawl
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
            # The base run's values are not published: those marked [P] are of its continual stage.
            learning_rate=5e-4,  # [P]
            beta1=0.9,  # [O] not published
            beta2=0.95,  # [P]
            weight_decay=0.1,  # [P]
            gradient_clip=1.0,  # [O] not published
            schedule=ScheduleConfig(
                kind="cosine",  # [P]
                warmup_steps=1000,  # [P]
                floor_share=0.0,  # [O] not published
            ),
            # [O] about 200,000 steps and 100 B tokens are told of the base run: 2^19 a step.
            max_steps=200_000,
            batch_size=64,  # [O] not published
            gradient_accumulation=8,  # [O] not published; its script can ramp up to it
            dtype="bfloat16",  # [O] [P] had fp16 on 16 V100s, which know no bfloat16
            compile_model=True,  # [O]
            validate_every_steps=2000,  # [P]
            checkpoint_every_steps=2000,  # [P]
            log_every_steps=50,  # [O]
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


def kiln_110m() -> Recipe:
    """Ours at PyCodeGPT's size: the best known choice at every step, half an hour of one H200."""
    return Recipe(
        name="kiln_110m",
        summary="ours: 110M parameters, 32K vocabulary, Muon, 0.7 billion tokens",
        crawl=CrawlConfig(languages=("Python",), max_file_bytes=1_000_000),
        clean=pycodegpt(),  # [P] the strictest published rules for Python
        dedup=DedupConfig(),  # [O] 0.7 on word 5-grams, as The Stack
        decontamination=DecontaminationConfig(),
        tokenizer=TokenizerConfig(
            vocabulary_size=32_768,  # [O] 2^15: a multiple of 128, which kernels like
            newline="isolated",  # [O] every HumanEval prompt is then a prefix of its solution
            context_length=1024,
        ),
        packing=PackingConfig(),
        training=TrainingConfig(
            model=ModelConfig(
                context_length=1024, num_layers=12, num_heads=12, hidden_size=768, window=256
            ),
            # [K] each block starts as the identity; [O] unscaled attention starts as soft as
            # scaled attention would.
            initialization=InitializationConfig(output_projections="zero", scale_queries=True),
            optimizer="muon",  # [K] a third to two fifths fewer steps than AdamW
            muon_learning_rate=0.02,  # [K]
            muon_momentum=0.95,  # [K]
            muon_weight_decay=0.05,  # [K]
            learning_rate=3e-3,  # [O] for embeddings, biases and norms
            beta1=0.9,  # [K]
            beta2=0.95,  # [K]
            weight_decay=0.1,  # [O]
            gradient_clip=0.0,  # [K] Muon bounds its own updates
            schedule=ScheduleConfig(
                kind="wsd",  # [K]
                warmup_share=0.02,  # [K]
                hold_share=0.55,  # [K] falls over the last 45 %
                floor_share=0.05,  # [K]
            ),
            max_steps=1300,  # [O] 0.68 B tokens: 25 minutes at the speed of llm.c on an H100
            batch_size=64,
            gradient_accumulation=8,  # [K] 2^19 tokens a step
            dtype="bfloat16",
            compile_model=True,
            validate_every_steps=100,
            checkpoint_every_steps=100,
            log_every_steps=10,
        ),
        generation=GenerationConfig(samples_per_problem=(20,), max_new_tokens=(300,)),
        sandbox=SandboxConfig(),
        scoring=ScoringConfig(k=(1, 10)),
        publishing=PublishingConfig(title="codekiln-kiln-110m", recipe="kiln_110m"),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (tiny, gpt_cc_125m, gpt_cc_125m_corrected, pycodegpt_110m, kiln_110m)
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
