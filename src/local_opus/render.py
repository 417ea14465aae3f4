"""Templates to text. Pure: the template's text and the values come in, text goes out.

A value reaches the output only through one of the filters below, each of which quotes for one
language; a bare ``{{ value }}`` is an error. So a value with a newline, a quote or a ``%`` can't
become a directive, whatever a template's author forgets.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError, Undefined

from local_opus.errors import BadInputError, LocalOpusError

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class Quoted(str):
    """Text that a filter made safe for its language."""

    __slots__ = ()


def _plain(value: object, language: str) -> str:
    text = str(value)
    if found := _CONTROL.search(text):
        raise BadInputError(
            f"{text!r}: the character {found[0]!r} can't stand in {language}",
            "Remove it from the path or the setting.",
        )
    return text


def as_json(value: object) -> Quoted:
    """Quote for JSON, with sorted keys."""
    if isinstance(value, Undefined):
        str(value)  # raises with the name that is not known
    return Quoted(json.dumps(value, ensure_ascii=True, sort_keys=True, allow_nan=False))


def as_shell(value: object) -> Quoted:
    """Quote one word for a POSIX shell. Raises BadInputError for control characters."""
    return Quoted(shlex.quote(_plain(value, "a shell script")))


def as_unit(value: object) -> Quoted:
    """Quote one word for a command line of a systemd unit: systemd.service(5), systemd.unit(5).

    Specifiers and variables are doubled, quotes and backslashes escaped. Raises BadInputError for
    control characters.
    """
    text = _plain(value, "a systemd unit").replace("%", "%%").replace("$", "$$")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return Quoted(f'"{escaped}"')


def as_setting(value: object) -> Quoted:
    """Quote for the right side of a unit's directive that takes one plain value, e.g. a path.

    Raises BadInputError for control characters, quotes, backslashes and blanks, which such
    directives read in ways of their own.
    """
    text = _plain(value, "a systemd unit")
    if found := re.search(r"[\s\"'\\]", text):
        raise BadInputError(
            f"{text!r}: the character {found[0]!r} can't stand in a systemd unit's path",
            "Choose folders without it.",
        )
    return Quoted(text.replace("%", "%%"))


def as_path(value: object) -> Quoted:
    """Quote for a directive that takes one path as the rest of its line (EnvironmentFile=).

    Raises BadInputError for control characters.
    """
    return Quoted(_plain(value, "a systemd unit").replace("%", "%%"))


def _only_quoted(value: object) -> object:
    if not isinstance(value, Quoted):
        raise TemplateError(f"the value {value!r} reaches the output without a filter")
    return value


def render(name: str, templates: Mapping[str, str], values: Mapping[str, object]) -> str:
    """Return the text of the template of that name; it may include others of ``templates``.

    Raises LocalOpusError that names the template when it names an unknown value or prints one
    without a filter; BadInputError when a value can't be quoted.
    """
    # Autoescape is for HTML; here every value passes a filter of its own language.
    environment = Environment(  # noqa: S701
        loader=DictLoader(templates),
        undefined=StrictUndefined,
        finalize=_only_quoted,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters = {
        "json": as_json,
        "shell": as_shell,
        "unit": as_unit,
        "setting": as_setting,
        "path": as_path,
    }
    try:
        return environment.get_template(name).render(values)
    except TemplateError as error:
        raise LocalOpusError(
            f"templates/{name}: {error}", "This is a defect of the program; report it."
        ) from error
