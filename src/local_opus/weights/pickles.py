"""Tells pickles by their opcodes, without running one.

Source of the opcodes: Python's own ``pickletools``.
"""

from __future__ import annotations

import pickletools
import re
from io import BytesIO

#: A binary pickle begins with PROTO 2..5 and then one of the opcodes a pickler can emit first.
_BINARY = re.compile(rb"\x80[\x02-\x05][\x95}\]()cXK\x8a\x8c\x89\x88NMJG\x8fBCT]", re.DOTALL)
#: What an import names: a module and an attribute, with the space that pickletools puts between.
_IMPORT = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*", re.ASCII)
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_IMPORTS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_CALLS = frozenset({"REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX", "INST"})
#: Opcodes that are no accident: every text that ends with a dot ends with STOP.
_FEWEST = 3


def begins_as_pickle(head: bytes) -> bool:
    """Whether these first bytes are how every pickle of protocol 2 to 5 begins."""
    return _BINARY.match(head) is not None


def is_pickle(head: bytes, size: int) -> bool:
    """Whether ``head``, the first bytes of a file of ``size``, read as opcodes from the start.

    They do when the pickle ends where the file does, or calls something that it imported before the
    head is over: protocol 0 has no magic, and raw constants may begin like any protocol.
    """
    stream = BytesIO(head)
    count, imports, calls = 0, False, False
    while code := stream.read(1):
        opcode = _OPCODES.get(code.decode("latin-1"))
        if opcode is None:
            return False
        count += 1
        if opcode.name == "STOP":
            return (calls or stream.tell() == size) and count >= _FEWEST
        try:
            value = opcode.arg.reader(stream) if opcode.arg is not None else None
        except ValueError:  # broken, or cut where the head ends
            return calls and stream.tell() == len(head) < size
        if opcode.name in _IMPORTS:
            if isinstance(value, str) and _IMPORT.fullmatch(value) is None:
                return False
            imports = True
        calls = calls or (imports and opcode.name in _CALLS)
    return calls and len(head) < size
