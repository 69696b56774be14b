"""How many tokens a text takes: by language, on documents that the tokenizer did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.model.encoding import BatchEncoder
from components.tokenizer.sample import Text

BATCH = 256


@dataclass(slots=True)
class Fertility:
    """Sums over documents of one language, or over all of them."""

    documents: int = 0
    num_bytes: int = 0
    lines: int = 0
    tokens: int = 0

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a token stands for; 0 where there is no token."""
        return self.num_bytes / self.tokens if self.tokens else 0.0

    @property
    def tokens_per_line(self) -> float:
        """Tokens of a line, its newline counted; 0 where there is no line."""
        return self.tokens / self.lines if self.lines else 0.0

    def add(self, text: Text, tokens: int) -> None:
        """Count a document."""
        self.documents += 1
        self.num_bytes += text.size
        self.lines += text.content.count("\n") + (not text.content.endswith("\n"))
        self.tokens += tokens


def measure_fertility(encoder: BatchEncoder, texts: Sequence[Text]) -> dict[str, Fertility]:
    """Fertility by language, and of all under the empty name."""
    table = {"": Fertility()}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        for text, ids in zip(batch, encoder.encode([t.content for t in batch]), strict=True):
            table[""].add(text, len(ids))
            table.setdefault(text.language, Fertility()).add(text, len(ids))
    return table


def fertility_markdown(table: dict[str, Fertility]) -> str:
    """The table for people: all documents first, then the languages with the most bytes."""
    order = sorted(table.items(), key=lambda item: (item[0] != "", -item[1].num_bytes, item[0]))
    lines = [
        "| language | documents | MB | bytes per token | tokens per line |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name or 'all'} | {row.documents:,} | {row.num_bytes / 1e6:.2f} "
        f"| {row.bytes_per_token:.3f} | {row.tokens_per_line:.2f} |"
        for name, row in order
    ]
    return "\n".join(lines) + "\n"
