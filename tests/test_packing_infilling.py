"""Fill-in-the-middle: only training documents, by their content alone, and nothing is lost."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.artifact import Artifact
from components.artifacts.errors import ConfigError
from components.artifacts.tokens import read_tokens
from components.model.text import FIM_TOKENS, TextCodec
from components.packing.infilling import Infilling

PREFIX, MIDDLE, SUFFIX = 1, 2, 3


def _infilling(rate: float = 1.0, spm_share: float = 0.5) -> Infilling:
    return Infilling(rate, spm_share, 0, PREFIX, MIDDLE, SUFFIX)


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@given(st.text(min_size=1))
def test_the_parts_are_the_text(text: str) -> None:
    cut = _infilling().cut(text, _sha256(text))
    assert cut is not None
    assert "".join(cut.parts) == text
    assert cut == _infilling().cut(text, _sha256(text))


def test_an_empty_document_stays_as_it_is() -> None:
    assert _infilling().cut("", _sha256("")) is None


def test_rate_order_and_cuts_are_drawn_as_configured() -> None:
    text = "0123456789"
    cuts = [_infilling(0.6, 0.25).cut(text, str(number)) for number in range(4000)]
    made = [cut for cut in cuts if cut]
    assert len(made) / 4000 == pytest.approx(0.6, abs=0.03)
    assert sum(cut.suffix_first for cut in made) / len(made) == pytest.approx(0.25, abs=0.03)
    firsts = np.bincount([len(cut.prefix) for cut in made], minlength=11)
    lasts = np.bincount([len(cut.suffix) for cut in made], minlength=11)
    assert firsts[0] > firsts[5] > firsts[10] > 0  # the lesser of two uniform places
    assert lasts[0] > lasts[5] > lasts[10] > 0


def test_the_orders_are_those_of_the_paper() -> None:
    parts = [np.array(ids, np.uint32) for ids in ([10, 11], [20], [30])]
    whole = _infilling()
    psm, spm = _first(whole, suffix_first=False), _first(whole, suffix_first=True)
    assert whole.arrange(psm, parts).tolist() == [PREFIX, 10, 11, SUFFIX, 30, MIDDLE, 20]
    assert whole.arrange(spm, parts).tolist() == [PREFIX, SUFFIX, 30, MIDDLE, 10, 11, 20]


def _first(infilling: Infilling, *, suffix_first: bool) -> Any:
    cuts = (infilling.cut("abc", str(number)) for number in range(99))
    return next(cut for cut in cuts if cut and cut.suffix_first == suffix_first)


def _rows(document: Any) -> list[dict[str, Any]]:
    return [
        document(
            f"{place}.py",
            f"def f{place}(x):\n    return x + {place}\n" * (place + 2),
            repo=f"me/{place % 8}",
        )
        for place in range(40)
    ]


def _tokenizer(make_step: Any, documents: Artifact, *, fim_tokens: bool = True) -> Artifact:
    artifact: Artifact = make_step(
        "tokenizer", {"documents": documents}, vocabulary_size=300, fim_tokens=fim_tokens
    ).artifact
    return artifact


def _ids(artifact: Artifact, split: str) -> dict[str, list[int]]:
    return {
        source["path"]: shard.ids[shard.offsets[place] : shard.offsets[place + 1]].tolist()
        for shard in read_tokens(artifact, split)
        for place, source in enumerate(shard.sources.to_pylist())
    }


def test_only_training_documents_are_rearranged_and_each_comes_back(
    make_step: Any, documents_of: Any, document: Any
) -> None:
    rows = _rows(document)
    documents = documents_of(rows)
    tokenizer = _tokenizer(make_step, documents)
    codec = TextCodec.from_artifact(tokenizer)
    prefix, middle, suffix = (codec.tokenizer.token_to_id(name) for name in FIM_TOKENS)
    inputs = {"documents": documents, "tokenizer": tokenizer}
    packed = make_step("packing", inputs, validation_fraction=0.4, fim_rate=0.5).artifact
    plain = make_step("packing", inputs, validation_fraction=0.4).artifact
    assert _ids(packed, "validation") == _ids(plain, "validation")
    texts = {row["path"]: row["content"] for row in rows}
    num_infilled = 0
    for path, ids in _ids(packed, "training").items():
        if prefix not in ids:
            assert ids == _ids(plain, "training")[path]
            continue
        num_infilled += 1
        assert [ids.count(mark) for mark in (prefix, middle, suffix)] == [1, 1, 1]
        assert (ids[0], ids[-1]) == (prefix, codec.eos_id)
        at_suffix, at_middle = ids.index(suffix), ids.index(middle)
        before, last = codec.decode(ids[1:at_suffix]), codec.decode(ids[at_middle + 1 : -1])
        end = codec.decode(ids[at_suffix + 1 : at_middle])
        assert before + last + end == texts[path]
    counts, measures = packed.manifest.tally.counts, packed.manifest.measures
    assert 0 < num_infilled == counts["documents_infilled"]
    tokens = counts["tokens_training"] + counts["tokens_validation"]
    assert measures["bytes_per_token"] == pytest.approx(
        counts["bytes"] / (tokens - len(rows) - 3 * num_infilled)
    )


def test_shards_and_workers_do_not_change_what_is_rearranged(
    make_step: Any, documents_of: Any, document: Any, tmp_path: Path
) -> None:
    rows = _rows(document)
    tokenizer = _tokenizer(make_step, documents_of(rows))
    found = []
    for number, (plan, workers) in enumerate((([rows], 1), ([rows[:11], rows[11:]], 2))):
        packed = make_step(
            "packing",
            {"documents": documents_of(*plan), "tokenizer": tokenizer},
            workers=workers,
            data_root=str(tmp_path / str(number)),
            validation_fraction=0.4,
            fim_rate=0.7,
        ).artifact
        found.append(_ids(packed, "training"))
    assert found[0] == found[1]


def test_a_tokenizer_without_the_tokens_is_refused(
    make_step: Any, documents_of: Any, document: Any
) -> None:
    documents = documents_of(_rows(document))
    tokenizer = _tokenizer(make_step, documents, fim_tokens=False)
    with pytest.raises(ConfigError, match="train one with fim_tokens") as caught:
        make_step("packing", {"documents": documents, "tokenizer": tokenizer}, fim_rate=0.5)
    assert "\n" not in str(caught.value)
