"""The model card: the README.md of the model folder, in Hugging Face's form.

Its sections are those of GPT-Code-Clippy's card, with results as PyCodeGPT's README gives them.
Every number is read from the run's own artifacts.
"""

import json
from collections.abc import Mapping
from typing import Any

from components.publishing.corpus import TRAINING_FILES_NAME
from components.publishing.facts import Facts
from components.publishing.quantities import spell_bytes, spell_count, spell_files, spell_share
from components.publishing.risks import describe_risks
from components.publishing.tables import (
    AUTHOR_TITLES,
    HUMANEVAL,
    benchmark_title,
    benchmarks_of,
    bound_of_none,
    describe_start,
    in_text,
    lowest_k,
    markdown_amounts,
    markdown_funnel,
    markdown_table,
    published_results,
    spell_published,
    spell_sampling,
    spell_setting,
    warnings_of,
)
from components.stage.escaping import escape_markdown

SNIPPET = '''from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # the folder that this card lies in
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)

prompt = \'\'\'def greet(name):
    """Return a greeting for a person of this name."""
\'\'\'
input_ids = tokenizer(prompt, return_tensors="pt").input_ids
output = model.generate(input_ids, max_new_tokens=48, do_sample=True, temperature=0.2, top_p=0.95)
print(tokenizer.decode(output[0]))
'''
"""How to use the model; a test runs it as it stands on the card."""


