"""What most commands need: the host, and the install that they mean."""

from __future__ import annotations

import os

import click

from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.keys import node_key
from local_opus.locations import Locations, default_scope, locate
from local_opus.report.lines import JsonLines
from local_opus.values import Scope


def open_host(root: str = "/") -> Host:
    """Return the host below ``root``. Raises BadInputError where there is no such folder."""
    if not os.path.isdir(root):
        what = "is no folder" if os.path.lexists(root) else "there is no such folder"
        shown = root or '"" (an empty name)'
        raise BadInputError(f"root {shown}: {what}", "Name the folder that holds the image.")
    host = Host(root)
    context = click.get_current_context(silent=True)
    lines = context.find_object(JsonLines) if context is not None else None
    if lines is not None and host.is_image:
        lines.image = host.root
    return host


def find_install(host: Host, scope: str | None) -> Locations:
    """Return the locations of the install that is there.

    Without a scope: the default scope's, else the other's, else the default scope's again (where
    nothing is installed yet). Its server is asked with the node's key, where it wants one.
    """
    places = _find(host, scope)
    node_key.use(host, places)
    return places


def _find(host: Host, scope: str | None) -> Locations:
    if scope is not None:
        return locate(Scope(scope), host.environ)
    first = default_scope(host.euid)
    for one in (first, *(other for other in Scope if other is not first)):
        try:
            places = locate(one, host.environ)
        except BadInputError:  # no HOME: then no user's install can be meant
            continue
        if _is_there(host, places):
            return places
    return locate(first, host.environ)


def _is_there(host: Host, places: Locations) -> bool:
    """Whether an install, or the weights that one left, lie there."""
    from local_opus import receipts

    try:
        stored = host.files.stat(places.models) is not None
        return stored or receipts.is_there(host, places.receipt)
    except PermissionError:  # the state folder itself can't be entered, so it is there
        return True
