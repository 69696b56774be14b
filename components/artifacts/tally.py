"""Counts that add up: what came in, what was kept, and what was dropped for which reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Amount = tuple[int, int]
"""Files and bytes."""


@dataclass
class Tally:
    """The counts of one shard or of a whole artifact. Tallies of shards add up to the whole."""

    counts: dict[str, int] = field(default_factory=dict)
    """Numbers by name, such as `files_in`, `bytes_in`, `files`, `bytes`, `tokens`."""

    drops: dict[str, Amount] = field(default_factory=dict)
    """Files and bytes dropped, by reason."""

    licenses: dict[str, Amount] = field(default_factory=dict)
    """Files and bytes kept, by SPDX licence expression."""

    languages: dict[str, Amount] = field(default_factory=dict)
    """Files and bytes kept, by language."""

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a number."""
        self.counts[name] = self.counts.get(name, 0) + amount

    def take_in(self, size: int, files: int = 1) -> None:
        """Count a document of `size` bytes that came in, or several of so many bytes together."""
        self.count("files_in", files)
        self.count("bytes_in", size)

    def keep(self, size: int, license_name: str, language: str, files: int = 1) -> None:
        """Count a document of `size` bytes that is kept, or several of one licence and language."""
        self.count("files", files)
        self.count("bytes", size)
        _add(self.licenses, license_name, (files, size))
        _add(self.languages, language, (files, size))

    def drop(self, reason: str, size: int, files: int = 1) -> None:
        """Count a document of `size` bytes that is dropped, or several for one reason."""
        _add(self.drops, reason, (files, size))

    def balance(self) -> None:
        """Check that nothing was lost silently: files in = files kept + files dropped."""
        dropped = sum(files for files, _ in self.drops.values())
        came, kept = self.counts.get("files_in", 0), self.counts.get("files", 0)
        assert came == kept + dropped, f"{came=} {kept=} {dropped=}: a document was lost"

    def to_json(self) -> dict[str, Any]:
        """The tally as a JSON value with sorted names."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "drops": {name: list(amount) for name, amount in sorted(self.drops.items())},
            "licenses": {name: list(amount) for name, amount in sorted(self.licenses.items())},
            "languages": {name: list(amount) for name, amount in sorted(self.languages.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Tally":
        """Read what `to_json` wrote."""
        return cls(
            counts={name: int(number) for name, number in value["counts"].items()},
            drops=_amounts(value["drops"]),
            licenses=_amounts(value["licenses"]),
            languages=_amounts(value["languages"]),
        )

    @classmethod
    def total(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Add tallies up."""
        whole = cls()
        for tally in tallies:
            for name, number in tally.counts.items():
                whole.count(name, number)
            for mine, other in (
                (whole.drops, tally.drops),
                (whole.licenses, tally.licenses),
                (whole.languages, tally.languages),
            ):
                for name, amount in other.items():
                    _add(mine, name, amount)
        return whole


def _add(table: dict[str, Amount], name: str, amount: Amount) -> None:
    files, size = table.get(name, (0, 0))
    table[name] = (files + amount[0], size + amount[1])


def _amounts(value: Mapping[str, Any]) -> dict[str, Amount]:
    return {name: (int(files), int(size)) for name, (files, size) in value.items()}
