"""Reading archives as they stream by: what tarfile reads, and nothing hostile."""

import contextlib
import gzip
import io
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.opt_out import OptOut
from components.artifacts.tally import Tally
from components.crawl.harvest import Refusals, Rules, harvest_repository
from components.crawl.source import RepositoryRef
from components.crawl.tarball import (
    ArchiveLimits,
    RefusedArchiveError,
    TarReader,
    TruncatedArchiveError,
)
from tests.github_repositories import tarball

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RULES = Rules(
    languages=frozenset({"Python", "C"}), max_file_bytes=1000, licenses=(), opt_out=OptOut()
)


def read(
    data: bytes, chunk: int = 997, limits: ArchiveLimits | None = None
) -> tuple[TarReader, Tally]:
    refusals = Refusals(RULES)
    reader = TarReader(limits or ArchiveLimits(max_file_bytes=1000), RULES.wants, refusals.note)
    for at in range(0, len(data), chunk):
        reader.feed(data[at : at + chunk])
    reader.finish()
    return reader, refusals.tally


def archive(build: Callable[[tarfile.TarFile], None], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        build(tar)
    return gzip.compress(out.getvalue(), 1)


def add(tar: tarfile.TarFile, name: str, data: bytes = b"x = 1\n", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=90)
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".py")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(paths, st.binary(max_size=1500), max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_it_reads_what_tarfile_reads(files: dict[str, bytes], form: int, chunk: int) -> None:
    data = archive(lambda tar: [add(tar, f"root/{p}", d) for p, d in files.items()], form)
    reader, tally = read(data, chunk)
    assert {one.path: one.data for one in reader.members} == {
        path: body for path, body in files.items() if len(body) <= 1000
    }
    large = [body for body in files.values() if len(body) > 1000]
    assert tally.drops == ({"too_large": (len(large), sum(map(len, large)))} if large else {})


def test_the_commit_is_that_of_the_pax_header() -> None:
    reader, _ = read(tarball({"a.py": b"x"}, COMMIT))
    assert reader.commit == COMMIT
    assert [(one.path, one.data) for one in reader.members] == [("a.py", b"x")]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_was_cut_is_never_taken_for_whole(keep: float) -> None:
    data = tarball({f"{n}.py": random.Random(n).randbytes(900) for n in range(50)}, COMMIT)
    with pytest.raises((TruncatedArchiveError, RefusedArchiveError)):
        read(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda tar: add(tar, "root/../../etc/cron.py"), "unsafe_name"),
        (lambda tar: add(tar, "/etc/cron.py"), "unsafe_name"),
        (lambda tar: add(tar, "other/cron.py"), "unsafe_name"),
        (lambda tar: add(tar, "root/a\\b.py"), "unsafe_name"),
        (lambda tar: add(tar, "root/a\nb.py"), "unsafe_name"),
        (lambda tar: add(tar, "root/l.py", b"", type=tarfile.SYMTYPE, linkname="/etc"), "link"),
        (lambda tar: add(tar, "root/l.py", b"", type=tarfile.LNKTYPE, linkname="root/b"), "link"),
        (lambda tar: add(tar, "root/f.py", b"", type=tarfile.FIFOTYPE), "special_file"),
        (lambda tar: add(tar, "root/d.py", b"", type=tarfile.CHRTYPE), "special_file"),
        (lambda tar: add(tar, "root/big.py", b"x" * 1001), "too_large"),
    ],
)
def test_a_hostile_member_is_counted_and_the_others_are_read(
    build: Callable[[tarfile.TarFile], None], reason: str
) -> None:
    def whole(tar: tarfile.TarFile) -> None:
        add(tar, "root/a.py")
        build(tar)
        add(tar, "root/z.py")

    reader, tally = read(archive(whole))
    assert [one.path for one in reader.members] == ["a.py", "z.py"]
    assert [(name, files) for name, (files, _) in tally.drops.items()] == [(reason, 1)]


