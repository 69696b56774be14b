"""A step as a command: the one that a person types is the one that a Kubernetes Job runs.

codekiln dedup --documents DIR --output DIR [--config FILE] [--threshold 0.7] [--workers 2]
"""

import argparse
import contextlib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from components.artifacts.errors import CodekilnError, ConfigError
from components.stage.config import Config, fields_of, unknown_name
from components.stage.execution import ERROR_NAME, Execution, execute
from components.stage.lifeline import SUPERVISOR_VARIABLE, die_with_parent
from components.stage.progress import logger, stop_logging
from components.stage.step import Step

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, and names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}: see {self.prog} --help")

    def parse_known(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse, and refuse unknown flags with the nearest known one."""
        known, unknown = self.parse_known_args(argv)
        if unknown and not unknown[0].startswith("-"):
            raise ConfigError(f"expected no {unknown[0]!r} after the arguments: see {self.prog} -h")
        if unknown:
            flags = {option for action in self._actions for option in action.option_strings}
            raise unknown_name("flag", unknown[0].split("=")[0], flags, self.prog)
        return known


def step_parser(step: Step) -> OneLineParser:
    """The flags of a step: inputs, output, execution, and one per config field."""
    inputs = "".join(f"--{name.replace('_', '-')} DIR " for name in step.inputs)
    parser = OneLineParser(
        prog=f"codekiln {step.name}",
        usage=f"codekiln {step.name} {inputs}--output DIR [--config FILE] [--NAME VALUE ...]",
        description=step.summary,
        allow_abbrev=False,
    )
    places = parser.add_argument_group("artifacts")
    for name, kind in step.inputs.items():
        places.add_argument(
            f"--{name.replace('_', '-')}",
            required=True,
            metavar="DIR",
            help=f"an artifact of kind {kind}, or a folder with a copy of its manifest",
        )
    places.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="where the copy of the manifest, the summary and the metrics go",
    )
    places.add_argument("--log", type=Path, metavar="FILE", help="a file that gets every log line")
    add_config_flags(
        parser.add_argument_group("execution (never changes what comes out)"), Execution
    )
    identity = parser.add_argument_group("config (what is computed)")
    identity.add_argument("--config", type=Path, metavar="FILE", help="the config as a JSON file")
    add_config_flags(identity, step.config)
    return parser


def add_config_flags(
    group: "argparse._ArgumentGroup",
    config: type[Config],
    prefix: str = "",
    default: str | None = None,
) -> None:
    """One flag a field, nested configs with a dot, the documentation as help.

    Args:
        group: where the flags go.
        config: whose fields.
        prefix: of the flags' names.
        default: what the help says of the default; None shows the config's own.
    """
    for field in fields_of(config):
        dotted = prefix + field.name
        if isinstance(field.hint, type) and issubclass(field.hint, Config):
            add_config_flags(group, field.hint, f"{dotted}.", default)
            continue
        help_text = " ".join(field.doc.split()).replace("%", "%%")
        group.add_argument(
            f"--{dotted.replace('_', '-')}",
            metavar="VALUE",
            dest=f"config:{config.__name__}:{dotted}",
            help=f"{help_text} ({field.type_text}; default: {default or repr(field.default)})",
        )


def read_config_flags(arguments: argparse.Namespace, config: Config) -> Config:
    """Put the given flags over a config."""
    for name, text in vars(arguments).items():
        marker, _, rest = name.partition(":")
        if marker == "config" and text is not None:
            owner, _, dotted = rest.partition(":")
            if _owns(config, owner, dotted):
                config = config.with_text(dotted, text)
    return config


def run_step_command(step: Step, argv: Sequence[str]) -> int:
    """Run a step from its command line; the exit code."""
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if supervisor:
        die_with_parent(int(supervisor))
    parser = step_parser(step)
    return run_guarded(lambda: _run(step, parser.parse_known(argv)), step.name)


def _run(step: Step, arguments: argparse.Namespace) -> int:
    given = _read_config_file(arguments.config) if arguments.config else "{}"
    config = read_config_flags(arguments, step.config.from_json(given))
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)
    inputs = {name: getattr(arguments, name) for name in step.inputs}
    make_folder(arguments.output, "--output")
    try:
        with error_kept(arguments.output / ERROR_NAME):
            execute(step, config, inputs, arguments.output, execution, arguments.log)
    finally:
        stop_logging()
    return 0


def make_folder(path: Path, flag: str) -> None:
    """Make the folder that a flag names, with those above it.

    Raises:
        ConfigError: a file is in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"expected a folder for {flag}, got the file {str(error.filename)!r}: name another one"
        ) from None


def _read_config_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"expected a JSON file for --config, got {str(path)!r} ({type(error).__name__}): give "
            "one that exists and can be read, or leave the flag out"
        ) from None


def run_guarded(work: Callable[[], int], name: str) -> int:
    """Run a command; an error of the user becomes one line on stderr and an exit code."""
    try:
        return work()
    except (CodekilnError, OSError, MemoryError) as error:
        say(f"{name}: error: {one_line(error)}")
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except KeyboardInterrupt:
        say(f"{name}: interrupted: what was finished is kept, run again to go on")
        return EXIT_INTERRUPTED
    except Exception as error:  # a defect of codekiln: its traceback is in the log, if there is one
        say(f"{name}: internal error: {one_line(error)} ({_place(error)}): please report it")
        return EXIT_FAILED


def one_line(error: BaseException) -> str:
    """What went wrong and what to do, in one line."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"expected room to write {error.filename or 'an artifact'!r}, the disk is full: free "
            "some space (`codekiln runs` lists what lies where) and run again; "
            "nothing half-written will be read"
        )
    if isinstance(error, MemoryError):
        return "memory is short: run again with fewer --workers"
    if isinstance(error, CodekilnError):
        return " ".join(str(error).split())
    return " ".join(f"{type(error).__name__}: {error}".split())


def _place(error: BaseException) -> str:
    """Where an error was raised: file and line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def say(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"codekiln {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def error_kept(path: Path) -> Iterator[None]:
    """Leave the error's line in a file for the supervisor, and the traceback in the log."""
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.write_text(one_line(error) + "\n")
        if not isinstance(error, KeyboardInterrupt):
            for handler in logger.handlers[1:]:  # the file, not the terminal
                handler.handle(_traceback_record(error))
        raise


def _traceback_record(error: BaseException) -> logging.LogRecord:
    return logger.makeRecord(
        logger.name, 40, __file__, 0, "failed", (), (type(error), error, error.__traceback__)
    )


def _owns(config: Config, owner: str, dotted: str) -> bool:
    """Whether a flag belongs to this config or to one nested in it."""
    *path, _ = dotted.split(".")
    current: object = config
    for name in path:
        current = getattr(current, name, None)
    return type(current).__name__ == owner
