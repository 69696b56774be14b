"""Clusters for people: real pairs, what was kept beside what went, line by line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_rows
from components.dedup.catalogue import Catalogue
from components.dedup.removal import NEAR, Removal
from components.dedup.shingles import Indices
from components.stage.escaping import clip, escape_html

MAX_PAIRS = 12
MAX_LINES = 400
"""Lines of a file that are compared; the rest is counted."""

CONTEXT_LINES = 3
MAX_LINE_CHARACTERS = 160
MAX_ROWS = 40
"""Rows of a pair that are shown; the rest is counted."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #656d76; --line: #d1d9e0;
  --paper: #ffffff; --gone: #ffebe9; --kept: #dafbe1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9198a1; --line: #3d444d;
  --paper: #0d1117; --gone: #4c1f24; --kept: #1b4325; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p { color: var(--dim); margin: .2rem 0; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th { text-align: left; font-weight: 600; padding: .3rem .5rem; overflow-wrap: anywhere; }
td { font: 12px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  vertical-align: top; padding: 0 .5rem; border-left: 1px solid var(--line); }
td.kept { background: var(--kept); } td.gone { background: var(--gone); }
td.skip { color: var(--dim); text-align: center; border-block: 1px solid var(--line); }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A document that was kept, and one that went for it."""

    why: str
    """Why this pair is shown."""

    kept: int
    dropped: int
    similarity: float


def choose_pairs(removal: Removal, seed: int) -> list[Pair]:
    """The least similar pairs, some of the largest clusters, and some drawn by seed; no pair twice.

    Args:
        removal: what is dropped for what.
        seed: of the draw.
    """
    near = np.flatnonzero(removal.marks == NEAR)
    by_similarity = near[np.lexsort((near, removal.similarities[near]))]
    sizes = np.bincount(removal.kept[near], minlength=1)
    _, firsts = np.unique(removal.kept[near], return_index=True)
    leaders = near[firsts]
    by_size = leaders[np.lexsort((leaders, -sizes[removal.kept[leaders]]))]
    drawn = np.random.default_rng(seed).permutation(near)
    each = MAX_PAIRS // 3
    pairs: dict[int, Pair] = {}
    for why, ranked in (
        ("least similar to the copy that was kept", by_similarity),
        ("of one of the largest clusters", by_size),
        (f"drawn by seed {seed}", drawn),
    ):
        fresh = [document for document in ranked[:MAX_PAIRS].tolist() if document not in pairs]
        for document in fresh[:each]:
            pairs[document] = Pair(
                why=why,
                kept=int(removal.kept[document]),
                dropped=document,
                similarity=float(removal.similarities[document]),
            )
    return list(pairs.values())


def draw_page(documents: Artifact, catalogue: Catalogue, removal: Removal, seed: int) -> str:
    """Make the page.

    Args:
        documents: what came in.
        catalogue: their names.
        removal: what is dropped for what.
        seed: of the pairs that are drawn.
    """
    pairs = choose_pairs(removal, seed)
    wanted = sorted({document for pair in pairs for document in (pair.kept, pair.dropped)})
    contents = _read_contents(documents, catalogue.ranks, np.array(wanted, np.int64))
    below = int(np.count_nonzero(removal.similarities < removal.threshold))
    near = int(np.count_nonzero(removal.marks == NEAR))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Near duplicates</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>Near duplicates</h1><p>{near:,} files went as near duplicates of another one. "
        f"{below:,} of them are less similar than {removal.threshold:g} to the copy that was kept: "
        "they are joined to it through others. Similarity is exact: shared word n-grams over all "
        "of both.</p>"
        + "".join(_draw_pair(pair, catalogue, contents) for pair in pairs)
        + "</body></html>\n"
    )


def _read_contents(
    documents: Artifact, ranks: Sequence[Indices], wanted: Indices
) -> dict[int, str]:
    contents: dict[int, str] = {}
    for entry, shard in zip(documents.part(DOCUMENTS), ranks, strict=True):
        rows = np.flatnonzero(np.isin(shard, wanted))
        if len(rows):
            column = read_rows(documents, entry, rows.tolist(), ["content"])["content"]
            contents |= zip(shard[rows].tolist(), column.to_pylist(), strict=True)
    return contents


def _draw_pair(pair: Pair, catalogue: Catalogue, contents: Mapping[int, str]) -> str:
    names = [catalogue.name(document) for document in (pair.kept, pair.dropped)]
    heads = "".join(
        f"<th>{what}: {escape_html(name['repo'])}: {escape_html(name['path'])}</th>"
        for what, name in zip(("kept", "went"), names, strict=True)
    )
    rows = list(_draw_lines(contents[pair.kept], contents[pair.dropped]))
    body = "".join(rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        more = f"{len(rows) - MAX_ROWS:,} more rows"
        body += f'<tr><td colspan="2" class="skip">{more}</td></tr>'
    return (
        f"<h2>similarity {pair.similarity:.3f}</h2><p>{escape_html(pair.why)}</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def _draw_lines(kept: str, dropped: str) -> Iterator[str]:
    """Rows of both texts side by side; long runs of equal lines are left out and counted."""
    left, right = kept.split("\n"), dropped.split("\n")
    matcher = SequenceMatcher(None, left[:MAX_LINES], right[:MAX_LINES], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal" and b - a > 2 * CONTEXT_LINES:
            yield from _draw_rows(left[a : a + CONTEXT_LINES], right[c : c + CONTEXT_LINES], "")
            equal = f"{b - a - 2 * CONTEXT_LINES:,} equal lines"
            yield f'<tr><td colspan="2" class="skip">{equal}</td></tr>'
            yield from _draw_rows(left[b - CONTEXT_LINES : b], right[d - CONTEXT_LINES : d], "")
        else:
            yield from _draw_rows(left[a:b], right[c:d], "" if tag == "equal" else "changed")
    rest = max(0, len(left) - MAX_LINES), max(0, len(right) - MAX_LINES)
    if any(rest):
        cells = "".join(f'<td class="skip">{count:,} more lines</td>' for count in rest)
        yield f"<tr>{cells}</tr>"


def _draw_rows(left: Sequence[str], right: Sequence[str], tag: str) -> Iterator[str]:
    for place in range(max(len(left), len(right))):
        cells = ""
        for side, name in ((left, "kept"), (right, "gone")):
            text = escape_html(clip(side[place], MAX_LINE_CHARACTERS)) if place < len(side) else ""
            mark = f' class="{name}"' if tag and place < len(side) else ""
            cells += f"<td{mark}>{text}</td>"
        yield f"<tr>{cells}</tr>"
