"""Rows that both cards and the report show: the funnel, licences, hyper-parameters, results."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.tally import Amount
from components.publishing.facts import DOCUMENT_INPUTS, Facts
from components.publishing.funnel import Stage
from components.publishing.licenses import UNKNOWN, is_copyleft
from components.publishing.quantities import ratio, spell_bytes, spell_share
from components.stage.escaping import escape_markdown

HUMANEVAL = "humaneval"
BENCHMARK_TITLES = {HUMANEVAL: "HumanEval", "easy": "easy set"}
AUTHOR_TITLES = {
    "trained": "trained model",
    "untrained": "same model untrained",
    "real": "real code",
}


def funnel_stages(facts: Facts) -> list[Stage]:
    """The steps that documents flow through."""
    manifests = [facts.manifest(name) for name in DOCUMENT_INPUTS]
    return [Stage(manifest.step, manifest.tally) for manifest in manifests]


def largest_first(totals: Mapping[str, Amount]) -> list[tuple[str, Amount]]:
    """Amounts by name, the most bytes first."""
    return sorted(totals.items(), key=lambda item: (-item[1][1], item[0]))


def gather_small(rows: Sequence[tuple[str, Amount]], limit: int) -> list[tuple[str, Amount]]:
    """The first rows of a long table, and the sum of the others in one more."""
    if len(rows) <= limit:
        return list(rows)
    others = [amount for _, amount in rows[limit:]]
    total = (sum(files for files, _ in others), sum(size for _, size in others))
    return [*rows[:limit], (f"{len(others)} others", total)]


def describe_start(facts: Facts) -> str:
    """Where training started, within a sentence: `from scratch` only where that is true."""
    if not facts.pretrained:
        return "trained from scratch"
    return f"trained further from the given weights of {facts.pretrained}"


def license_shares(facts: Facts) -> tuple[float, float]:
    """Shares of the training bytes under a copyleft licence, and under none that is known."""
    licenses, total = facts.corpus.licenses, facts.corpus.bytes
    copyleft = sum(size for name, (_, size) in licenses.items() if is_copyleft(name))
    return ratio(copyleft, total), ratio(licenses.get(UNKNOWN, (0, 0))[1], total)


def benchmark_title(name: str) -> str:
    """A benchmark's name as a reader knows it."""
    return BENCHMARK_TITLES.get(name, name)


def in_text(name: str) -> str:
    """A benchmark's name within a sentence."""
    title = benchmark_title(name)
    return f"the {title}" if name == "easy" else title


def benchmarks_of(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """The scores by benchmark, HumanEval first."""
    scores: dict[str, Mapping[str, Any]] = facts.scores["benchmarks"]
    return {
        name: scores[name] for name in sorted(scores, key=lambda name: (name != HUMANEVAL, name))
    }


def warnings_of(facts: Facts, *, about_lines: bool) -> list[str]:
    """What scoring warns of: of lines that parse, or of the benchmarks, whose names come first."""
    starts = tuple(f"{name}: " for name in facts.scores["benchmarks"])
    texts: list[str] = facts.scores.get("warnings", [])
    return [text for text in texts if text.startswith(starts) != about_lines]


def passed_share(score: Mapping[str, Any]) -> float:
    """Share of a benchmark's samples that passed."""
    return ratio(score["verdicts"].get("passed", 0), sum(score["verdicts"].values()))


def lowest_k(score: Mapping[str, Any]) -> tuple[int, Mapping[str, float]] | None:
    """The least k of pass@k with its interval; None where no k was scored."""
    by_k = {int(k): bounds for k, bounds in score["pass_at_k"].items()}
    return (min(by_k), by_k[min(by_k)]) if by_k else None


def published_results(facts: Facts) -> list[Mapping[str, Any]]:
    """Other models' HumanEval as scoring quotes it, in per cent; empty where it quotes none."""
    results: list[Mapping[str, Any]] = facts.scores.get("published", [])
    return results


def spell_published(result: Mapping[str, Any], k: int) -> str:
    """A published figure; empty where none was published."""
    value = result[f"pass_at_{k}"]
    return "" if value is None else f"{value:.2f} %"


def spell_sampling(result: Mapping[str, Any]) -> str:
    """How a published model was sampled, as far as its source says."""
    n, temperature = result["samples_per_problem"], result["temperature"]
    parts = [f"n {n}" if n else "", f"T {temperature}" if temperature else ""]
    return ", ".join(part for part in parts if part)


def bound_of_none(num_problems: int, level: float = 0.95) -> float:
    """The greatest share of solvable problems that still leaves none solved, one-sided.

    A bootstrap over problems of which none was solved gives the interval 0 to 0. This is the exact
    binomial bound instead, `1 - (1 - level) ** (1 / n)`: about 3 / n.
    """
    return float(1 - (1 - level) ** (1 / max(1, num_problems)))


def spell_setting(value: Any) -> str:
    """A config value in a table's cell."""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}"
    return str(value)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the cells are escaped here, the first column is flush left."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(escape_markdown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def markdown_amounts(kind: str, totals: Mapping[str, Amount], limit: int = 40) -> str:
    """A Markdown table of files and bytes by name, the most bytes first."""
    whole = sum(size for _, size in totals.values())
    return markdown_table(
        (kind, "files", "size", "share"),
        [
            (name, f"{files:,}", spell_bytes(size), spell_share(ratio(size, whole)))
            for name, (files, size) in gather_small(largest_first(totals), limit)
        ],
    )


def markdown_funnel(facts: Facts) -> str:
    """The funnel as a Markdown table: what each step kept, and what it dropped for which reason."""
    rows: list[tuple[str, ...]] = []
    for stage in funnel_stages(facts):
        rows.append((f"into {stage.name}", f"{stage.came[0]:,}", spell_bytes(stage.came[1])))
        rows += [
            (f"dropped by {stage.name}: {reason}", f"\u2212{files:,}", f"\u2212{spell_bytes(size)}")
            for reason, (files, size) in stage.reasons
        ]
    rows.append(("kept", f"{stage.kept[0]:,}", spell_bytes(stage.kept[1])))
    return markdown_table(("step", "files", "size"), rows)
