"""``machine.json``: what was decided of the machine's settings, read and written.

The file holds the sum of all its rest, as ``tuned.json`` does. Root writes what it names into files
of the kernel, so nothing but those is accepted, whoever edited it. Pure.
"""

from __future__ import annotations

import posixpath
import re

from local_opus.errors import BadInputError
from local_opus.validation import parse_json
from local_opus.values.machine_tuning import Item, MachineTuned

NAME = "machine.json"
_REMEDY = "Correct the file, or remove it: nothing of the machine is set then."
#: What an item may write. No path leads further: `..` is refused, and the kernel's links lead
#: within sysfs.
_MAY_SET = re.compile(
    r"/sys/(devices/system/cpu/cpufreq/policy\d{1,5}/"
    r"(scaling_governor|energy_performance_preference)"
    r"|kernel/mm/transparent_hugepage/(enabled|defrag)"
    r"|bus/pci/devices/[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/freq/set_min_freq)",
    re.ASCII,
)
_WORD = re.compile(r"[a-z0-9_+-]{1,40}", re.ASCII)
#: Directives of the server's unit, and what each may be given.
_DIRECTIVES = {
    "LimitMEMLOCK": re.compile(r"infinity"),
    "Nice": re.compile(r"-?\d{1,2}"),
    "CPUWeight": re.compile(r"\d{1,5}"),
}


def parse(text: str, path: str) -> MachineTuned:
    """Return what the file at ``path`` says. Raises BadInputError that names the field."""
    found = parse_json(MachineTuned, text, path, _REMEDY)
    lines = [
        f"{path}: items.{number}.{line}"
        for number, item in enumerate(found.items)
        for line in _refusals(item)
    ]
    if lines:
        raise BadInputError(lines[0], _REMEDY, details=lines[1:])
    return found


def _refusals(item: Item) -> list[str]:
    lines = []
    told = item.id in {"npu-turbo", "device-access"}  # others set those
    if item.decision == "chosen" and not (told or item.knobs or item.unit):
        lines.append("decision: 'chosen', and neither knobs nor unit say what to set")
    for number, knob in enumerate(item.knobs):
        if not may_set(knob.path):
            lines.append(f"knobs.{number}.path: {knob.path!r} is no file that is set here")
        if not _WORD.fullmatch(knob.wanted):
            lines.append(f"knobs.{number}.wanted: {knob.wanted!r} is no value of one")
    for name, value in item.unit.items():
        pattern = _DIRECTIVES.get(name)
        if pattern is None or not pattern.fullmatch(value):
            lines.append(f"unit.{name}: {value!r} is not set here")
    return lines


def may_set(path: str) -> bool:
    """Whether a path is that of a file which an item sets."""
    return _MAY_SET.fullmatch(path) is not None and posixpath.normpath(path) == path


def drop_in(found: MachineTuned) -> str | None:
    """Return the text of the server's drop-in; None: it needs none."""
    if not found.unit:
        return None
    lines = [f"{name}={value}" for name, value in found.unit.items()]
    head = "# Measured by an install, or by `local-opus tune --machine`: see machine.json."
    return "\n".join([head, "[Service]", *lines]) + "\n"


def in_words(item: Item) -> str:
    """Say in a few words what was decided of an item, and why."""
    if item.decision != "chosen" or item.gain is None:
        return f"{item.decision}: {item.reason}" if item.decision != "chosen" else item.reason
    beside = f" beside {item.beside}" if item.beside else ""
    gain = item.gain
    return f"{gain.median:.2f} times as fast{beside} ({gain.low:.2f}-{gain.high:.2f})"