def test_a_name_that_is_no_utf8_is_counted() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        add(tar, "root/a.py")
        add(tar, "root/caf\xe9.py")
    reader, tally = read(gzip.compress(out.getvalue()))
    assert [one.path for one in reader.members] == ["a.py"]
    assert list(tally.drops) == ["name_not_utf8"]


def test_names_that_differ_in_case_alone_or_come_twice_are_counted() -> None:
    def build(tar: tarfile.TarFile) -> None:
        for name in ("Readme.py", "README.py", "a.py", "a.py"):
            add(tar, f"root/{name}", name.encode())

    reader, refused = read(archive(build))
    ref = RepositoryRef(source="github", repo_id="github:1", repo="o/n", license="MIT")
    harvest = harvest_repository(ref, COMMIT, reader.members, refused, RULES)
    assert [row["path"] for row in harvest.rows] == ["README.py", "a.py"]
    assert {name: files for name, (files, _) in harvest.tally.drops.items()} == {
        "case_collision": 1,
        "seen_twice": 1,
    }
    harvest.tally.balance()


def zeros(size: int) -> Iterator[bytes]:
    """A gzipped tar with one member of so many zeros, made as it goes."""
    info = tarfile.TarInfo("root/zeros.bin")
    info.size = size
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield press.compress(info.tobuf())
    for _ in range(size >> 20):
        yield press.compress(bytes(1 << 20))
    yield press.compress(bytes(1024)) + press.flush()


@pytest.mark.parametrize("size", [1 << 30, 200 << 20])
def test_a_bomb_is_refused_before_it_is_inflated(size: int) -> None:
    """A member of 1 GB, and one that is within the bytes and past the ratio."""
    refusals = Refusals(RULES)
    reader = TarReader(ArchiveLimits(), RULES.wants, refusals.note)
    tracemalloc.start()
    with pytest.raises(RefusedArchiveError) as caught:
        any(map(reader.feed, zeros(size)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "archive_bomb"
    assert reader.inflated_bytes <= 40 << 20
    assert peak < 16 << 20


def test_too_many_members_and_headers_without_end_are_refused() -> None:
    many = archive(lambda tar: [add(tar, f"root/{n}.py", b"") for n in range(60)])  # type: ignore[func-returns-value]
    with pytest.raises(RefusedArchiveError) as caught:
        read(many, limits=ArchiveLimits(max_members=50))
    assert caught.value.reason == "too_many_members"
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(RefusedArchiveError) as caught:
        read(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    assert caught.value.reason == "archive_bomb"


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=3000))
def test_noise_is_refused_or_truncated_and_nothing_else(data: bytes) -> None:
    for noise in (data, gzip.compress(data), gzip.compress(data + bytes(512))):
        with contextlib.suppress(RefusedArchiveError, TruncatedArchiveError):
            read(noise)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 255))
def test_one_altered_byte_is_refused_or_read_and_nothing_else(place: int, value: int) -> None:
    data = bytearray(gzip.decompress(tarball({"a.py": b"x" * 300, "b.py": b"y"}, COMMIT)))
    data[place % len(data)] = value
    with contextlib.suppress(RefusedArchiveError, TruncatedArchiveError):
        read(gzip.compress(bytes(data), 1))


def test_every_file_has_its_own_name_and_language() -> None:
    """C1: GPT-Code-Clippy's rows of a repository shared one dictionary, the last file's."""
    files = {f"many/f{n}.py": f"value = {n}\n".encode() for n in range(20)}
    files |= {f"many/g{n}.c": f"int value = {n};\n".encode() for n in range(20)}
    reader, refused = read(tarball(files, COMMIT))
    ref = RepositoryRef(source="github", repo_id="github:1", repo="o/n", license="MIT")
    rows = harvest_repository(ref, COMMIT, reader.members, refused, RULES).rows
    assert {row["path"]: row["content"].encode() for row in rows} == files
    assert {row["path"]: row["language"] for row in rows} == {
        path: "Python" if path.endswith(".py") else "C" for path in files
    }
