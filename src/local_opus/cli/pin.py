"""``models pin``: a catalog entry of a repository, an address or a path."""

from __future__ import annotations

import sys
import time

import click

from local_opus.cli import options
from local_opus.weights.structure import printable

#: Seconds between two lines of progress.
_PAUSE = 0.2


class _Progress:
    """Says on standard error what is read, where a person looks at it; the entry stands alone."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show it, unless something was shown a moment ago."""
        now = time.monotonic()
        if self._shown and now - self._last >= _PAUSE:
            self._last = now
            share = f" {100 * done // total} %" if total else ""
            click.echo(f"\r\x1b[K{printable(what)}{share}", nl=False, err=True)

    def close(self) -> None:
        """Remove the line."""
        if self._shown and self._last:
            click.echo("\r\x1b[K", nl=False, err=True)


@click.command()
@click.argument("source")
@options.option("--file", help="Which GGUF of several.")
@options.option("--id", "model_id", help="The entry's id. Default: by name and quantization.")
@options.option("--size", type=click.IntRange(1), help="Of an address: the file's bytes.")
@options.option("--sha256", help="Of an address: the file's sha256, as its maker states it.")
@options.option("--mirror", multiple=True, help="Of an address: another one of the same file.")
@options.option("--license", "license_id", help="Of an address or a path: the licence.")
@options.option("--save", is_flag=True, help="Add the entry to your own catalog.")
@options.option("--replace", is_flag=True, help="With --save: in the place of one of this id.")
@options.scope
@options.as_json
def command(
    source: str,
    *,
    file: str | None,
    model_id: str | None,
    size: int | None,
    sha256: str | None,
    mirror: tuple[str, ...],
    license_id: str | None,
    save: bool,
    replace: bool,
    scope: str | None,
    as_json: bool,
) -> None:
    """Make a catalog entry of SOURCE: sizes and digests of its files, its commit, its licence.

    SOURCE is a repository of the hub (ORGANISATION/NAME, with @REVISION), an https address of a
    .gguf file, or the path of a file or folder. Nothing is fetched but what is needed to tell.
    """
    import json

    from local_opus import pinning
    from local_opus.catalog import own
    from local_opus.catalog.entry_text import dump
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError

    if replace and not save:
        raise BadInputError("--replace: says nothing without --save", "Add --save.")
    host = open_host()
    locations = find_install(host, scope)
    catalog = own.load_all(host, locations)
    if model_id is not None:
        own.require_new_id(model_id)
    asked = pinning.Asked(model_id, file, size, sha256, mirror, license_id)
    tell = _Progress()
    try:
        found = pinning.pin(host, source, asked, catalog, tell)
    finally:
        tell.close()
    own.require_new_id(found.model.id)
    saved = own.save(host, locations, found.model, replace=replace) if save else None
    if as_json:
        document = {
            "schema_version": 1,
            "model": found.model.model_dump(mode="json"),
            "entry": dump(found.model),
            "notes": [*found.notes],
            "saved": saved.value if saved else None,
            "catalog": locations.own_catalog,
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(dump(found.model), nl=False)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    if saved is not None:
        click.echo(f"{locations.own_catalog}: {found.model.id} {saved.value}", err=True)
