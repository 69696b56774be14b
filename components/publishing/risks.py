"""The five risks that the Codex paper names (arXiv 2107.03374, section 7), for this model's data.

GPT-Code-Clippy's card set the headings; what stands under them is computed from the run.
"""

from components.publishing.facts import Facts
from components.publishing.quantities import ratio, spell_share
from components.publishing.tables import (
    benchmarks_of,
    funnel_stages,
    in_text,
    largest_first,
    license_shares,
    passed_share,
)
from components.stage.escaping import escape_markdown

NUM_NAMED = 3


def describe_risks(facts: Facts) -> str:
    """The card's section on risks."""
    return "\n\n".join(
        (
            "### Risks",
            _over_reliance(facts),
            _LABOR_MARKET,
            _security(facts),
            _legal(facts),
            _biases(facts),
        )
    )


def _over_reliance(facts: Facts) -> str:
    wrong = "; ".join(
        f"of its samples for {in_text(name)}, {spell_share(score['syntax_valid'])} parse "
        "together with their prompt "
        f"and {spell_share(passed_share(score), 2)} pass the tests"
        for name, score in benchmarks_of(facts).items()
    )
    return (
        "**Over-reliance.** Text that looks like code is not code that works. For this model the "
        f"gap is measured: {wrong}. Code that parses and even runs can still be wrong in ways that "
        "no one notices until later. Read and test whatever it writes before it is used."
    )


_LABOR_MARKET = (
    "**Economic and labor market.** Models that write good code may change which parts of software "
    "work are paid for, who gains from the public code they learnt from, and which packages get "
    "suggested and so used more. How much of it this model can do stands under the evaluation "
    "results; the question grows with what is built by the same means from more data and compute. "
    "Writing code is only one part of what developers do."
)


def _security(facts: Facts) -> str:
    reasons = {reason for stage in funnel_stages(facts) for reason, _ in stage.reasons}
    named = ", ".join(escape_markdown(reason.replace("_", " ")) for reason in sorted(reasons))
    rules = f"The only reasons to drop a file were {named}" if reasons else "No file was dropped"
    return (
        "**Security.** No step looks for vulnerable, buggy or malicious code. "
        f"{rules}. So the model has learnt from whatever mistakes the corpus holds and may repeat "
        "them: weak cryptography, injection, calls that are no longer safe. It may also reproduce "
        "strings of its training data. It can be sampled for harmful code on purpose. Never "
        "run what it writes outside of a sandbox."
    )


def _legal(facts: Facts) -> str:
    copyleft, unknown = license_shares(facts)
    allowed = facts.config.allowed_licenses
    rule = (
        f"Publication was limited to files under {', '.join(map(escape_markdown, allowed))}."
        if allowed
        else "No licence was refused."
    )
    return (
        f"**Legal.** The training data carries {len(facts.corpus.licenses):,} different licence "
        f"expressions; {spell_share(copyleft)} of its bytes stand under a copyleft licence and "
        f"{spell_share(unknown)} under no licence that could be read. {rule} Licences were read "
        "from metadata and can be wrong. Most of them ask for attribution, which generated text "
        "does not carry. Whether training on such code and giving out the weights needs "
        "permission, and which terms bind generated code that resembles it, is not settled and "
        "differs by country; this card is no legal advice. The list of files lets authors find "
        "their work."
    )


def _biases(facts: Facts) -> str:
    languages = largest_first(facts.corpus.languages)
    named = ", ".join(
        f"{escape_markdown(name)} {spell_share(ratio(size, facts.corpus.bytes))}"
        for name, (_, size) in languages[:NUM_NAMED]
    )
    sources = ", ".join(
        f"{escape_markdown(name)} ({files:,} files)"
        for name, (files, _) in largest_first(facts.corpus.sources)
    )
    return (
        f"**Biases.** By bytes the corpus is {named}; it comes from {sources}. The model is worse "
        "at everything rarer: other languages, private code, other styles, natural languages other "
        "than those of its comments. Whether each file of these sources is public "
        "was not checked. Nothing removes offensive or "
        "discriminating text from names and comments, and the model may repeat it."
    )
