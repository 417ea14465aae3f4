"""The command line: parse, call, report. Commands are imported when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from local_opus import __version__, interrupts, invocation
from local_opus.errors import (
    BadInputError,
    ExitCode,
    InterruptedRunError,
    LocalOpusError,
    did_you_mean,
)
from local_opus.report import errors, streams

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Name, module below local_opus.cli, help. The help stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "install": ("install", "Take this machine to a profile (the default command)."),
    "detect": ("detect", "Show what this machine is and what OpenVINO can use."),
    "verify": ("verify", "Prove weights: a verdict for every file."),
    "models": ("models", "The catalog and the store of weights."),
    "start": ("start", "Start the server."),
    "stop": ("stop", "Stop the server."),
    "status": ("status", "Show what runs, which model, and where."),
    "chat": ("chat", "Ask the running model."),
    "logs": ("logs", "Show what the server printed."),
    "receipt": ("receipt", "Show what an install did to this machine."),
    "upgrade": ("upgrade", "Bring what is installed to this version, or back."),
    "uninstall": ("uninstall", "Take an install back."),
    "completion": ("completion", "Print the completion script of a shell."),
}
_GROUP_OPTIONS = {"--help", "-h", "--version"}
#: Their exit code tells what became of the machine, whether or not their words were read.
_CHANGING = {"install", "upgrade", "uninstall", "start", "stop"}
_NARROWEST = 40
_ONLY_TELLING = _GROUP_OPTIONS | {"--dry-run"}


class LazyGroup(click.Group):
    """Imports a command's module when the command is called; no command means install."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of the registry."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"local_opus.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is a usage error with the nearest name."""
        if args and args[0] not in COMMANDS:
            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"{args[0]}: no such command.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``install`` in front where no command is named.

        Not while a shell completes words: there, the command is what is looked for.
        """
        no_command = not args and not ctx.resilient_parsing
        if no_command or (args and args[0].startswith("-") and args[0] not in _GROUP_OPTIONS):
            args = ["install", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands; where an option begins, those of ``install`` too."""
        found = super().shell_complete(ctx, incomplete)
        install = self.get_command(ctx, "install") if incomplete.startswith("-") else None
        known = {item.value for item in found}
        more = install.shell_complete(ctx, incomplete) if install is not None else []
        return found + [item for item in more if item.value not in known]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without a command it is `install`. Each command has its own --help.",
)
@click.version_option(__version__, prog_name="local-opus")
@click.option("--debug", is_flag=True, help="Show tracebacks on the screen (with any command).")
def group(*, debug: bool) -> None:
    """Turn this machine into a verified local inference node, and take it back."""


def _tell(message: str, remedy: str) -> None:
    errors.tell(LocalOpusError(message, remedy))


def _write_traceback() -> str:
    """Return the name of a new log with the traceback; with no room for one, show it."""
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


def run(call: Callable[[], object], *, debug: bool = False) -> int:
    """Call; turn what it raises into lines on standard error and an exit code."""
    try:
        result = call()
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: all is told
        if debug:
            traceback.print_exc()
        known = _known(error)
        if known is None:
            known = LocalOpusError(
                f"{type(error).__name__}: {error}", f"Report it with {_write_traceback()}."
            )
        errors.tell(known)
        return int(known.exit_code)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)


def _known(error: BaseException) -> LocalOpusError | None:
    """Return what is no fault of this program as an error with its remedy."""
    if isinstance(error, LocalOpusError):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else invocation.name()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Without ``arguments`` this is the program itself, and takes over signals and streams.
    """
    is_program = arguments is None
    words = list(sys.argv[1:] if arguments is None else arguments)
    if is_program:
        streams.take_over()
        interrupts.raise_on_signals()
    # --debug may stand anywhere before a `--`: who repeats a failed command adds it at the end.
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end] or bool(os.environ.get("LOCAL_OPUS_DEBUG"))
    words = [word for word in words[:end] if word != "--debug"] + words[end:]

    def call() -> object:
        _tidy_surroundings()
        return group.main(words, prog_name=invocation.name(), standalone_mode=False)

    code = run(call, debug=debug)
    if is_program:
        interrupts.ignore_signals()
        code = _tell_lost_words(words, code)
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


def _tell_lost_words(words: Sequence[str], code: int) -> int:
    """Say that standard output took no more (a full disk); return the exit code that follows."""
    problem = streams.lost()
    if problem is None:
        return code
    _tell(
        f"standard output: {(problem.strerror or str(problem)).lower()}; not all was told",
        "Send the output where there is room.",
    )
    command = words[0] if words and not words[0].startswith("-") else "install"
    changing = command in _CHANGING and not _ONLY_TELLING & {*words}
    return code if changing or code != ExitCode.DONE else int(ExitCode.FAILED)
