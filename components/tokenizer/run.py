"""The tokenizer step: draw a sample, train or extend, write the files, measure."""

import os
from collections.abc import Mapping

from components.artifacts.artifact import Artifact, ArtifactWriter
from components.artifacts.tally import Tally
from components.model.encoding import BatchEncoder
from components.model.text import TextCodec
from components.stage.engine import Engine
from components.stage.step import Report
from components.tokenizer.bpe import train_bpe
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.extension import Extension, extend
from components.tokenizer.fertility import fertility_markdown, measure_fertility
from components.tokenizer.folder import draft_files
from components.tokenizer.observation import base_bytes
from components.tokenizer.sample import Sample, draw_sample, num_bytes


def run(
    inputs: Mapping[str, Artifact], output: ArtifactWriter, config: TokenizerConfig, engine: Engine
) -> Report:
    """Make a tokenizer of documents."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(engine.threads))  # read at the first training
    max_bytes = config.max_training_bytes if config.method == "bpe" else 0
    sample = draw_sample(inputs["documents"], engine, config.seed, max_bytes)
    if output.committed(0) is None:
        _make(sample, output, config)
    codec = _read_back(output)
    encoder = BatchEncoder(codec, [text.content for text in sample.measured])
    table = measure_fertility(encoder, sample.measured)
    return Report(
        tally=_count(sample),
        measures={
            "vocabulary_size": codec.vocabulary_size,
            "bytes_per_token": table[""].bytes_per_token,
            "fast_encoder": float(not encoder.refusal),
        },
        markdown=f"{_describe(sample, codec, config)} {_name(encoder)}\n\n"
        + fertility_markdown(table),
    )


def _make(sample: Sample, output: ArtifactWriter, config: TokenizerConfig) -> None:
    if config.method == "bpe":
        tokenizer = train_bpe([text.content for text in sample.learnt], config)
        extension = Extension((), None, tokenizer.get_vocab_size())
    else:
        assert config.base, config
        tokenizer, extension = extend(base_bytes(config), config.base)
    output.commit(0, draft_files(tokenizer, extension, config), Tally())


def _read_back(output: ArtifactWriter) -> TextCodec:
    """The tokenizer as the next steps will read it."""
    committed = output.committed(0)
    assert committed is not None, "the tokenizer was made and is not committed"
    return TextCodec.from_bytes(output.storage.read(committed[0][0].name))


def _count(sample: Sample) -> Tally:
    tally = Tally()
    for name, texts in (("learnt", sample.learnt), ("measured", sample.measured)):
        tally.count(f"documents_{name}", len(texts))
        tally.count(f"bytes_{name}", num_bytes(texts))
    return tally


def _describe(sample: Sample, codec: TextCodec, config: TokenizerConfig) -> str:
    """What was made, and what it was measured on, in a few lines."""
    size = f"{codec.vocabulary_size:,} tokens"
    if config.method == "extend":
        made = f"Extended `{config.base}` to {size}."
    else:
        made = (
            f"Trained a byte-level BPE of {size} on {len(sample.learnt):,} documents, "
            f"{num_bytes(sample.learnt) / 1e6:.1f} MB; newline {config.newline}."
        )
        if codec.vocabulary_size < config.vocabulary_size:
            made += (
                f" {config.vocabulary_size:,} were asked for: no further pair occurs "
                f"{config.min_frequency} times."
            )
    if sample.learnt is sample.measured:
        return made + " Measured on the same documents: there are too few to hold any out."
    return made + f" Measured on {len(sample.measured):,} other documents."


def _name(encoder: BatchEncoder) -> str:
    if encoder.refusal:
        return f"Hugging Face encoded: no fastokens, {encoder.refusal}."
    return "fastokens encoded; its ids were Hugging Face's on the probes and on a sample."
