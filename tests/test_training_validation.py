"""Bits per byte is what it says: every held-out token once, EOS included, over UTF-8 bytes."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from components.artifacts.errors import ArtifactError
from components.artifacts.tokens import TokenShard
from components.model.config import ModelConfig
from components.model.initialization import initialize
from components.model.neo import GptNeo
from components.training import validation
from components.training.blocks import Tokens
from components.training.learner import Nats
from components.training.validation import HeldOut

EOS = 7
SHAPE = ModelConfig(
    vocabulary_size=8, context_length=4, num_layers=2, num_heads=2, hidden_size=16, window=2
)


def shard(*documents: tuple[str, list[int], int]) -> TokenShard:
    """Documents as (repository, ids without EOS, bytes)."""
    ids = [token for _, content, _ in documents for token in [*content, EOS]]
    lengths = [len(content) + 1 for _, content, _ in documents]
    sources = pa.table(
        {
            "repo": [repo for repo, _, _ in documents],
            "source": ["test" for _ in documents],
            "language": ["C" if repo == "a" else "Python" for repo, _, _ in documents],
            "size": [size for _, _, size in documents],
        }
    )
    return TokenShard(np.array(ids, np.uint16), np.cumsum([0, *lengths]), sources)


def token_nats(model: GptNeo, ids: Tokens) -> Nats:
    """What the step computes, with a model of torch."""

    def predict(inputs: Tokens, targets: Tokens) -> Nats:
        with torch.no_grad():
            logits = model(torch.from_numpy(inputs)).flatten(0, 1).double()
        flat = torch.from_numpy(targets).flatten()
        found: Nats = F.cross_entropy(logits, flat, reduction="none").numpy()
        return found

    return validation.token_nats(predict, ids, model.config.context_length)


SHARDS = [
    shard(("b", [1, 2, 3], 6), ("a", [4], 2)),
    shard(),
    shard(("a", [], 0), ("b", [5, 5, 5, 5, 5, 5], 9), ("c", [0, 1], 3)),
]
TOKENS, BYTES = 17, 20


def uniform() -> GptNeo:
    """A model that gives each of the 8 tokens 3 bits, whatever it reads."""
    model = initialize(SHAPE, 0)
    with torch.no_grad():
        model.output_weight.zero_()
    return model


def random_model() -> GptNeo:
    model = initialize(SHAPE, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def test_a_uniform_model_has_the_bits_per_byte_of_a_hand_computation() -> None:
    held_out = HeldOut.of(SHARDS, EOS)
    score = held_out.score(token_nats(uniform(), held_out.ids))
    assert (score.documents, score.tokens, score.bytes) == (5, TOKENS, BYTES)
    assert score.bits_per_byte == pytest.approx(3 * TOKENS / BYTES, rel=1e-6)
    assert score.loss == pytest.approx(math.log(8), rel=1e-6)


@pytest.mark.parametrize("batch_tokens", [4, 8, 4096])
def test_every_token_is_predicted_once_from_its_own_window(
    monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    monkeypatch.setattr(validation, "WINDOW_TOKENS", batch_tokens)
    model = random_model()
    held_out = HeldOut.of(SHARDS, EOS)
    stream = [EOS, 1, 2, 3, EOS, 4, EOS, EOS, 5, 5, 5, 5, 5, 5, EOS, 0, 1, EOS]
    assert held_out.ids.tolist() == stream
    expected = []
    for place in range(1, len(stream)):
        window = stream[(place - 1) // 4 * 4 : place]
        with torch.no_grad():
            odds = model(torch.tensor([window]))[0, -1].double().log_softmax(-1)
        expected.append(-float(odds[stream[place]]))
    nats = token_nats(model, held_out.ids)
    assert np.abs(nats - expected).max() < 1e-5
    assert np.ptp(expected) > 0.1, "the model must not be uniform, or the test sees nothing"


def test_repositories_sources_and_languages_add_up_to_the_whole() -> None:
    held_out = HeldOut.of(SHARDS, EOS)
    nats = np.arange(TOKENS, dtype=np.float64)
    scores = held_out.score_groups(nats)
    assert list(scores) == ["a", "b", "c"]
    assert (scores["a"].documents, scores["a"].tokens, scores["a"].bytes) == (2, 3, 2)
    assert scores["a"].nats == 4 + 5 + 6
    assert scores["c"].nats == 14 + 15 + 16
    for grouping in ("repo", "source", "language"):
        parts = held_out.score_groups(nats, grouping)
        assert sum(part.nats for part in parts.values()) == held_out.score(nats).nats
    languages = held_out.score_groups(nats, "language")
    assert list(languages) == ["C", "Python"]
    assert languages["C"] == scores["a"]
    assert list(held_out.score_groups(nats, "source")) == ["test"]


def test_a_sample_holds_whole_documents_of_several_repositories() -> None:
    sample = HeldOut.of(SHARDS, EOS).sample(tokens=8)
    assert sample.ids.tolist() == [EOS, 1, 2, 3, EOS, EOS, 0, 1, EOS]
    assert sample.groups["repo"] == ["b", "a", "c"]
    assert sample.score(np.ones(8)).bytes == 9


def test_nothing_held_out_is_refused_in_one_line() -> None:
    with pytest.raises(ArtifactError, match=r"held-out documents.*validation_fraction"):
        HeldOut.of([shard()], EOS)