def write_model_card(facts: Facts) -> str:
    """Spell the card: front matter, then its sections."""
    sections = (
        _front_matter(facts),
        f"# {escape_markdown(facts.config.title)}",
        _description(facts),
        _training_data(facts),
        _procedure(facts),
        _intended_use(),
        describe_risks(facts),
        f"## How to use\n\n```python\n{SNIPPET}```",
        _evaluation(facts),
        _sandbox(facts),
        _reproduction(facts),
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(facts: Facts) -> str:
    """The card's metadata as YAML; its strings are JSON, which YAML contains."""
    lines = ["---", "language:", "- code", "license: other"]
    lines += ["license_name: licenses-of-the-training-data", "license_link: DATA_CARD.md"]
    lines += ["library_name: transformers", "pipeline_tag: text-generation"]
    lines += ["tags:", "- code", "- gpt_neo", "- codekiln"]
    lines += [
        f"- {json.dumps(language.lower())}"
        for language in sorted(facts.corpus.languages)
        if language.isprintable() and language.lower() != "code"
    ]
    lines += ["metrics:", "- code_eval", "model-index:"]
    lines += [f"- name: {json.dumps(facts.config.title)}", "  results:"]
    for name, score in benchmarks_of(facts).items():
        kind = "openai_humaneval" if name == HUMANEVAL else name
        lines += [
            "  - task:",
            "      type: text-generation",
            "    dataset:",
            f"      type: {json.dumps(kind)}",
            f"      name: {json.dumps(benchmark_title(name))}",
            "    metrics:",
        ]
        for k, bounds in score["pass_at_k"].items():
            lines += [
                f"    - name: pass@{int(k)}",
                "      type: code_eval",
                f"      value: {float(bounds['value'])!r}",
                "      verified: false",
            ]
    return "\n".join([*lines, "---"])


def _description(facts: Facts) -> str:
    shape = facts.architecture
    measures = facts.measures
    heads, hidden = shape["num_heads"], shape["hidden_size"]
    return f"""## Model description

A GPT-Neo of {spell_count(measures["parameters"])} parameters, \
{escape_markdown(describe_start(facts))} to continue source code. It has {shape["num_layers"]} \
layers that attend {_attention(shape)}, {heads} \
heads, hidden size {hidden}, a context of {shape["max_position_embeddings"]:,} tokens with learned \
positions, and a vocabulary of {shape["vocab_size"]:,} tokens whose input and output embeddings \
are tied.

It read {spell_count(measures["tokens_trained"])} tokens. On held-out repositories it needs \
{measures["bits_per_byte"]:.3f} bits per byte; the same model before training needs \
{measures["bits_per_byte_untrained"]:.3f}."""


def _training_data(facts: Facts) -> str:
    corpus = facts.corpus
    training, validation = corpus.splits["training"], corpus.splits["validation"]
    return f"""## Training data

{spell_files(training[0])} ({spell_bytes(training[1])}, \
{spell_count(corpus.tokens["training"])} tokens) to train on, {spell_files(validation[0])} \
({spell_bytes(validation[1])}) of other repositories held out. Together they come from \
{len(corpus.repositories):,} repositories. One token stands for {corpus.bytes_per_token:.2f} \
bytes. `{TRAINING_FILES_NAME}` lists every file with its repository, commit, path, licence and \
sha256. More is in [the data card](DATA_CARD.md).

{markdown_funnel(facts)}

### Languages

{markdown_amounts("language", corpus.languages)}

### Licences

The weights are given no licence of their own. This is what the training data carries; where a \
file names a choice of licences, the whole expression is one row.

{markdown_amounts("licence", corpus.licenses)}"""


def _attention(shape: Mapping[str, Any]) -> str:
    """Who sees how far: a window as wide as the context is none."""
    window = shape["window_size"]
    if window >= shape["max_position_embeddings"]:
        return f"globally (the window of {window} tokens of every other one is never reached)"
    return f"globally and to a window of {window} tokens in turn"


def _procedure(facts: Facts) -> str:
    rows = [(name, spell_setting(value)) for name, value in facts.settings("model").items()]
    return f"""## Training procedure

Causal language modeling, {escape_markdown(describe_start(facts))}. `provenance.json` holds the \
whole configuration of every step.

```bash
codekiln run {facts.config.recipe}
```

{markdown_table(("training setting", "value"), rows)}"""


def _intended_use() -> str:
    return """## Intended use and limitations

For research: on how data, tokenizer and training shape a code model, and as a baseline. The model \
was not tuned to follow instructions, and not for any one use or language. It continues text; it \
neither knows whether what it writes is right nor says so. The results below say what it can do. \
It comes with no guarantee of the quality of generated code."""


def _evaluation(facts: Facts) -> str:
    parts = ["## Evaluation results"]
    parts += [_result_in_words(name, score) for name, score in benchmarks_of(facts).items()]
    parts += [
        f"**Warning:** {escape_markdown(text)}" for text in warnings_of(facts, about_lines=False)
    ]
    parts += [_pass_table(facts), _published_table(facts)]
    settings = [(name, spell_setting(value)) for name, value in facts.settings("samples").items()]
    parts += [f"Samples were drawn so:\n\n{markdown_table(('setting', 'value'), settings)}"]
    parts += [f"### Why samples failed\n\n{_verdict_table(facts)}", _likelihood(facts)]
    return "\n\n".join(part for part in parts if part)


def _result_in_words(name: str, score: Mapping[str, Any]) -> str:
    """One benchmark's result; that nothing passed is said plainly."""
    title, problems = benchmark_title(name), score["problems"]
    passed, total = score["verdicts"].get("passed", 0), sum(score["verdicts"].values())
    lowest = lowest_k(score)
    if lowest is None:
        return f"**{title}: no pass@k was scored.** {passed:,} of {total:,} samples passed."
    k, bounds = lowest
    if not passed:
        return (
            f"**{title}: pass@{k} is 0.00 %.** None of {total:,} samples of {problems:,} problems "
            f"passed: the model solves nothing of it. With none of {problems:,} problems solved, "
            "the share of problems that such samples solve lies below "
            f"{spell_share(bound_of_none(problems))} with 95 % confidence."
        )
    return (
        f"**{title}: pass@{k} is {spell_share(bounds['value'], 2)}** (interval "
        f"{spell_share(bounds['low'], 2)} to {spell_share(bounds['high'], 2)}): {passed:,} of "
        f"{total:,} samples of {problems:,} problems passed."
    )


def _pass_table(facts: Facts) -> str:
    rows = [
        (
            benchmark_title(name),
            f"pass@{k}",
            spell_share(bounds["value"], 2),
            f"{spell_share(bounds['low'], 2)} to {spell_share(bounds['high'], 2)}",
            f"{score['problems']:,}",
            f"{score['n']:,}",
        )
        for name, score in benchmarks_of(facts).items()
        for k, bounds in sorted(score["pass_at_k"].items(), key=lambda item: int(item[0]))
    ]
    bootstrap = facts.scores["bootstrap"]
    head = ("benchmark", "measure", "value", "interval", "problems", "samples a problem")
    return (
        f"Intervals are {spell_share(bootstrap['level'], 0)} bootstrap intervals over problems "
        f"({bootstrap['resamples']:,} resamples).\n\n{markdown_table(head, rows)}"
    )


def _published_table(facts: Facts) -> str:
    rows = [
        (
            f"{result['model']} {result['parameters']}",
            *(spell_published(result, k) for k in (1, 10, 100)),
            spell_sampling(result),
            result["source"],
        )
        for result in published_results(facts)
    ]
    if not rows:
        return ""
    head = ("HumanEval, as published", "pass@1", "pass@10", "pass@100", "sampling", "source")
    return (
        "Others' results, from other programs that cut and sample in other ways:\n\n"
        + markdown_table(head, rows)
    )


def _verdict_table(facts: Facts) -> str:
    rows = [
        (benchmark_title(name), verdict, f"{number:,}", spell_share(number / total))
        for name, score in benchmarks_of(facts).items()
        for total in [max(1, sum(score["verdicts"].values()))]
        for verdict, number in sorted(score["verdicts"].items(), key=lambda item: -item[1])
        if number
    ]
    valid = ", ".join(
        f"{spell_share(score['syntax_valid'])} of the samples for {in_text(name)}"
        for name, score in benchmarks_of(facts).items()
    )
    table = markdown_table(("benchmark", "verdict", "samples", "share"), rows)
    return f"{table}\n\nTogether with their prompt, {valid} parse as Python."


def _likelihood(facts: Facts) -> str:
    rows = [
        (
            AUTHOR_TITLES.get(author, author),
            spell_share(line["share"]),
            f"{spell_share(line['low'])} to {spell_share(line['high'])}",
            f"{line['parsed']:,} of {line['lines']:,}",
        )
        for author, line in facts.scores["lines"].items()
    ]
    table = markdown_table(("lines that parse as Python", "share", "interval", "lines"), rows)
    measures = facts.measures
    warnings = "".join(
        f"\n\n**Warning:** {escape_markdown(text)}" for text in warnings_of(facts, about_lines=True)
    )
    return f"""### Held-out code

| bits per byte | |
|---|---:|
| trained model | {measures["bits_per_byte"]:.4f} |
| same model untrained | {measures["bits_per_byte_untrained"]:.4f} |

The models continued prefixes of held-out files; the last row is what their authors wrote there.

{table}{warnings}"""


def _sandbox(facts: Facts) -> str:
    rows = [(name, spell_setting(value)) for name, value in facts.settings("verdicts").items()]
    level = int(facts.manifest("verdicts").measures.get("isolation_level", 0))
    checks = "; ".join(
        f"{benchmark_title(name)}: {check['canonical_passed']:,} of {check['problems']:,} "
        f"reference solutions pass, and {check['empty_passed']:,} empty ones"
        for name, check in facts.scores["selfcheck"].items()
    )
    return f"""### How samples were run

Each distinct sample ran once, at isolation level L{level}, under these limits:

{markdown_table(("limit", "value"), rows)}

Model code and tests run in different processes and exchange values of builtin types alone, so a \
sample cannot write its own verdict. Samples that the sandbox could not judge count neither as \
passed nor as failed. Self-check with every run: {checks}."""


def _reproduction(facts: Facts) -> str:
    return f"""## Make it again

```bash
codekiln run {facts.config.recipe}
```

The steps up to the token shards give the same bytes on every machine that sees the same sources. \
Training gives the same weights, bit by bit, on the same hardware and software with the same \
number of threads. `provenance.json` names every artifact by what went in (`key`) and what came \
out (`digest`)."""
