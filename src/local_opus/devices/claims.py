"""What was once claimed of such machines, beside what is published and what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from local_opus.devices.figures import Published
from local_opus.devices.measured import MeasuredDevice, What
from local_opus.devices.peaks import NPU
from local_opus.values import Value

_NPU_TOPS = 26.4
_TFLOPS = 40.0


class Claim(Value):
    """One claim; null: there is no such figure, and ``note`` says why."""

    name: str
    claimed: float
    unit: str
    published: float | None
    measured: float | None
    published_words: str = Field(description="for a person, also where there is no one figure")
    measured_words: str
    note: str = Field(description="what the figures are of, in one line")


def claims(
    published: Mapping[str, Published | None], measured: tuple[MeasuredDevice, ...]
) -> tuple[Claim, Claim]:
    """Return both old claims. ``published`` is by OpenVINO's name, of all devices of the machine.

    ``measured`` is of those that were measured; so a sum may be of fewer devices than the other.
    """
    return _npu_claim(published, measured), _tflops_claim(published, measured)


def _npu_claim(
    published: Mapping[str, Published | None], measured: tuple[MeasuredDevice, ...]
) -> Claim:
    name = next((one for one in published if one.startswith("NPU")), None)
    peaks = published[name] if name else None
    figure = next((found for one in measured if one.name.startswith("NPU")
                   and (found := one.figure(What.INT8))), None)  # fmt: skip
    older = [NPU[one].int8_tops for one in ("Meteor Lake", "Arrow Lake")]
    generation = "-".join(f"{one.value:g}" for one in older if one)
    if name is None:
        note = f"{generation} TOPS are published of the generation that was meant (3720)"
    elif peaks is None or peaks.int8_tops is None:
        note = "nothing is published of this NPU"
    else:
        note = f"{peaks.platform}: {peaks.int8_tops.source}"
    printed = peaks.int8_tops.value if peaks and peaks.int8_tops else None
    ran = figure.median if figure else None
    return Claim(
        name="26.4 TOPS NPU",
        claimed=_NPU_TOPS,
        unit="TOPS",
        published=printed,
        measured=ran,
        published_words=generation if name is None else number(printed),
        measured_words="no NPU here" if name is None else number(ran),
        note=note,
    )


def _tflops_claim(
    published: Mapping[str, Published | None], measured: tuple[MeasuredDevice, ...]
) -> Claim:
    printed = {name: one.fp16_tflops.value for name, one in published.items()
               if one and one.fp16_tflops}  # fmt: skip
    ran = {one.name: figure for one in measured if (figure := _fastest(one)) is not None}
    of_all = round(sum(printed.values()), 4) if printed else None
    of_ran = round(sum(ran.values()), 4) if ran else None
    return Claim(
        name="40+ TFLOPS",
        claimed=_TFLOPS,
        unit="TFLOPS",
        published=of_all,
        measured=of_ran,
        published_words=number(of_all),
        measured_words=number(of_ran),
        note=f"fp16 or bf16, else fp32: published {_sum(printed)}; measured {_sum(ran)}",
    )


def number(value: float | None) -> str:
    """Return three digits that count, for a person."""
    if value is None:
        return "none"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _fastest(device: MeasuredDevice) -> float | None:
    """The fastest floating point that a device has: half precision, else single."""
    found = [device.figure(what) for what in (What.HALF, What.FP32)]
    medians = [one.median for one in found if one and one.median]
    return max(medians, default=None)


def _sum(figures: Mapping[str, float]) -> str:
    return " + ".join(figures) or "of no device"
