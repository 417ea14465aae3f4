"""``chat``: ask the running model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.host import Host


@click.command()
@click.argument("question", nargs=-1)
@options.option("--max-tokens", type=click.IntRange(1), help="Tokens of the answer at most.")
@options.option("--temperature", type=click.FloatRange(0, 2), help="0: always the likeliest.")
@options.scope
def command(
    question: tuple[str, ...], max_tokens: int | None, temperature: float | None, scope: str | None
) -> None:
    """Ask QUESTION and print the answer as it comes; without one, talk until an empty line.

    Where the server wants a key that you may not read, set LOCAL_OPUS_API_KEY.
    """
    from local_opus import conversation
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.prompts import on_terminal
    from local_opus.errors import BadInputError, KeyNeededError
    from local_opus.report import streams

    host = open_host()
    locations = find_install(host, scope)
    limits: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
    try:
        talk = conversation.open_with(host, locations, **limits)
    except KeyNeededError:
        if not on_terminal():
            raise
        _ask_key(host)
        talk = conversation.open_with(host, locations, **limits)

    def answer(words: str) -> None:
        for piece in talk.ask(words):
            click.echo(piece, nl=False)
            if streams.reader_left():
                return
        click.echo()

    if question:
        answer(" ".join(question))
        return
    stream = sys.stdin
    if not stream.isatty():
        piped = stream.read().strip()
        if not piped:
            raise BadInputError("chat: no question", 'Ask one: local-opus chat "Who are you?"')
        answer(piped)
        return
    click.echo(f"{talk.model} at {talk.url}; an empty line ends it.")
    while True:
        typed = str(click.prompt("you", default="", show_default=False, prompt_suffix="> ")).strip()
        if not typed:
            return
        answer(typed)


def _ask_key(host: Host) -> None:
    """Ask for a client's key, without an echo, and ask the server with it from now on."""
    from local_opus.keys import words

    typed = click.prompt("This server wants a key", hide_input=True, err=True)
    key = words.checked(str(typed), "the key", shortest=1)
    host.key_for = lambda _address, _port: key
