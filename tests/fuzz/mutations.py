"""Changes of files: small lies in the places where formats keep their numbers and names."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import targets

#: Numbers at the edges of what formats count with.
EDGES = (0, 1, 2, 7, 8, 31, 32, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31,
         (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
#: What a change may do; each takes a place, a number and other bytes.
KINDS = ("flip", "byte", "u32", "u64", "big", "cut", "drop", "insert", "again", "swap", "decimal")
Change = tuple[str, int, int, bytes]


def apply(data: bytes, changes: Sequence[Change]) -> bytes:
    """Return the bytes after the changes, one after the other."""
    made = bytearray(data)
    for kind, place, number, other in changes:
        at = place % (len(made) + 1)
        if kind == "flip" and made:
            made[at % len(made)] ^= 1 << number % 8
        elif kind == "byte" and made:
            made[at % len(made)] = number % 256
        elif kind in {"u32", "u64", "big"}:
            form = {"u32": "<I", "u64": "<Q", "big": ">I"}[kind]
            packed = struct.pack(form, number % (1 << 8 * struct.calcsize(form)))
            made[at : at + len(packed)] = packed
        elif kind == "cut":
            del made[at:]
        elif kind == "drop":
            del made[at : at + 1 + number % 64]
        elif kind == "insert":
            made[at:at] = other
        elif kind == "again":
            made[at:at] = made[at : at + 1 + number % 64]
        elif kind == "swap":
            made[at : at + len(other)] = other
        elif kind == "decimal":
            made[at : at + 1] = str(number).encode()
    return bytes(made)


def at_random(chance: random.Random, known: Sequence[bytes], name: str) -> bytes:
    """Return one of the known files with some changes."""
    words = targets.TARGETS[name].words or (b"\0",)

    def other() -> bytes:
        if chance.random() < 0.3:
            piece = chance.choice(known)
            begin = chance.randrange(len(piece) + 1)
            return piece[begin : begin + chance.randrange(64)]
        return chance.choice(words)

    changes = [
        (chance.choice(KINDS), chance.randrange(1 << 16), chance.choice(EDGES), other())
        for _ in range(chance.randint(1, 6))
    ]
    return apply(chance.choice(known), changes)
