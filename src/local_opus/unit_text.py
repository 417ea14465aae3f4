"""The text of a systemd unit (systemd.syntax(7)). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One assignment of [Service], and the line that it begins on (the first is 1)."""

    line: int
    name: str
    value: str


def service_settings(text: str) -> list[Setting]:
    """Return the settings of [Service] in the order in which they stand."""
    found: list[Setting] = []
    section = ""
    for number, line in _joined(text):
        words = line.strip()
        if words.startswith("[") and words.endswith("]"):
            section = words[1:-1]
        elif words and words[0] not in "#;" and section == "Service":
            name, equals, value = words.partition("=")
            if equals:
                found.append(Setting(number, name.strip(), value.strip()))
    return found


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Put lines together that a backslash at the end continues."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if begun and line.strip()[:1] in {"#", ";"}:  # a comment between them is passed over
            continue
        first = first if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
        else:
            yield first, begun + line
            begun = ""
    if begun:
        yield first, begun
