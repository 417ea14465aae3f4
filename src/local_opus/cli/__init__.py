"""The command line: parse, call, report."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

import click
from click.core import ParameterSource

from local_opus import interrupts, invocation
from local_opus.cli.options import is_on
from local_opus.cli.registry import COMMANDS, GROUP_OPTIONS, group
from local_opus.errors import (
    BadInputError,
    ExitCode,
    InterruptedRunError,
    LocalOpusError,
)
from local_opus.report import errors, streams
from local_opus.report.lines import JsonLines

#: Their exit code tells what became of the machine, whether or not their words were read.
_CHANGING = {"install", "upgrade", "uninstall", "start", "stop", "tune", "keys"}
_NARROWEST = 40
_PATH = re.compile(r"(?:^|[\s(])/\w")
#: Folders are made 0755 at once: a kill before the next call must not leave one closed to others.
_UMASK = 0o022
_ONLY_TELLING = GROUP_OPTIONS | {"--dry-run"}


def _write_traceback() -> str:
    """Return the name of a new log with the traceback; with no room for one, show it."""
    import tempfile
    import traceback

    text = traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="local-opus-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(text)
            return log.name
    except OSError:
        sys.stderr.write(text)
        return "the lines above"


def run(call: Callable[[], object], *, debug: bool = False, lines: JsonLines | None = None) -> int:
    """Call; turn what it raises into lines on standard error, a JSON line, and an exit code."""
    try:
        result = call()
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: all is told
        if debug:
            import traceback

            traceback.print_exc()
        known = _known(error)
        if known is None:
            known = LocalOpusError(
                f"{type(error).__name__}: {error}", f"Report it with {_write_traceback()}."
            )
        if lines is not None and lines.image is not None:
            _name_image(known, lines.image)
        errors.tell(known, lines)
        return int(known.exit_code)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)


def _name_image(error: LocalOpusError, image: str) -> None:
    """Say that the paths of an error are those of an image.

    What is wrong in the user's words is told as they are; those paths are this machine's.
    """
    if isinstance(error, BadInputError) or image in error.message:
        return
    if _PATH.search(error.message):
        error.message = f"in the image {image}: {error.message}"


def _known(error: BaseException) -> LocalOpusError | None:
    """Return what is no fault of this program as an error with its remedy."""
    if isinstance(error, LocalOpusError):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else invocation.name()
        if isinstance(error, click.BadParameter) and (variable := _variable(error)) is not None:
            return BadInputError(
                f"{variable}: {error.message}", f"Correct or unset that variable: `{path} --help`."
            )
        return BadInputError(error.format_message(), f"See `{path} --help`.")
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return InterruptedRunError("interrupted", "Run the same command again to go on.")
    if isinstance(error, OSError) and error.filename is not None:
        where = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return LocalOpusError(
            f"{where}: {(error.strerror or type(error).__name__).lower()}",
            "Look at that path and its permissions, then run this again.",
        )
    return None


def _variable(error: click.BadParameter) -> str | None:
    """Return the environment variable whose word is wrong; None where it was typed."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return None
    source = error.ctx.get_parameter_source(error.param.name)
    name = error.param.envvar
    return name if source is ParameterSource.ENVIRONMENT and isinstance(name, str) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Without ``arguments`` this is the program itself, and takes over signals, streams and umask.
    """
    is_program = arguments is None
    words = list(sys.argv[1:] if arguments is None else arguments)
    if is_program:
        streams.take_over()
        interrupts.raise_on_signals()
        os.umask(_UMASK)
    # --debug may stand anywhere before a `--`: who repeats a failed command adds it at the end.
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end] or bool(os.environ.get("LOCAL_OPUS_DEBUG"))
    # What is wrong in the words themselves is told before click reads --json from them.
    as_json = "--json" in words[:end] or is_on(os.environ.get("LOCAL_OPUS_JSON", ""))
    words = [word for word in words[:end] if word != "--debug"] + words[end:]

    lines = JsonLines(words[0] if words and words[0] in COMMANDS else "install")
    lines.wanted = as_json

    def call() -> object:
        _tidy_surroundings()
        return group.main(words, prog_name=invocation.name(), standalone_mode=False, obj=lines)

    code = run(call, debug=debug, lines=lines)
    if is_program:
        interrupts.ignore_signals()
        code = _tell_lost_words(words, code, as_json=lines.wanted)
    return code


def _tidy_surroundings() -> None:
    """Leave a working folder that was deleted, and widen a screen that can't hold a word.

    Neither we nor our children can start from such a folder; at COLUMNS=0 nothing would be shown.
    """
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


def _tell_lost_words(words: Sequence[str], code: int, *, as_json: bool) -> int:
    """Say that standard output took no more (a full disk); return the exit code that follows.

    What was done stays done; a program that reads the lines has lost their end.
    """
    problem = streams.lost()
    if problem is None:
        return code
    what = f"standard output: {(problem.strerror or str(problem)).lower()}; not all was told"
    errors.tell(LocalOpusError(what, "Send the output where there is room."))
    command = words[0] if words and not words[0].startswith("-") else "install"
    changing = command in _CHANGING and not _ONLY_TELLING & {*words}
    told = changing and not as_json
    return code if told or code != ExitCode.DONE else int(ExitCode.FAILED)
