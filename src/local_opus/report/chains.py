"""A device's chain for a person: marks that need no colour, commands that can be copied."""

from __future__ import annotations

import re
import textwrap

from local_opus.values import DeviceChain, Fix, Link, LinkState, Needs

WIDTH = 80
_MARKS = {
    LinkState.HOLDS: "[ok]",
    LinkState.BROKEN: "[XX]",
    LinkState.UNKNOWN: "[??]",
    LinkState.NOT_REACHED: "[  ]",
}
#: As wide as the longest name of a link.
_NAME = 17
_INDENT = "  "
#: A word of a shell command: quotes hold theirs together.
_WORD = re.compile(r"(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+")


def chain_lines(chain: DeviceChain, width: int = WIDTH) -> list[str]:
    """Return the chain: its device, a line or more for each link, and the fix."""
    lines = _wrapped(_title(chain), width, "", _INDENT)
    for link in chain.links:
        lines += _link_lines(link, width)
    return lines + (fix_lines(chain.fix, width) if chain.fix else [])


def broken_lines(chain: DeviceChain, width: int = WIDTH) -> list[str]:
    """Return only why a device can't be used, and the fix; nothing where no link is broken."""
    link = chain.broken
    if link is None:
        return []
    words = f"{chain.device.value} {chain.name} is not usable: {link.name.value}: {link.evidence}"
    lines = _wrapped(words, width, "", _INDENT)
    return lines + (fix_lines(chain.fix, width) if chain.fix else [])


def fix_lines(fix: Fix, width: int = WIDTH) -> list[str]:
    """Return what to do: a sentence, the commands, and what must follow."""
    lines = _wrapped(fix.text, width, "  -> ", "     ")
    for command in fix.commands:
        lines += _command_lines(command, width)
    if fix.needs is not Needs.NOTHING:
        lines += _wrapped(f"It takes {fix.needs.value} to work.", width, "     ", "     ")
    return lines


def _title(chain: DeviceChain) -> str:
    known = [chain.pci_address] if chain.pci_address else []
    known += [f"{chain.openvino_name} of OpenVINO"] if chain.openvino_name else []
    return ", ".join([f"{chain.device.value}: {chain.name}", *known])


def _link_lines(link: Link, width: int) -> list[str]:
    start = f"{_INDENT}{_MARKS[link.state]} {link.name.value:<{_NAME}}  "
    words = "not reached" if link.state is LinkState.NOT_REACHED else link.evidence
    return _wrapped(words, width, start, " " * len(start))


def _wrapped(words: str, width: int, first: str, rest: str) -> list[str]:
    # A driver's words may hold what moves the cursor.
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    lines = textwrap.wrap(plain, width, initial_indent=first, subsequent_indent=rest,
                          break_on_hyphens=False)  # fmt: skip
    return lines or [first.rstrip()]


def _command_lines(command: str, width: int) -> list[str]:
    """Return a command over several lines, each but the last with a backslash at its end."""
    lines, line = [], "       "
    for word in _WORD.findall("".join(one for one in command if one.isprintable())):
        # Two columns are for the backslash.
        if line.strip() and len(line) + 1 + len(word) + 2 > width:
            lines.append(f"{line} \\")
            line = "         "
        line += f" {word}" if line.strip() else word
    return [*lines, line]
