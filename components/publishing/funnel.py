"""The corpus funnel as one picture: a stream that narrows, and what leaves it at each step."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.artifacts.tally import Amount, Tally
from components.publishing.charts import draw_picture
from components.publishing.quantities import ratio, spell_bytes, spell_files
from components.stage.escaping import escape_html

WIDTH = 1000.0
STREAM_TOP = 50.0
STREAM_HEIGHT = 150.0
"""Height of everything that was found."""

DROP_BOTTOM = 262.0
NUM_REASONS = 3
LINE = 15.0
MAX_REASON_CHARACTERS = 24


@dataclass(frozen=True)
class Stage:
    """One step of the funnel."""

    name: str
    tally: Tally

    @property
    def came(self) -> Amount:
        """Files and bytes that came in."""
        return self.tally.counts.get("files_in", 0), self.tally.counts.get("bytes_in", 0)

    @property
    def kept(self) -> Amount:
        """Files and bytes that were kept."""
        return self.tally.counts.get("files", 0), self.tally.counts.get("bytes", 0)

    @property
    def reasons(self) -> list[tuple[str, Amount]]:
        """Why documents were dropped, the most bytes first."""
        return sorted(self.tally.drops.items(), key=lambda item: (-item[1][1], item[0]))

    @property
    def dropped(self) -> Amount:
        """Files and bytes that were dropped."""
        amounts = self.tally.drops.values()
        return sum(files for files, _ in amounts), sum(size for _, size in amounts)


def draw_funnel(stages: Sequence[Stage], start: str) -> str:
    """Draw the stream from what came to what was kept at the end, heights by bytes.

    Args:
        stages: in order.
        start: name of what comes into the first.
    """
    found = max(1, stages[0].came[1])
    spacing = (WIDTH - 130) / len(stages)
    parts = [_DEFINITIONS, _draw_head(0.0, start, stages[0].came)]
    for index, stage in enumerate(stages):
        parts.append(_draw_stage(stage, index * spacing, spacing, found))
    lines = max(min(NUM_REASONS, len(stage.reasons)) for stage in stages)
    height = DROP_BOTTOM + 40 + LINE * lines + (LINE if lines == NUM_REASONS else 0)
    return draw_picture(WIDTH, height, "Bytes kept and dropped by each step", parts)


_DEFINITIONS = (
    '<defs><linearGradient id="fade" x1="0" y1="0" x2="0" y2="1">'
    '<stop class="fade-start" offset="0"/><stop class="fade-start" offset="0.35"/>'
    '<stop class="fade-end" offset="1"/></linearGradient></defs>'
)


def _draw_head(x: float, name: str, amount: Amount) -> str:
    files, size = amount
    return (
        f'<text class="stage" x="{x:.1f}" y="14">{escape_html(name)}</text>'
        f'<text class="tick" x="{x:.1f}" y="31">{spell_bytes(size)}, {spell_files(files)}</text>'
    )


def _draw_stage(stage: Stage, x: float, spacing: float, found: int) -> str:
    """The stream through one step, from `x` to the bar of what it kept."""
    came = STREAM_HEIGHT * stage.came[1] / found
    kept = STREAM_HEIGHT * stage.kept[1] / found
    end = x + spacing
    parts = [
        f'<rect class="stream" x="{x:.1f}" y="{STREAM_TOP}" width="{spacing:.1f}" '
        f'height="{max(kept, 1):.1f}"/>',
        f'<rect class="post" x="{end - 3:.1f}" y="{STREAM_TOP}" width="6" '
        f'height="{max(kept, 1):.1f}"/>',
        _draw_head(end - 3, stage.name, stage.kept),
    ]
    if stage.reasons:
        parts.append(_draw_drop(stage, x, came, kept))
    return "".join(parts)


def _draw_drop(stage: Stage, x: float, came: float, kept: float) -> str:
    """What leaves the stream: it bends down and fades, its reasons below."""
    thickness = max(came - kept, 1.0)
    left, right = x + 22, x + 22 + thickness
    above, below = STREAM_TOP + kept, STREAM_TOP + kept + thickness
    turn = below + 26
    path = (
        f"M{x:.1f},{above:.1f} C{x + 0.7 * (right - x):.1f},{above:.1f} {right:.1f},"
        f"{above + 0.3 * (turn - above):.1f} {right:.1f},{turn:.1f} L{right:.1f},{DROP_BOTTOM} "
        f"L{left:.1f},{DROP_BOTTOM} L{left:.1f},{turn:.1f} C{left:.1f},{below + 8:.1f} "
        f"{left - 8:.1f},{below:.1f} {x:.1f},{below:.1f} Z"
    )
    size = stage.dropped[1]
    share = ratio(size, stage.came[1])
    lines = [f"\u2212{spell_bytes(size)} ({100 * share:.0f} %)"]
    lines += [
        f"{_shorten(reason)} {spell_bytes(amount[1])}"
        for reason, amount in stage.reasons[:NUM_REASONS]
    ]
    if len(stage.reasons) > NUM_REASONS:
        lines.append(f"and {len(stage.reasons) - NUM_REASONS} more reasons")
    text = "".join(
        f'<text class="{"drop-total" if index == 0 else "tick"}" x="{left:.1f}" '
        f'y="{DROP_BOTTOM + 18 + LINE * index:.1f}">{escape_html(line)}</text>'
        for index, line in enumerate(lines)
    )
    return f'<path class="drop" d="{path}"/>{text}'


def _shorten(reason: str) -> str:
    spelled = reason.replace("_", " ")
    if len(spelled) <= MAX_REASON_CHARACTERS:
        return spelled
    return spelled[: MAX_REASON_CHARACTERS - 3] + "..."
