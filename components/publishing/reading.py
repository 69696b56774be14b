"""The report's sections to read: what the model wrote, what was taken out, where things lie."""

from collections.abc import Mapping, Sequence

from components.publishing.facts import Facts, Row, read_ledger
from components.publishing.page import Section, draw_note, draw_table
from components.publishing.quantities import spell_bytes, spell_seconds
from components.publishing.results import VERDICT_TITLES
from components.publishing.tables import AUTHOR_TITLES, benchmark_title, benchmarks_of
from components.stage.escaping import clip, escape_html

MAX_CODE_CHARACTERS = 3_000
SHORT_HASH = 12


def describe_samples(facts: Facts) -> Section:
    """Prompts, completions and verdicts of some problems of each benchmark."""
    verdicts = {_identify(row): row for row in facts.verdicts}
    parts = [
        draw_note(
            "Of each benchmark: problems that some sample solved, then the first that none solved, "
            "half and half where there are enough. A solved problem shows its first passing "
            "sample, the others their first."
        )
    ]
    for name in reversed(benchmarks_of(facts)):  # the easier ones first: more of them read well
        chosen = choose_samples(facts.samples, verdicts, name, facts.config.num_sample_problems)
        if chosen:
            parts.append(f"<h3>{escape_html(benchmark_title(name))}</h3>")
        parts += [_draw_sample(sample, verdicts[_identify(sample)]) for sample in chosen]
    return Section("samples", "Samples to read", "".join(parts))


def choose_samples(
    samples: Sequence[Row],
    verdicts: Mapping[tuple[str, str, float, int], Row],
    benchmark: str,
    num_problems: int,
) -> list[Row]:
    """One sample each of some problems: solved ones first, at most half where others are left.

    Args:
        samples: of all benchmarks, in the benchmark's order.
        verdicts: by benchmark, task, temperature and sample.
        benchmark: the one to choose of.
        num_problems: how many to choose at most.
    """
    solved: dict[str, Row] = {}
    first: dict[str, Row] = {}
    for sample in samples:
        if sample["benchmark"] != benchmark:
            continue
        first.setdefault(sample["task_id"], sample)
        if verdicts[_identify(sample)]["verdict"] == "passed":
            solved.setdefault(sample["task_id"], sample)
    unsolved = [sample for task, sample in first.items() if task not in solved]
    num_solved = max(num_problems - len(unsolved), (num_problems + 1) // 2)
    chosen = list(solved.values())[: min(num_solved, num_problems)]
    return chosen + unsolved[: num_problems - len(chosen)]


def _identify(row: Row) -> tuple[str, str, float, int]:
    return row["benchmark"], row["task_id"], row["temperature"], row["sample"]


def _draw_sample(sample: Row, verdict: Row) -> str:
    passed = "good" if verdict["verdict"] == "passed" else "bad"
    name = str(verdict["verdict"])
    label = VERDICT_TITLES.get(name, name)
    detail = f": {verdict['detail']}" if verdict["detail"] else ""
    about = (
        f"sample {sample['sample']}, temperature {sample['temperature']:g}, "
        f"{sample['num_tokens']} tokens, ended by {sample['finish']}"
    )
    return (
        f'<article class="sample"><header><b>{escape_html(sample["task_id"])}</b>'
        f'<span class="chip {passed}">{escape_html(label + detail)}</span>'
        f'<span class="aside">{escape_html(about)}</span></header><div class="pair">'
        f"<div><h4>prompt</h4>{_draw_code(sample['prompt'])}</div>"
        f"<div><h4>completion</h4>{_draw_code(sample['completion'], 'ours')}</div></div></article>"
    )


def _draw_code(text: str, style: str = "") -> str:
    if not text.strip():
        return '<p class="note">nothing but white space</p>'
    shown = clip(text.strip("\n"), MAX_CODE_CHARACTERS)
    return f'<pre class="{style}"><code>{escape_html(shown)}</code></pre>'


def describe_continuations(facts: Facts) -> Section:
    """Held-out prefixes, and how the trained model, the untrained and the real author went on."""
    by_index: dict[int, dict[str, Row]] = {}
    for row in facts.continuations:
        by_index.setdefault(row["index"], {})[row["author"]] = row
    chosen = sorted(by_index)[: facts.config.num_continuations]
    body = "".join(_draw_continuation(by_index[index]) for index in chosen)
    none = draw_note("None were generated.")
    return Section("continuations", "Held-out code, continued", body or none)


def _draw_continuation(authors: Mapping[str, Row]) -> str:
    row = next(iter(authors.values()))
    styles = {"trained": "ours", "real": "real", "untrained": "other"}
    columns = "".join(
        f"<div><h4>{AUTHOR_TITLES[author]}</h4>{_draw_code(authors[author]['text'], style)}</div>"
        for author, style in styles.items()
        if author in authors
    )
    return (
        f'<article class="sample"><header><b>{escape_html(row["repo"])}</b>'
        f'<span class="aside">{escape_html(row["path"])}</span></header>'
        f"<h4>prefix</h4>{_draw_code(row['prefix'])}"
        f'<div class="triple">{columns}</div></article>'
    )


def describe_places(facts: Facts) -> Section:
    """Every step with its identity, its cost, and where its artifact lies."""
    rows = []
    for artifact in facts.inputs.values():
        manifest, ledger = artifact.manifest, read_ledger(artifact)
        rows.append(
            [
                escape_html(manifest.step),
                f"<code>{escape_html(manifest.key[:SHORT_HASH])}</code>",
                f"<code>{escape_html(manifest.digest[:SHORT_HASH])}</code>",
                f"<code>{escape_html(artifact.storage.uri)}</code>",
                spell_seconds(ledger["seconds"]) if "seconds" in ledger else "",
                spell_bytes(ledger["peak_rss_bytes"]) if "peak_rss_bytes" in ledger else "",
            ]
        )
    text = (
        "A key names what was computed, a digest what came out. Time and memory are those of the "
        "run that made the artifact; a later run finds it and makes nothing."
    )
    head = ("step", "key", "digest", "artifact", "time", "peak memory")
    return Section(
        "places", "Where everything lies", f"<p>{text}</p>{draw_table(head, rows, texts=4)}"
    )
