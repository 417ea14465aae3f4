"""``keys``: who may ask the server, and the keys of clouds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.keys import ring, store
    from local_opus.locations import Locations

#: Characters that are read of standard input at most, to see that a key is too long.
_READ = 4096
_CLOUDS = click.Choice(["anthropic", "openai"])


@click.group()
def command() -> None:
    """Say who may ask the server: from the first key on, every request has to carry one.

    Clients send it as OpenAI's do (Authorization: Bearer KEY) or as Anthropic's (x-api-key: KEY).
    """


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the names of keys that begin with what is typed; to who may not read them, none."""
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import LocalOpusError
    from local_opus.keys import ring

    host = open_host()
    try:
        shown = ring.look(host, find_install(host, ctx.params.get("scope")))
    except LocalOpusError:
        return []
    return [one.name for one in shown.clients if one.name.startswith(incomplete)]


@command.command("add")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.option(
    "--own", is_flag=True, help="Take the key from a prompt or standard input; make none."
)
@options.scope
@options.as_json
def add(names: tuple[str, ...], scope: str | None, *, own: bool, as_json: bool) -> None:
    """Make a key for each NAME and show it once: only its SHA-256 is kept.

    A server that runs is started anew, once for all of them, as systemd reads credentials then.
    Keys that standard output does not take are taken back.
    """
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError
    from local_opus.keys import ring, words
    from local_opus.report import streams

    if own and len(names) > 1:
        raise BadInputError("keys add --own: more than one name", "Add them one by one.")
    for name in names:
        words.checked_name(name)
    given = words.checked(_secret(f"The key of {names[0]}"), "keys add --own") if own else None
    host = open_host()
    locations = find_install(host, scope)
    changed = ring.add(host, locations, names, given)
    if as_json:
        keys = [{"name": name, "key": None if own else key} for name, key in changed.keys.items()]
        try:
            _end_json(host, locations, changed, keys=keys)
        finally:
            if not own and streams.unseen():
                _take_back(host, locations, changed, restart=True)
        return
    for name, key in changed.keys.items():
        click.echo(f"{name}: kept" if own else f"{name}: {key}")
    if not own and streams.unseen():
        _take_back(host, locations, changed, restart=False)
    if not own:
        click.echo("Shown this once: only the SHA-256 is kept.", err=True)
    _end(host, locations, changed)


@command.command("list")
@options.scope
@options.as_json
def list_keys(scope: str | None, *, as_json: bool) -> None:
    """Show whose keys are kept, and whether one is wanted; never a key."""
    import json

    from local_opus.cli.context import find_install, open_host
    from local_opus.keys import ring

    host = open_host()
    shown = ring.look(host, find_install(host, scope))
    if as_json:
        document = {
            "required": shown.required,
            "encrypted": shown.sealed,
            "keys": [{"name": one.name, "added": one.added} for one in shown.clients],
            "clouds": [{"name": name, "encrypted": on} for name, on in shown.clouds.items()],
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"keys are {'required' if shown.required else 'not required'}")
    for one in shown.clients:
        click.echo(f"{one.name}  added {one.added}")
    for name, sealed in shown.clouds.items():
        how = "encrypted by systemd" if sealed else "a file of mode 0600"
        click.echo(f"cloud {name}  {how}; nothing reads it yet")


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_key)
@options.scope
@options.as_json
def remove(names: tuple[str, ...], scope: str | None, *, as_json: bool) -> None:
    """Remove the keys of each NAME: from now on they are wrong.

    Also after the last a key is wanted, until `keys require off`.
    """
    from local_opus.cli.context import find_install, open_host
    from local_opus.keys import ring

    host = open_host()
    locations = find_install(host, scope)
    changed = ring.remove(host, locations, names)
    if as_json:
        _end_json(host, locations, changed, removed=list(names))
        return
    click.echo(f"removed: {', '.join(names)}")
    _end(host, locations, changed)


@command.command("require")
@click.argument("state", type=click.Choice(["on", "off"]))
@options.scope
@options.as_json
def require(state: str, scope: str | None, *, as_json: bool) -> None:
    """Want a key of every request, or of none; what is kept stays.

    on also makes again what is missing of the credentials and their place in the units, and a
    damaged key of the node's own.
    """
    import json

    from local_opus.cli.context import find_install, open_host
    from local_opus.keys import changing, ring

    host = open_host()
    locations = find_install(host, scope)
    if state == "on":
        changed = ring.require(host, locations)
        if as_json:
            _end_json(host, locations, changed)
        else:
            click.echo("keys are required")
            _end(host, locations, changed)
        return
    restarted = ring.require_no_more(host, locations) and changing.restart(host, locations)
    if as_json:
        click.echo(json.dumps({"required": False, "server_restarted": restarted}))
    else:
        click.echo("keys are not required: whoever reaches the port can use the server")


