"""Tells random bytes from numbers that a training left.

Quantized weights look random, so the judgement is made by what can't be: norms, biases, scales,
every constant of a floating-point type. Of random bits read as f32, bf16 or f64 a quarter is beyond
2^64 (f64: 2^513), of f16 one in 32 is not a number. A real tensor holds no such value, or one and
the same again and again: minus infinity, the lowest number, a mask. So what counts are *different*
ones. A file is called filler where half of those that chance would bring are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.structure import Refusal, printable

#: Tensors of one form that are looked at, and values of each.
RUNS = 24
VALUES = {"f32": 128, "bf16": 128, "f64": 128, "f16": 512, "e8m0": 128}
#: Values that chance must bring for a judgement; at 16, half of them are missed once in 100 times.
LEAST_EXPECTED = 16
#: Bytes of one value, and the share of random ones that no training leaves.
_WIDTH = {"f32": 4, "bf16": 2, "f64": 8, "f16": 2, "e8m0": 1}
_SHARE = {"f32": 1 / 4, "bf16": 1 / 4, "f64": 1 / 4, "f16": 1 / 32, "e8m0": 1 / 4}
_NAMES = {"f32": "F32", "bf16": "BF16", "f64": "F64", "f16": "F16", "e8m0": "E8M0"}
_SIGN = 0x7F
_HUGE = 0x60  # of the top byte without its sign: an exponent in the highest quarter
_F16_TOP = 0x7C  # all bits of the exponent
_E8M0_HUGE = 192


@dataclass(frozen=True)
class Run:
    """Numbers of one tensor: ``count`` values, each ``stride`` bytes after the last."""

    name: str
    form: str
    offset: int
    stride: int
    count: int


def dense(name: str, form: str, offset: int, size: int) -> Run:
    """Return the run of a tensor that holds nothing but ``size`` bytes of values."""
    width = _WIDTH[form]
    return Run(name, form, offset, width, size // width)


def expected(runs: Sequence[Run]) -> float:
    """Return how many odd values chance would bring among those of ``runs`` that are read."""
    return sum(min(run.count, VALUES[run.form]) * _SHARE[run.form] for run in runs)


def check(stream: BinaryIO, size: int, runs: Sequence[Run]) -> Refusal | None:
    """Return a refusal where the runs of a file of ``size`` bytes hold random bytes.

    Where they hold too few values to tell, there is none. Raises OSError as reading does.
    """
    for form in _WIDTH:
        chosen = _spread([run for run in runs if run.form == form and run.count > 0])
        refusal = _judge(stream, size, form, chosen)
        if refusal is not None:
            return refusal
    return None


def _spread(runs: Sequence[Run]) -> Iterable[Run]:
    if len(runs) <= RUNS:
        return runs
    return [runs[number * (len(runs) - 1) // (RUNS - 1)] for number in range(RUNS)]


def _judge(stream: BinaryIO, size: int, form: str, runs: Iterable[Run]) -> Refusal | None:
    odd: set[bytes] = set()
    chance, counted, worst = 0.0, 0, ("", 0, 1)
    for run in runs:
        values = _values(stream, size, run)
        found = [value for value in values if _is_odd(form, value)]
        before = len(odd)
        odd.update(found)
        # The scales of MXFP4 are single bytes: of 64 huge ones the same come again.
        new = len(found) if form == "e8m0" else len(odd) - before
        counted += new
        chance += len(values) * _SHARE[form]
        if values and new * worst[2] > worst[1] * len(values):
            worst = (run.name, new, len(values))
    if chance < LEAST_EXPECTED or counted * 2 < chance:
        return None
    name, new, count = worst
    what = "no number" if form == "f16" else "out of all bounds"
    return Refusal(
        Verdict.PLACEHOLDER,
        f"random bytes: {new} of {count} {_NAMES[form]} values of {printable(name, 80)!r} are"
        f" {what} and different, as chance makes {_SHARE[form]:.0%} of them and no training any",
    )


def _values(stream: BinaryIO, size: int, run: Run) -> list[bytes]:
    """Read a bounded number of a run's values, from its middle where it has more."""
    width, most = _WIDTH[run.form], VALUES[run.form]
    count = min(run.count, most)
    begin = run.offset + (run.count - count) // 2 * run.stride
    if begin + width > size:
        return []
    stream.seek(begin)
    data = stream.read((count - 1) * run.stride + width)
    return [data[at : at + width] for at in range(0, len(data) - width + 1, run.stride)]


def _is_odd(form: str, value: bytes) -> bool:
    top = value[-1]
    if form == "e8m0":
        return top >= _E8M0_HUGE
    if form == "f16":
        return top & _F16_TOP == _F16_TOP and bool(top & 0x03 or value[0])
    return top & _SIGN >= _HUGE
