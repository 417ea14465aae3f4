"""Which form of weights an NPU takes of a language model. Pure.

OpenVINO's guide for language models on the NPU: symmetric int4, every layer of it (ratio 1.0), in
groups of 128 or by channel; nf4 by channel from Lunar Lake on. Asymmetric groups abort there, and
int8 weights were seen to crash the compiler.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What a plan for the NPU says of its weights.
TAKEN = "symmetric int4, ratio 1.0, in groups of 128 or by channel"
_GROUP = 128
_BY_CHANNEL = -1
#: DEVICE_ARCHITECTURE of the first NPU that takes nf4: Lunar Lake.
_FIRST_NF4 = 4000
_NUMBER = re.compile(r"(group|ratio)[ _]?(-?\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """What a quantization's words say; None: they do not."""

    data: str
    symmetric: bool | None
    group: int | None
    ratio: float | None


def parse(quantization: str) -> Form:
    """Return the form that words such as "INT4_SYM group 128 ratio 1.0" tell."""
    first = (quantization.split() or [""])[0].lower()
    data, _, scheme = first.partition("_")
    numbers = {name.lower(): float(value) for name, value in _NUMBER.findall(quantization)}
    channel = re.search(r"channel[- ]wise|by channel", quantization, re.IGNORECASE)
    group = numbers.get("group")
    return Form(
        data=data,
        symmetric={"sym": True, "asym": False}.get(scheme),
        group=_BY_CHANNEL if channel else None if group is None else int(group),
        ratio=numbers.get("ratio"),
    )


def problem(quantization: str, architecture: str | None = None) -> str | None:
    """Return why an NPU does not take these weights, None where it does.

    ``architecture`` is the NPU's, such as 3720; None: not known.
    """
    form = parse(quantization)
    if form.data == "int8":
        return f"the NPU does not take int8 weights (a compiler crash is known): it takes {TAKEN}"
    if form.data == "nf4":
        return _nf4(form, architecture)
    if form.data != "int4":
        return f"the NPU does not take {form.data or 'such'} weights: it takes {TAKEN}"
    wrong = []
    if form.symmetric is not True:
        wrong.append("asymmetric" if form.symmetric is False else "not stated as symmetric")
    if form.ratio != 1.0:
        wrong.append("no ratio stated" if form.ratio is None else f"ratio {form.ratio:g}")
    if form.group not in {_GROUP, _BY_CHANNEL}:
        wrong.append("no group stated" if form.group is None else f"groups of {form.group}")
    if not wrong:
        return None
    return f"the NPU does not take these int4 weights ({', '.join(wrong)}): it takes {TAKEN}"


def _nf4(form: Form, architecture: str | None) -> str | None:
    number = int(architecture) if architecture is not None and architecture.isdecimal() else 0
    if form.group == _BY_CHANNEL and number >= _FIRST_NF4:
        return None
    return f"the NPU takes nf4 weights by channel alone, from Lunar Lake on: else {TAKEN}"


def words(quantization: str) -> str:
    """Return the form of weights that an NPU takes, for the plan."""
    form = parse(quantization)
    group = "by channel" if form.group == _BY_CHANNEL else f"in groups of {form.group}"
    kind = "symmetric int4, ratio 1.0" if form.data == "int4" else form.data
    return f"{kind}, {group}"
