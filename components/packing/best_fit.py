"""Best-fit packing: documents that fit a block are never cut (Ding et al. 2024, arXiv 2404.10830).

A document longer than a block is cut into whole blocks and a rest. Rests and short documents go,
longest first, into the open block with the least room that still takes them.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """A run of one document's tokens that stands in one block."""

    document: int
    start: int
    """The first token within the document."""

    length: int


def pack_best_fit(lengths: Sequence[int], block_length: int) -> list[list[Piece]]:
    """Lay documents out in blocks.

    The result depends on the lengths alone: equal pieces go in the order of the documents.

    Args:
        lengths: [documents] tokens of each, EOS included.
        block_length: tokens of a block.

    Returns:
        The pieces of every block, in order; what they leave free is to be padded. Whole blocks of
        a long document come first and follow each other.
    """
    blocks: list[list[Piece]] = []
    rests: list[Piece] = []
    for document, length in enumerate(lengths):
        whole = length // block_length * block_length
        blocks += [
            [Piece(document, start, block_length)] for start in range(0, whole, block_length)
        ]
        if whole < length:
            rests.append(Piece(document, whole, length - whole))
    return blocks + _place(rests, block_length)


def _place(pieces: Sequence[Piece], block_length: int) -> list[list[Piece]]:
    """Best-fit decreasing: there are at most `block_length` different rooms, kept sorted."""
    blocks: list[list[Piece]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece.length):
        place = bisect_left(rooms, piece.length)
        if place == len(rooms):
            number, room = len(blocks), block_length
            blocks.append([])
        else:
            room = rooms[place]
            number = by_room[room].pop()
            if not by_room[room]:
                del rooms[place]
        blocks[number].append(piece)
        left = room - piece.length
        if left:
            waiting = by_room.setdefault(left, [])
            if not waiting:
                insort(rooms, left)
            waiting.append(number)
    return blocks
