"""What the user types to run this program.

Texts name a command as the installed program has it, in backticks: `local-opus status`. Who prints
them gives them to ``as_typed``, so that the user of a checkout, who has no such program yet, reads
`./installer status`.
"""

from __future__ import annotations

import re
import sys

INSTALLED = "local-opus"
CHECKOUT = "./installer"
#: What ``sys.argv[0]`` is where the checkout's installer started this program.
MARK = "installer"

_COMMAND = re.compile(rf"`{INSTALLED} (?=[^`]+`)")


def name() -> str:
    """Return the word that starts this program: the installed one, or the checkout's."""
    return CHECKOUT if sys.argv[0] == MARK else INSTALLED


def as_typed(text: str) -> str:
    """Return ``text`` with the commands in it as this program's user types them."""
    return _COMMAND.sub(f"`{name()} ", text)
