"""The commands, by their names; each is imported when it is called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from local_opus import __version__
from local_opus.errors import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Name, module below local_opus.cli, help. The help stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "install": ("install", "Take this machine to a profile (the default command)."),
    "detect": ("detect", "Show what this machine is and what OpenVINO can use."),
    "doctor": ("doctor", "Find what keeps it from working, with evidence and a fix."),
    "verify": ("verify", "Prove weights: a verdict for every file."),
    "models": ("models", "The catalog and the store of weights."),
    "start": ("start", "Start the server."),
    "stop": ("stop", "Stop the server."),
    "status": ("status", "Show what runs, which model, and where."),
    "monitor": ("monitor", "Watch every server: health, speed, memory, devices, weights."),
    "chat": ("chat", "Ask the running model."),
    "keys": ("keys", "Say who may ask the server, and keep keys of clouds."),
    "logs": ("logs", "Show what the server printed."),
    "bench": ("bench", "Measure this machine's devices against their published peaks."),
    "tune": ("tune", "Measure OpenVINO's settings here, and keep the best."),
    "receipt": ("receipt", "Show what an install did to this machine."),
    "upgrade": ("upgrade", "Bring what is installed to this version, or back."),
    "uninstall": ("uninstall", "Take an install back."),
    "completion": ("completion", "Print the completion script of a shell."),
}
GROUP_OPTIONS = {"--help", "-h", "--version"}


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
        if no_command or (args and args[0].startswith("-") and args[0] not in GROUP_OPTIONS):
            args = ["install", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Call the command. Raises click.Abort: of ^C itself click would write an empty line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

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
