"""Documents are repeated by stars as published, and functions join as documents of their own."""

import ast
import hashlib
import math
import sysconfig
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.artifact import Artifact
from components.artifacts.tokens import read_tokens
from components.model.text import TextCodec
from components.packing.functions import dedent, extract_functions
from components.packing.weighting import copies_of

STDLIB = Path(sysconfig.get_path("stdlib"))
SAMPLE = sorted(STDLIB.glob("*.py")) + sorted((STDLIB / "email").glob("*.py"))

fragments = st.lists(
    st.sampled_from(
        [
            *(
                "def f(a,",
                "b):",
                "def g():\n",
                "async def h(x):\n",
                "class C:\n",
                "\n",
                " ",
                "    ",
            ),
            *('"""doc"""', "'''", '"""', '"', "'", "\\", "#", "(", ")", "]", "\t", "x = 1\n"),
            *("return f\n", "\r\n", "\r", "\x00", "\x0c", "\u00e9", ":", "r"),
        ]
    ),
    max_size=60,
).map("".join)


def hashes(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


@pytest.mark.parametrize("stars", [0, 9, 999, 99_999, 10**7])
def test_the_mean_number_of_copies_is_pycodegpts_weight(stars: int) -> None:
    weight = 1 + min(math.log10(stars + 1), 5) / 5
    copies = [copies_of(stars, sha256, 1.0) for sha256 in hashes(4000)]
    assert sum(copies) / len(copies) == pytest.approx(weight, abs=0.03)
    assert {*copies} <= {math.floor(weight), math.ceil(weight)}


def test_no_weight_and_no_stars_repeat_nothing_and_more_stars_never_less() -> None:
    for sha256 in hashes(200):
        assert copies_of(10**6, sha256, 0.0) == copies_of(0, sha256, 9.0) == 1
        assert copies_of(-1, sha256, 9.0) == 1
        counts = [copies_of(stars, sha256, 2.5) for stars in (0, 3, 50, 800, 20_000, 10**6)]
        assert counts == sorted(counts)


def test_every_extracted_function_of_the_standard_library_parses_and_is_documented() -> None:
    found = 0
    for path in SAMPLE:
        source = path.read_text(encoding="utf-8")
        for name, text in extract_functions(source, 30):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # sources with odd escapes
                [node] = ast.parse(text).body
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            assert node.name == name.rpartition(".")[2]
            assert ast.get_docstring(node, clean=False) is not None
            assert len(node.body) >= 2
            assert text.count("\n") <= 30
            found += 1
    assert found > 1000


def test_nearly_all_short_documented_functions_of_a_module_are_found() -> None:
    """Against `ast`: those at the top level and in classes whose docstring has triple quotes."""
    wanted, found = set(), set()
    for path in SAMPLE:
        source = path.read_text(encoding="utf-8")
        lines = source.split("\n")
        found |= {(path.name, name) for name, _ in extract_functions(source, 30)}
        for owner, prefix in _owners(ast.parse(source)):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    short = node.end_lineno - node.lineno < 30
                    documented = ast.get_docstring(node, clean=False) is not None
                    first = lines[node.body[0].lineno - 1].lstrip(" rRuU")
                    quoted = first.startswith(('"' * 3, "'" * 3))
                    if short and documented and quoted and len(node.body) >= 2:
                        wanted.add((path.name, prefix + node.name))
    assert len(wanted & found) > 0.98 * len(wanted)


def _owners(tree: ast.Module) -> list[tuple[ast.Module | ast.ClassDef, str]]:
    owners: list[tuple[ast.Module | ast.ClassDef, str]] = [(tree, "")]
    for owner, prefix in owners:
        owners += [
            (node, f"{prefix}{node.name}.") for node in owner.body if isinstance(node, ast.ClassDef)
        ]
    return owners


FAKE = 'text="""\ndef fake():\n    "no" ' + "'" * 3 + '\n"""'

SOURCE = '''\
import os


class Outer:
    """A class."""

    x = "def no(): QQQ"

    class Inner:
        @property
        def size(
            self,  # a comment with ( in it
        ) -> int:  # and one here:
            r"""How large.

            Not small.
            """
            def nested():
                """Not on its own."""
                return 1

            return (self.a +
self.b)

        def stub(self):
            """Documented, and no more."""

    async def run(self, text="""
def fake():
    "no" QQQ
"""):
        QQQRuns.QQQ
        return [1,
                2]  # done

    # a comment after
    def plain(self):
        return 2


def last(a): \\
    return a


def good():
    u"""Good."""

    # why
    return {1: 2}
'''.replace("QQQ", "'" * 3)


def test_methods_are_dedented_and_named_by_their_classes() -> None:
    found = dict(extract_functions(SOURCE, 30))
    assert found.keys() == {"good"}, "text that leaves the indentation is left out"
    tidy = SOURCE.replace("\nself.b", "\n                    self.b").replace(
        FAKE, 'text="def fake():"'
    )
    found = dict(extract_functions(tidy, 30))
    assert found.keys() == {"Outer.Inner.size", "Outer.run", "good"}
    assert found["good"] == 'def good():\n    u"""Good."""\n\n    # why\n    return {1: 2}\n'
    assert found["Outer.run"].startswith("async def run(self")
    assert found["Outer.run"].endswith("            2]\n")
    assert '"""How large.\n\n    Not small.\n    """\n' in found["Outer.Inner.size"]
    assert extract_functions(tidy, 3) == []


@pytest.mark.parametrize("broken", ["(", "'", '"""', ")", "[1}"])
def test_where_strings_or_brackets_do_not_balance_the_scan_ends_with_what_it_has(
    broken: str,
) -> None:
    good = 'def good():\n    """Good."""\n    return 1\n\n\n'
    source = good + f"x = {broken}\n\n\n" + good.replace("good", "behind")
    assert [name for name, _ in extract_functions(source, 30)] == ["good"]


@given(st.one_of(st.text(max_size=200), fragments))
def test_what_is_extracted_stands_in_the_dedented_source(source: str) -> None:
    indents = {line[: len(line) - len(line.lstrip(" \t"))] for line in source.split("\n")}
    for _, text in extract_functions(source, 30):
        assert any(text[:-1] in dedent(source, indent) for indent in indents)


def test_a_hostile_source_takes_linear_time_and_no_stack() -> None:
    for source in (
        '"""' + '\\"' * 500_000,
        "(" * 1_000_000,
        "def f():\n" * 100_000,
        "".join(" " * depth + "class C:\n" for depth in range(1500)),
        ('x = """' + "a" * 50) * 20_000,
    ):
        assert extract_functions(source, 30) == []


@pytest.fixture
def rows(document: Any) -> list[dict[str, Any]]:
    """Modules with functions, in repositories with and without stars."""
    made = []
    for number in range(24):
        functions = "\n\n".join(
            f'def area_{number}_{i}(width):\n    """Area {i}."""\n    return width * {i}\n'
            for i in range(6)
        )
        filler = "\n".join(f"value_{i} = {i * number}" for i in range(30))
        made.append(
            document(
                f"{number}.py",
                f"{functions}\n\n{filler}\n",
                repo=f"me/r{number % 8}",
                stars=10**5 * (number % 2),
                language="Python" if number % 3 else "C",
            )
        )
    return made


@pytest.fixture
def tokenizer(make_step: Any, documents_of: Any, rows: Any) -> Artifact:
    artifact: Artifact = make_step(
        "tokenizer", {"documents": documents_of(rows)}, vocabulary_size=300
    ).artifact
    return artifact


def test_starred_documents_are_repeated_and_counted_and_validation_is_not(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    inputs = {"documents": documents_of(rows[:11], rows[11:]), "tokenizer": tokenizer}
    made = make_step("packing", inputs, validation_fraction=0.4, star_weight=1.0).artifact
    stars = {row["sha256"]: row["stars"] for row in rows}
    seen: dict[str, int] = {}
    repeated = tokens = 0
    for shard in read_tokens(made, "training"):
        for number, sha256 in enumerate(shard.sources["sha256"].to_pylist()):
            seen[sha256] = seen.get(sha256, 0) + 1
            if seen[sha256] > 1:
                repeated += 1
                tokens += int(shard.offsets[number + 1] - shard.offsets[number])
    assert all(count == (2 if stars[sha256] else 1) for sha256, count in seen.items())
    counts = made.manifest.tally.counts
    assert made.manifest.measures["tokens_repeated"] == tokens
    assert counts["documents_repeated"] == repeated > 0
    assert counts["tokens_repeated"] == tokens
    assert counts["files"] == len(rows)
    for shard in read_tokens(made, "validation"):
        held = shard.sources["sha256"].to_pylist()
        assert len(held) == len({*held})


def test_functions_make_up_their_share_with_their_provenance(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact
) -> None:
    inputs = {"documents": documents_of(rows), "tokenizer": tokenizer}
    made = make_step("packing", inputs, validation_fraction=0.4, function_share=0.1).artifact
    counts, codec = made.manifest.tally.counts, TextCodec.from_artifact(tokenizer)
    share = counts["tokens_functions"] / counts["tokens_training"]
    assert share == pytest.approx(0.1, abs=0.02)
    contents = {(row["repo"], row["path"]): row for row in rows}
    [shard] = read_tokens(made, "training")
    functions = []
    for number, source in enumerate(shard.sources.to_pylist()):
        if "::" not in source["path"]:
            continue
        path, _, name = source["path"].partition("::")
        row = contents[source["repo"], path]
        ids = shard.ids[shard.offsets[number] : shard.offsets[number + 1]].tolist()
        text = codec.decode(ids[:-1])
        assert ids[-1] == codec.eos_id
        assert text in textwrap.dedent(row["content"])
        assert text.startswith(f"def {name}(")
        assert row["language"] == "Python"
        assert source["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert source["license"] == row["license"]
        assert source["commit"] == row["commit"]
        functions.append(source["sha256"])
    assert functions == sorted(functions)
    assert len(functions) == counts["documents_functions"]
    assert counts["functions_found"] > len(functions)


@pytest.mark.parametrize("max_copies", [1, 3])
def test_too_few_functions_are_all_taken_as_often_as_allowed(
    make_step: Any, documents_of: Any, rows: Any, tokenizer: Artifact, max_copies: int
) -> None:
    made = make_step(
        "packing",
        {"documents": documents_of(rows), "tokenizer": tokenizer},
        validation_fraction=0.4,
        function_share=0.9,
        function_max_copies=max_copies,
    ).artifact
    counts = made.manifest.tally.counts
    assert counts["documents_functions"] == max_copies * counts["functions_found"]
    assert counts["tokens_functions"] < 0.9 * counts["tokens_training"]
    summary = made.storage.read("summary.md").decode()
    assert f"{counts['documents_functions']:,} documents short functions" in summary