@command.command("set-cloud")
@click.argument("cloud", type=_CLOUDS)
@options.scope
@options.as_json
def set_cloud(cloud: str, scope: str | None, *, as_json: bool) -> None:
    """Keep the key of CLOUD, from a prompt or standard input.

    It is for profiles that ask a cloud; nothing of this version reads it.
    """
    import json

    from local_opus.cli.context import find_install, open_host
    from local_opus.keys import cloud as clouds
    from local_opus.keys import words

    key = words.checked(_secret(f"The key of {cloud}"), "keys set-cloud")
    host = open_host()
    kept = clouds.keep(host, find_install(host, scope), cloud, key)
    if as_json:
        click.echo(json.dumps({"cloud": cloud, "encrypted": kept.sealed, "path": kept.path}))
        return
    click.echo(f"{cloud}: {_how(kept)}; nothing of this version reads it")


@command.command("remove-cloud")
@click.argument("cloud", type=_CLOUDS)
@options.scope
@options.as_json
def remove_cloud(cloud: str, scope: str | None, *, as_json: bool) -> None:
    """Remove the key of CLOUD."""
    import json

    from local_opus.cli.context import find_install, open_host
    from local_opus.keys import cloud as clouds

    host = open_host()
    clouds.forget(host, find_install(host, scope), cloud)
    click.echo(json.dumps({"removed": cloud}) if as_json else f"removed: {cloud}")


def _secret(what: str) -> str:
    """Return what a prompt without echo or standard input gives. Raises BadInputError for neither.

    A key on the command line could be read by everybody, in the list of processes.
    """
    from local_opus.errors import BadInputError

    stream = sys.stdin
    if stream is not None and not stream.closed and stream.isatty():
        return str(click.prompt(what, hide_input=True, err=True, default="", show_default=False))
    try:
        text = "" if stream is None or stream.closed else stream.read(_READ)
    except UnicodeDecodeError:
        raise BadInputError(
            "standard input: no UTF-8 text, so it is no key", "Give the key as one line of text."
        ) from None
    if not text.strip():
        raise BadInputError(
            "no terminal, and nothing on standard input: nobody gives the key",
            "Give it as standard input, for example from a file: `< FILE`.",
        )
    return text


def _take_back(host: Host, locations: Locations, added: ring.Changed, *, restart: bool) -> NoReturn:
    """Take back keys that nobody was shown, also from a server. Raises LocalOpusError."""
    from local_opus.errors import LocalOpusError
    from local_opus.keys import changing, ring

    names = " ".join(added.keys)
    unseen = f"standard output: takes nothing, so nobody has seen the new keys ({names})"
    try:
        ring.take_back(host, locations, added)
    except (LocalOpusError, OSError) as error:
        raise LocalOpusError(
            f"{unseen}, and they could not be taken back: {error}",
            f"Run `local-opus keys remove {names}`.",
        ) from error
    try:
        if restart:
            changing.restart(host, locations)
    except LocalOpusError as error:
        raise LocalOpusError(
            f"{unseen}; they were taken back, and {error.message}", error.remedy
        ) from error
    raise LocalOpusError(
        f"{unseen}; they were taken back", "Run it again with the output where it can be read."
    )


def _end(host: Host, locations: Locations, changed: ring.Changed) -> None:
    """Say where the digests lie, and have a server that runs take them."""
    from local_opus.keys import changing

    click.echo(f"The digests of the keys are {_how(changed.kept)}.", err=True)
    if changing.restart(host, locations):
        click.echo("The server was started anew with them.", err=True)


def _end_json(host: Host, locations: Locations, changed: ring.Changed, **more: object) -> None:
    """As ``_end``; the document comes also where the server does not: it holds the keys."""
    import json

    from local_opus.keys import changing

    document = {
        **more,
        "required": changed.required,
        "encrypted": changed.kept.sealed,
        "path": changed.kept.path,
        "why_not_encrypted": changed.kept.why_plain,
    }
    restarted = False
    try:
        restarted = changing.restart(host, locations)
    finally:
        click.echo(json.dumps({**document, "server_restarted": restarted}, indent=1))


def _how(kept: store.Kept) -> str:
    if kept.sealed:
        return f"encrypted by systemd in {kept.path}"
    why = f" ({kept.why_plain})" if kept.why_plain else ""
    return f"in {kept.path}, mode 0600, not encrypted{why}"
