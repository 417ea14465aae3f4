"""``completion``: the script that a shell reads to complete this program's words."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script of SHELL.

    \b
    bash:  local-opus completion bash > ~/.local/share/bash-completion/completions/local-opus
    zsh:   local-opus completion zsh > "${fpath[1]}/_local-opus"
    fish:  local-opus completion fish > ~/.config/fish/completions/local-opus.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"{shell}: no completion for this shell", ctx)
    click.echo(
        completion(ctx.find_root().command, {}, "local-opus", "_LOCAL_OPUS_COMPLETE").source()
    )
