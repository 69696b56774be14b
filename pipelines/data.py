"""The command `codekiln data`: what lies in a data root, whole or damaged, and where it is from."""

import sys
from collections.abc import Callable, Sequence

from components.artifacts.archives import ARCHIVE_SUFFIX, spell_archive
from components.artifacts.artifact import Artifact
from components.artifacts.documents import DOCUMENTS, read_documents
from components.artifacts.errors import CodekilnError, ConfigError
from components.artifacts.inspection import find_damage, list_artifacts
from components.artifacts.storage import open_storage
from components.artifacts.tokens import SPLITS, TOKENS, TokenShard, read_tokens
from components.artifacts.tracing import Span, trace_tokens
from components.stage.command import EXIT_FAILED, OneLineParser, one_line
from components.stage.config import unknown_name
from components.stage.execution import Execution
from components.stage.step import find_step, step_names

USAGE = """\
codekiln data: look into what the steps made

  codekiln data ls [--data-root DIR]
                                    artifacts: step, key, digest, size
  codekiln data show ARTIFACT       what an artifact is, holds and comes from
  codekiln data verify ARTIFACT ... read every file again and name the damaged ones
  codekiln data explain ARTIFACT (--block N | --token N) [--split training] [--length N]
                                    the documents that training tokens are of
  codekiln data export ARTIFACT --format jsonl-zst --out DIR
                                    documents as GPT-Code-Clippy's JSON lines in zstd

ARTIFACT: its folder, or a folder with a copy of its manifest, such as a step of a run.
"""

SHORT_HASH = 16


