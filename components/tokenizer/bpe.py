"""Train a byte-level BPE on whole documents with Hugging Face `tokenizers`."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from components.model.text import END_OF_TEXT, FIM_TOKENS
from components.tokenizer.config import TokenizerConfig
from components.tokenizer.pattern import learning_pattern_of, pattern_of


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
    return train_on_pieces(texts, config, names, learning_pattern_of(config), pattern_of(config))


def train_on_pieces(
    texts: Sequence[str],
    config: TokenizerConfig,
    special_tokens: Sequence[str],
    learning_pattern: str,
    pattern: str,
) -> Tokenizer:
    """Train on the pieces that one pattern cuts, for text that another one will cut.

    Args:
        texts: whole documents.
        config: vocabulary size and the least frequency of a pair.
        special_tokens: they get the first ids.
        learning_pattern: the regular expression that cuts the texts.
        pattern: the one that the tokenizer keeps.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _cut_by(learning_pattern)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size,
        min_frequency=config.min_frequency,
        special_tokens=[
            AddedToken(name, special=True, normalized=False) for name in special_tokens
        ],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    tokenizer.pre_tokenizer = _cut_by(pattern)
    return tokenizer


def _cut_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Pieces of a regular expression, spelt as bytes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
