"""The data card: what the corpus holds, where it is from, and how it was made.

Its questions are those of Datasheets for Datasets (arXiv 1803.09010), as far as a run can answer
them from its own artifacts.
"""

from components.publishing.corpus import LISTED_COLUMNS, TRAINING_FILES_NAME
from components.publishing.facts import DOCUMENT_INPUTS, Facts
from components.publishing.quantities import spell_bytes, spell_count
from components.publishing.tables import (
    markdown_amounts,
    markdown_funnel,
    markdown_table,
    spell_setting,
)
from components.stage.escaping import escape_markdown


def write_data_card(facts: Facts) -> str:
    """Spell the card."""
    sections = (
        f"# The training data of {escape_markdown(facts.config.title)}",
        _composition(facts),
        _collection(facts),
        _cleaning(facts),
        _tokens(facts),
        _listing(),
        _LIMITS,
    )
    return "\n\n".join(sections) + "\n"


def _composition(facts: Facts) -> str:
    corpus = facts.corpus
    splits = markdown_table(
        ("split", "files", "size", "tokens"),
        [
            (split, f"{files:,}", spell_bytes(size), spell_count(corpus.tokens[split]))
            for split, (files, size) in corpus.splits.items()
        ],
    )
    return f"""## What it holds

Source files with their provenance, from {len(corpus.repositories):,} repositories, split by \
repository: no repository is in both splits.

{splits}

### Languages

{markdown_amounts("language", corpus.languages)}

### Licences

Read from the metadata of each file's repository. The text of the files stays under these \
licences; this folder holds none of it.

{markdown_amounts("licence", corpus.licenses, limit=1000)}"""


def _collection(facts: Facts) -> str:
    return f"""## Where it is from

{markdown_amounts("source", facts.corpus.sources)}

No person was asked for consent; the code carries the licences above. \
Whether all of it is public was not checked: the source `installed` takes what is installed on \
the machine that crawls."""


def _cleaning(facts: Facts) -> str:
    settings = "\n\n".join(
        f"### Settings of {facts.manifest(name).step}\n\n"
        + markdown_table(
            ("setting", "value"),
            [(key, spell_setting(value)) for key, value in facts.settings(name).items()],
        )
        for name in DOCUMENT_INPUTS
    )
    return f"""## What was taken out

{markdown_funnel(facts)}

{settings}"""


def _tokens(facts: Facts) -> str:
    manifest = facts.manifest("tokenizer")
    rows = [(key, spell_setting(value)) for key, value in facts.settings("tokenizer").items()]
    return f"""## How it became tokens

Tokenizer `{manifest.digest[:16]}`; one token stands for {facts.corpus.bytes_per_token:.2f} bytes \
of this corpus.

{markdown_table(("tokenizer setting", "value"), rows)}"""


def _listing() -> str:
    columns = ", ".join(f"`{column}`" for column in LISTED_COLUMNS)
    return f"""## Every file

`{TRAINING_FILES_NAME}` has one JSON object a line for every packed file: {columns}, `split`. The \
sha256 is of the cleaned text in UTF-8, as the tokenizer read it. To ask whether a text was \
trained on, hash it and look it up."""


_LIMITS = """## What it is not

Not checked for vulnerabilities or offensive text; for secrets and personal data only as far as \
the settings above say. Not representative of private code. Languages are told by file name, \
licences by metadata: both can be wrong."""
