"""Train a byte-level BPE on whole documents with Hugging Face `tokenizers`."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from components.model.text import END_OF_TEXT
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.pattern import pattern_of

FIM_TOKENS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
"""Fill-in-the-middle, named as in StarCoder (arXiv 2305.06161)."""


def train_bpe(texts: Sequence[str], config: TokenizerConfig) -> Tokenizer:
    """Train on documents, each of them whole.

    Training from files would cut at line ends, so that no token could span one. All 256 bytes are
    in the vocabulary, whatever the texts hold. The result depends on the counts of the pieces
    alone: not on the order of the texts, nor on the number of threads.

    Args:
        texts: whole documents.
        config: vocabulary size, pattern, special tokens.
    """
    names = (END_OF_TEXT, *(FIM_TOKENS if config.fim_tokens else ()))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern_of(config)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size,
        min_frequency=config.min_frequency,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in names],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return tokenizer
