"""Write the generated parts of the documentation, or check that they are in step with the code.

    python -m pipelines.documentation [--check]

Generated are the parameter table of each room's README (from the config dataclass), the table of
steps in `docs/architecture.md` and those of accelerators in `docs/sizing.md`. The text around
the markers is written by hand.
"""

import sys
from pathlib import Path

from components.cluster.accelerators import GPU_TYPES, TPU_TYPES, slices_of
from components.stage.config import Config, fields_of
from components.stage.step import Step, find_step, step_names

ROOT = Path(__file__).resolve().parents[1]
MAX_DEFAULT_LENGTH = 60


def parameters_table(config: type[Config], prefix: str = "") -> list[str]:
    """Rows of a Markdown table: name, type and range, default, meaning."""
    rows = []
    for field in fields_of(config):
        name = prefix + field.name
        if isinstance(field.hint, type) and issubclass(field.hint, Config):
            rows += parameters_table(field.hint, f"{name}.")
            continue
        default = repr(list(field.default) if isinstance(field.default, tuple) else field.default)
        if len(default) > MAX_DEFAULT_LENGTH:
            default = default[:MAX_DEFAULT_LENGTH] + " ..."
        doc = " ".join(field.doc.split()).replace("|", "\\|")
        rows.append(
            f"| `{name}` | {field.type_text} | `{default.replace('|', chr(92) + '|')}` | {doc} |"
        )
    return rows


def room_text(step: Step) -> str:
    """The generated part of a room's README."""
    head = ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join(head + parameters_table(step.config))


def steps_text() -> str:
    """The generated table of steps: command, inputs, output, version."""
    rows = ["| step | takes | makes | version | what it does |", "|---|---|---|---|---|"]
    for name in step_names():
        step = find_step(name)
        takes = ", ".join(_input_text(step, *pair) for pair in step.all_inputs().items()) or "-"
        rows.append(f"| `{name}` | {takes} | {step.kind} | {step.version} | {step.summary} |")
    return "\n".join(rows)


def _input_text(step: Step, name: str, kind: str) -> str:
    text = f"{name} ({kind})" if name != kind else name
    return text if name in step.inputs else f"{text}, optional"


def slices_text() -> str:
    """The generated table of TPU slices, with the sums that must hold."""
    rows = ["| runtime | machine | topology | chips | pods |", "|---|---|---|---|---|"]
    for tpu in TPU_TYPES:
        for part in slices_of(tpu):
            cells = (f"`{part.runtime}`", tpu.machine, part.topology, part.chips, part.pods)
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def gpus_text() -> str:
    """The generated table of GPU machines, by queue."""
    rows = ["| queue | label of the nodes | machine | GPUs |", "|---|---|---|---|"]
    for gpu in GPU_TYPES:
        for machine, count in gpu.machines:
            rows.append(f"| `{gpu.name}` | {gpu.selector} | {machine} | {count} |")
    return "\n".join(rows)


def fill(text: str, marker: str, generated: str, where: Path) -> str:
    """Put a generated text between its two markers.

    Raises:
        ValueError: a marker is missing.
    """
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"expected {begin} and {end} in {where.relative_to(ROOT)}, found none")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{generated}\n{end}{after}"


def main() -> int:
    """Write what is out of step; with --check only name it and fail."""
    pages = {
        ROOT / "components" / name / "README.md": {"parameters": room_text(find_step(name))}
        for name in step_names()
    }
    pages[ROOT / "docs" / "architecture.md"] = {"steps": steps_text()}
    pages[ROOT / "docs" / "sizing.md"] = {"slices": slices_text(), "gpus": gpus_text()}
    stale = []
    for path, parts in pages.items():
        text = filled = path.read_text()
        for marker, generated in parts.items():
            filled = fill(filled, marker, generated, path)
        if filled != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv[1:]:
                path.write_text(filled)
    if stale:
        verb = "out of step, run `make docs`" if "--check" in sys.argv[1:] else "written"
        sys.stderr.write(f"documentation {verb}: {', '.join(stale)}\n")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
