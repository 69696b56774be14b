"""Encoded documents laid out as one array: a stream, or blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.artifacts.tokens import Blocks, Ids
from components.packing.best_fit import pack_best_fit


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as tokens."""

    ids: Ids
    """[tokens], EOS at the end."""

    source: Mapping[str, Any]
    """Where it is from."""

    @classmethod
    def of(cls, ids: npt.NDArray[np.uint32], eos_id: int, source: Mapping[str, Any]) -> "Encoded":
        """Put EOS behind the tokens of a document."""
        ended = np.empty(len(ids) + 1, dtype=np.uint16)
        ended[:-1], ended[-1] = ids, eos_id
        return cls(ended, source)


def lay_out_stream(documents: Sequence[Encoded]) -> tuple[Ids, list[int]]:
    """Documents one after another; their [documents + 1] offsets."""
    ends = np.cumsum([len(document.ids) for document in documents], dtype=np.int64)
    return np.concatenate([document.ids for document in documents]), [0, *ends.tolist()]


def lay_out_blocks(
    documents: Sequence[Encoded], block_length: int, eos_id: int
) -> tuple[Ids, Blocks]:
    """Documents in blocks by best fit, padded with EOS; where their pieces stand."""
    packed = pack_best_fit([len(document.ids) for document in documents], block_length)
    ids = np.full(len(packed) * block_length, eos_id, dtype=np.uint16)
    pieces, offsets = [], []
    for number, block in enumerate(packed):
        offset = number * block_length
        for piece in block:
            text = documents[piece.document].ids[piece.start : piece.start + piece.length]
            ids[offset : offset + piece.length] = text
            pieces.append(piece)
            offsets.append(offset)
            offset += piece.length
    columns = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    return ids, Blocks(
        block_length=block_length,
        eos_id=eos_id,
        documents=columns[0],
        starts=columns[1],
        offsets=np.array(offsets, dtype=np.int64),
        lengths=columns[2],
    )
