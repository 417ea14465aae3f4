"""The structure check of OpenVINO IR: an .xml that describes the graph, a .bin with the constants.

OpenVINO takes a .bin with extra or flipped bytes and crashes on 50,000 nested elements, so the
XML is streamed through expat with limits and every constant's extent is compared with the .bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO
from xml.parsers import expat

from local_opus.values import Verdict
from local_opus.weights.filler import Run, dense
from local_opus.weights.structure import (
    Refusal,
    RefusedError,
    corrupt,
    printable,
    truncated,
)

#: Bytes of an .xml at most; a model of 135 million parameters has 2.7 MB, of 8 billion about 4 MB.
MAX_XML = 64 * 1024 * 1024
#: How the refusal of an XML begins that describes no graph.
FOREIGN_ROOT = "the XML's root is"
#: Levels of nesting at most; a graph without sub-graphs has 6, each If, Loop or While adds 3.
MAX_DEPTH = 256
#: Bytes of one tag at most, which expat holds whole; chat templates stand in attributes.
MAX_TAG = 4 * 1024 * 1024
MAX_ELEMENTS = 5_000_000
#: Bytes given to expat at once: up to 2.5 it reads an unfinished tag again with each piece.
_CHUNK = 8 * 1024 * 1024
#: Constants that are remembered for a look at their values, and characters of their names.
MAX_RUNS = 65_536
_MAX_NAME = 200
_FORMS = frozenset({"f64", "f32", "f16", "bf16"})
MAX_INT64 = (1 << 63) - 1
_MAX_NUMBER = 20  # digits of a 64-bit number
_MAX_SHAPE = 1_024  # characters of a shape

#: Bits of one value; types that are not here (string, u3, u6 ...) are packed in their own ways, so
#: only their extents are checked.
_BITS = {
    "f64": 64, "i64": 64, "u64": 64, "f32": 32, "i32": 32, "u32": 32, "f16": 16, "bf16": 16,
    "i16": 16, "u16": 16, "i8": 8, "u8": 8, "boolean": 8, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8,
    "i4": 4, "u4": 4, "nf4": 4, "f4e2m1": 4, "u2": 2, "u1": 1,
}  # fmt: skip


@dataclass(frozen=True)
class IrInfo:
    """What a sound IR says of itself; ``constants_end`` is the .bin's size in bytes."""

    name: str
    version: str
    layers: int
    constants: int
    constants_end: int
    element_types: tuple[str, ...]
    #: Floating-point constants; offsets are in the .bin.
    runs: tuple[Run, ...]

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {
            "format": f"openvino-ir v{self.version}",
            "name": self.name,
            "layers": self.layers,
            "constants": self.constants,
            "constants_bytes": self.constants_end,
            "element_types": ", ".join(self.element_types),
        }


def check(xml: BinaryIO, xml_size: int, bin_size: int | None) -> IrInfo | Refusal:
    """Check an IR; ``bin_size`` is the size of its .bin in bytes, None where there is none.

    Raises OSError as reading does, and nothing else.
    """
    info = check_graph(xml, xml_size)
    return info if isinstance(info, Refusal) else misfit(info, bin_size) or info


def check_graph(xml: BinaryIO, xml_size: int) -> IrInfo | Refusal:
    """Check an .xml of ``xml_size`` bytes alone.

    Raises OSError as reading does, and nothing else.
    """
    if xml_size > MAX_XML:
        return Refusal(Verdict.UNSAFE, f"the XML has {xml_size} bytes; at most {MAX_XML} are sane")
    graph = _Graph()
    try:
        graph.feed(xml)
    except RefusedError as error:
        return error.refusal
    return graph.info()


def misfit(info: IrInfo, bin_size: int | None) -> Refusal | None:
    """Return why a .bin of ``bin_size`` bytes does not hold the constants; None where it may.

    Two revisions of one model often have the same extents: then only hashes tell them apart.
    """
    if bin_size is None:
        missing = Refusal(Verdict.CORRUPT, "its .bin is not there")
        return missing if info.constants_end else None
    if bin_size < info.constants_end:
        return Refusal(
            Verdict.TRUNCATED,
            f"the constants need {info.constants_end} bytes, the .bin has {bin_size}: it was"
            " cut, or is of another revision",
        )
    if bin_size > info.constants_end:
        extra = bin_size - info.constants_end
        return Refusal(
            Verdict.CORRUPT,
            f"{extra} bytes at the end of the .bin belong to no constant: it is of another"
            " revision, or was added to",
        )
    return None