def run_data(argv: Sequence[str]) -> int:
    """Run one of the commands; the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "ls": _list,
        "show": _show,
        "verify": _verify,
        "explain": _explain,
        "export": _export,
    }
    if argv[0] not in commands:
        raise unknown_name("command", argv[0], set(commands), "codekiln data")
    return commands[argv[0]](argv[1:])


def _parser(name: str, description: str) -> OneLineParser:
    return OneLineParser(prog=f"codekiln data {name}", description=description, allow_abbrev=False)


def _list(argv: Sequence[str]) -> int:
    parser = _parser("ls", "List the finished artifacts of a data root.")
    parser.add_argument("--data-root", default=Execution().data_root, metavar="DIR")
    root = parser.parse_known(argv).data_root
    artifacts = list(list_artifacts(open_storage(root)))
    if not artifacts:
        _write(f"no artifacts in {root!r}: give --data-root, or run something")
    for artifact in artifacts:
        manifest = artifact.manifest
        size = sum(entry.bytes for entry in manifest.files)
        _write(
            f"{manifest.step:<16} {manifest.key}  {manifest.digest[:SHORT_HASH]}  "
            f"{size / 1e6:>10.2f} MB"
        )
    return 0


def _show(argv: Sequence[str]) -> int:
    parser = _parser("show", "Say what an artifact is, holds and comes from.")
    parser.add_argument("artifact", metavar="ARTIFACT")
    artifact = Artifact.open(parser.parse_known(argv).artifact)
    manifest = artifact.manifest
    _write(f"{manifest.step} version {manifest.version}, kind {manifest.kind}")
    _write(f"key     {manifest.key}\ndigest  {manifest.digest}\nin      {artifact.storage.uri}")
    for name, parent in sorted(manifest.parents.items()):
        _write(f"from    {name}: {parent.step} {parent.key}, digest {parent.digest[:SHORT_HASH]}")
    for part in dict.fromkeys(entry.part for entry in manifest.files):
        entries = manifest.part(part)
        rows, size = (sum(getattr(entry, name) for entry in entries) for name in ("rows", "bytes"))
        _write(f"part    {part}: {len(entries)} files, {rows:,} rows, {size / 1e6:.2f} MB")
    for name, number in sorted(manifest.tally.counts.items()):
        _write(f"count   {name}: {number:,}")
    for reason, (files, size) in sorted(manifest.tally.drops.items()):
        _write(f"drop    {reason}: {files:,} files, {size / 1e6:.2f} MB")
    for name, value in sorted(manifest.measures.items()):
        _write(f"measure {name}: {value:g}")
    return 0


def _verify(argv: Sequence[str]) -> int:
    parser = _parser("verify", "Read every file again; exit 1 where one is damaged.")
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT")
    damaged = False
    for uri in parser.parse_known(argv).artifacts:
        try:
            artifact = Artifact.open(uri)
        except CodekilnError as error:
            _write(f"damaged: {one_line(error)}")
            damaged = True
            continue
        step = artifact.manifest.step
        undigested = find_step(step).undigested if step in step_names() else frozenset[str]()
        damage = find_damage(artifact, undigested)
        for line in damage:
            _write(f"damaged: {line}")
        if not damage:
            _write(f"whole: {len(artifact.manifest.files)} files in {artifact.storage.uri}")
        damaged |= bool(damage)
    return EXIT_FAILED if damaged else 0


def _explain(argv: Sequence[str]) -> int:
    parser = _parser(
        "explain",
        "Name the documents that tokens are of. A training error names the token that its batch "
        "begins at; blocks are counted from the first token.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", help="an artifact of kind tokens")
    parser.add_argument("--split", choices=SPLITS, default=SPLITS[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--block", type=int, metavar="N", help="a block, from 0")
    where.add_argument("--token", type=int, metavar="N", help="a token, from 0")
    parser.add_argument(
        "--length",
        type=int,
        default=0,
        metavar="N",
        help="tokens of a block, or from --token on (default: as packed, or 1)",
    )
    arguments = parser.parse_known(argv)
    if arguments.length < 0:
        raise ConfigError(f"expected --length of at least 1, got {arguments.length}")
    shards = read_tokens(Artifact.open(arguments.artifact, TOKENS), arguments.split)
    if arguments.token is None:
        length = _block_length(shards, arguments.length)
        start = arguments.block * length
    else:
        length, start = arguments.length or 1, arguments.token
    spans = trace_tokens(shards, start, start + length)
    _write(f"{arguments.split} tokens {start:,} to {spans[-1].stop - 1:,}:")
    for span in spans:
        _write(_describe(span))
    return 0


def _block_length(shards: Sequence[TokenShard], given: int) -> int:
    packed = next((shard.blocks.block_length for shard in shards if shard.blocks), 0)
    if given and packed not in (0, given):
        raise ConfigError(f"expected --length {packed}, as packed, got {given}: leave it out")
    if not (given or packed):
        raise ConfigError(
            "expected --length N with --block, got none: these tokens are a stream, which training "
            "cuts into blocks of its model.context_length"
        )
    return given or packed


def _describe(span: Span) -> str:
    tokens = f"  {span.start:,} to {span.stop - 1:,}"
    if span.source is None:
        return f"{tokens}  padding"
    source = span.source
    last = span.document_start + span.stop - span.start - 1
    return (
        f"{tokens}  {source['repo']}@{source['commit']}  {source['path']}  {source['license']}  "
        f"sha256 {source['sha256'][:SHORT_HASH]}  its tokens {span.document_start:,} to {last:,} "
        f"of {span.document_tokens:,}"
    )


def _export(argv: Sequence[str]) -> int:
    parser = _parser("export", "Write documents for other programs, a file for each shard.")
    parser.add_argument("artifact", metavar="ARTIFACT", help="an artifact of kind documents")
    parser.add_argument("--format", choices=("jsonl-zst",), required=True)
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    arguments = parser.parse_known(argv)
    artifact, out = Artifact.open(arguments.artifact, DOCUMENTS), open_storage(arguments.out)
    held = out.names()
    if held:
        raise ConfigError(
            f"expected an empty folder for --out, got {held[0]!r} in {out.uri}: give another"
        )
    for entry in artifact.part(DOCUMENTS):
        if not entry.rows:
            continue  # an archive of nothing is taken for a damaged one
        name = f"{entry.index:05d}{ARCHIVE_SUFFIX}"
        out.create(name, spell_archive(read_documents(artifact, entry).to_pylist()))
        _write(f"{out.uri}/{name}  {entry.rows:,} files")
    return 0


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