def _number(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_NUMBER:
        raise corrupt(f"a constant's {name} is {printable(text, 40)!r}, not a number")
    return int(text)


class _Graph:
    """Collects what the checks need while expat reads the XML."""

    def __init__(self) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        self._parser = parser
        self._path: list[str] = []
        self._layer_types: list[str] = []
        self._elements = 0
        self._name = self._version = ""
        self._layers = self._constants = self._end_of_constants = 0
        self._element_types: set[str] = set()
        self._layer_name = ""
        self._runs: list[Run] = []

    def feed(self, xml: BinaryIO) -> None:
        """Read the whole XML. Raises RefusedError for what is not a sound graph."""
        try:
            left = MAX_XML
            while left > 0 and (data := xml.read(_CHUNK)):
                self._parser.Parse(data)
                left -= len(data)
                if MAX_XML - left - self._parser.CurrentByteIndex > MAX_TAG:
                    raise RefusedError(Verdict.UNSAFE, f"a tag is longer than {MAX_TAG} bytes")
            self._parser.Parse(b"", True)  # noqa: FBT003 - expat takes it by position only
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code) or "not well-formed"
            where = f"line {error.lineno}"
            if self._path and error.code in _ENDS_EARLY:
                raise truncated(f"the XML ends inside <{printable(self._path[-1], 40)}>") from error
            raise corrupt(f"the XML is broken: {reason}, {where}") from error
        except (LookupError, ValueError) as error:  # an encoding that expat asks Python for
            raise corrupt(f"the XML's encoding: {printable(str(error))}") from error

    def info(self) -> IrInfo:
        """Return what was found."""
        return IrInfo(
            name=printable(self._name),
            version=printable(self._version, 20),
            layers=self._layers,
            constants=self._constants,
            constants_end=self._end_of_constants,
            element_types=tuple(sorted(self._element_types)),
            runs=tuple(self._runs),
        )

    def _refuse_doctype(self, *_: object) -> None:
        raise RefusedError(Verdict.UNSAFE, "the XML has a DOCTYPE or an entity")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise RefusedError(Verdict.UNSAFE, f"the XML has more than {MAX_ELEMENTS} elements")
        if len(self._path) >= MAX_DEPTH:
            raise RefusedError(Verdict.UNSAFE, f"the XML is nested deeper than {MAX_DEPTH} levels")
        if not self._path:
            if tag != "net":
                raise corrupt(f"{FOREIGN_ROOT} <{printable(tag, 40)}>, not <net>")
            self._name = attributes.get("name", "")
            self._version = attributes.get("version", "")
        elif tag == "layer":
            self._layers += 1
            self._layer_types.append(attributes.get("type", ""))
            self._layer_name = attributes.get("name", "")
        elif tag == "data" and self._path[-1] == "layer" and self._layer_types[-1] == "Const":
            self._constant(attributes)
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()
        if tag == "layer" and self._layer_types:
            self._layer_types.pop()

    def _constant(self, attributes: dict[str, str]) -> None:
        offset = _number(attributes, "offset")
        size = _number(attributes, "size")
        kind = attributes.get("element_type", "")
        expected = _bytes_of(kind, attributes.get("shape", ""))
        if expected is not None and expected != size:
            raise corrupt(f"a {kind} constant states {size} bytes, its shape needs {expected}")
        if offset + size > MAX_INT64:
            raise corrupt(f"a constant's end, {offset} + {size}, overflows 64 bits")
        self._constants += 1
        self._element_types.add(printable(kind, 20))
        self._end_of_constants = max(self._end_of_constants, offset + size)
        if kind in _FORMS and len(self._runs) < MAX_RUNS:
            self._runs.append(dense(self._layer_name[:_MAX_NAME], kind, offset, size))


_ENDS_EARLY = (
    expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
)


def _bytes_of(kind: str, shape: str) -> int | None:
    """Return the bytes that a constant's shape needs; None for a type with its own packing."""
    bits = _BITS.get(kind)
    if bits is None:
        return None
    if len(shape) > _MAX_SHAPE:
        raise corrupt("a constant's shape is longer than any tensor's")
    count = 1
    for dim in filter(None, (part.strip() for part in shape.split(","))):
        count *= _number({"shape": dim}, "shape")
    return -(-count * bits // 8)
