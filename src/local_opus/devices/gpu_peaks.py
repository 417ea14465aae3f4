"""The published peaks of GPUs, by PCI device id and by IP version: tables."""

from __future__ import annotations

from local_opus.devices.figures import Confidence, Figure, Published
from local_opus.devices.peaks import MEMORY
from local_opus.values import Device

_PUBLISHED, _PRESS, _INFERRED = Confidence.PUBLISHED, Confidence.PRESS, Confidence.INFERRED
_GOPS = "OpenVINO's DEVICE_GOPS"
_ZOLOTUKHIN = "zolotukhin.ai intel-gpu-reference, citing Intel's product pages"
_SVETHARDWARE = "svethardware.cz 58344: Intel's specifications"


def _figure(value: float, confidence: Confidence, source: str) -> Figure:
    return Figure(value=value, confidence=confidence, source=source)


def _gpu(
    platform: str,
    *,
    int8: Figure | None = None,
    fp16: Figure | None = None,
    fp32: Figure | None = None,
    memory: Figure | None = None,
) -> Published:
    return Published(
        device=Device.GPU,
        platform=platform,
        int8_tops=int8,
        fp16_tflops=fp16,
        fp32_tflops=fp32,
        memory_gbs=memory,
    )


def _engines(tops: float) -> Figure:
    """Fp16 of a GPU with matrix engines: the vector units' figure, which is printed, is less."""
    source = "half of int8 (2048 against 4096 operations/clock a core: architosh.com 2025-09)"
    return _figure(tops / 2, _INFERRED, source)


def _card(name: str, tops: Figure, fp32: float | Figure, memory: float, source: str) -> Published:
    return _gpu(
        name,
        int8=tops,
        fp16=_engines(tops.value),
        fp32=fp32 if isinstance(fp32, Figure) else _figure(fp32, _PRESS, source),
        memory=_figure(memory, _PRESS, source),
    )


def _by_lanes(cores: int, ghz: float) -> Figure:
    source = f"{cores} cores x 256 operations/clock x {ghz} GHz"
    return _figure(round(cores * 0.256 * ghz, 1), _INFERRED, source)


def _by_engines(cores: int, ghz: float) -> Figure:
    source = f"{cores} cores x 4096 operations/clock x {ghz} GHz; no page of Intel's was read"
    return _figure(round(cores * 4.096 * ghz, 1), _INFERRED, source)


def _vector(platform: str, units: int, ghz: float) -> Published:
    """A GPU without matrix engines: 16 fp32, 32 fp16, 64 int8 (DP4A) operations/clock a unit.

    The ratios are those of OpenVINO's DEVICE_GOPS on Meteor Lake and Arrow Lake-S. Units and clocks
    are those of the largest models, from general knowledge: no page of Intel's was read for them.
    """
    source = f"{units} units x 16 operations/clock x {ghz} GHz"
    fp32 = units * 16 * ghz / 1000
    return _gpu(
        platform,
        int8=_figure(round(fp32 * 4, 2), _INFERRED, f"{source} x 4"),
        fp16=_figure(round(fp32 * 2, 2), _INFERRED, f"{source} x 2"),
        fp32=_figure(round(fp32, 2), _INFERRED, source),
        memory=MEMORY.get(platform),
    )


def _chip(platform: str, tops: Figure, fp32: Figure | None, memory: str) -> Published:
    """An integrated GPU with matrix engines."""
    return _gpu(
        platform, int8=tops, fp16=_engines(tops.value), fp32=fp32, memory=MEMORY.get(memory)
    )


_METEOR_LAKE = _gpu(
    "Meteor Lake-H",
    int8=_figure(18.4, _PUBLISHED, f"{_GOPS} (155H); press: 18"),
    fp16=_figure(9.2, _PUBLISHED, f"{_GOPS} (155H)"),
    fp32=_figure(4.6, _PUBLISHED, f"{_GOPS} (155H)"),
    memory=MEMORY["Meteor Lake"],
)
_ARROW_LAKE_S = _gpu(
    "Arrow Lake-S",
    int8=_figure(8.2, _PUBLISHED, f"{_GOPS} (270K Plus); press: 8 (hardwareluxx.de)"),
    fp16=_figure(4.1, _PUBLISHED, f"{_GOPS} (270K Plus)"),
    fp32=_figure(2.0, _PUBLISHED, f"{_GOPS} (270K Plus)"),
    memory=MEMORY["Arrow Lake-S"],
)
_SMALL = "of relatives with the same units; nothing is printed for this one"
_METEOR_LAKE_U = _gpu(
    "Meteor Lake-U",
    int8=_figure(8, _INFERRED, _SMALL),
    fp16=_figure(4, _INFERRED, _SMALL),
    fp32=_figure(2, _INFERRED, _SMALL),
    memory=MEMORY["Meteor Lake"],
)
_ARROW_LAKE_U = _METEOR_LAKE_U.model_copy(
    update={"platform": "Arrow Lake-U", "memory_gbs": MEMORY["Arrow Lake-U"]}
)
_ARROW_LAKE_H = _chip(
    "Arrow Lake-H",
    _figure(77, _PRESS, "pcquest.com; notebookcheck.net"),
    _figure(4.8, _INFERRED, "128 units x 16 operations/clock x 2.35 GHz"),
    "Arrow Lake-H",
)
_LUNAR_LAKE = _chip(
    "Lunar Lake",
    _figure(67, _PRESS, "mspoweruser.com 2024-06"),
    _figure(4.2, _INFERRED, "64 engines x 16 lanes x 2 x 2.05 GHz"),
    "Lunar Lake",
)
_PANTHER_LAKE_12 = _chip(
    "Panther Lake (12 cores)",
    _figure(120, _PRESS, "rcrtech.com; techdae; tmexo.com 809"),
    _figure(7.7, _INFERRED, "1536 lanes x 2 x 2.5 GHz (febspot.com)"),
    "Panther Lake",
)
_PANTHER_LAKE_10 = _chip(
    "Panther Lake (10 cores)",
    _figure(100, _INFERRED, "10 of the 12 cores that make 120"),
    None,
    "Panther Lake",
)
_PANTHER_LAKE_4 = _chip(
    "Panther Lake (4 cores)",
    _figure(40, _INFERRED, "4 of the 12 cores that make 120"),
    None,
    "Panther Lake",
)
_WILDCAT_LAKE = _chip(
    "Wildcat Lake",
    _figure(20, _INFERRED, "2 of the 12 cores that make 120 on Panther Lake"),
    None,
    "Wildcat Lake",
)
_TIGER_LAKE = _vector("Tiger Lake", 96, 1.35)
_ALDER_LAKE_P = _vector("Alder Lake-P", 96, 1.4)
_RAPTOR_LAKE_P = _vector("Raptor Lake-P", 96, 1.5)
_ALDER_LAKE_S = _vector("Alder Lake-S", 32, 1.55)
_RAPTOR_LAKE_S = _vector("Raptor Lake-S", 32, 1.65)

_CARDS = {
    "56a0": _card("Arc A770", _by_engines(32, 2.1), 19.66, 560, f"fpsbench.com; {_SVETHARDWARE}"),
    "56a1": _card("Arc A750", _by_engines(28, 2.05), _by_lanes(28, 2.05), 512, _SVETHARDWARE),
    "56a2": _card("Arc A580", _by_engines(24, 1.7), _by_lanes(24, 1.7), 512, _SVETHARDWARE),
    "56a5": _card("Arc A380", _by_engines(8, 2.0), _by_lanes(8, 2.0), 186, _SVETHARDWARE),
    "56a6": _gpu(
        "Arc A310",
        int8=_by_engines(6, 2.0),
        fp16=_engines(49.2),
        fp32=_by_lanes(6, 2.0),
    ),
    "e20b": _card(
        "Arc B580",
        _figure(218.7, _PRESS, "hmc-tech.com: half of 437.45 TOPS int4; 233 is not confirmed"),
        13.67,
        456,
        "hmc-tech.com; elotrolado.net",
    ),
    "e20c": _card(
        "Arc B570",
        _by_engines(18, 2.5),
        _by_lanes(18, 2.5),
        380,
        "pcmasters.de",
    ),
    "e211": _card("Arc Pro B60", _figure(197, _PRESS, _ZOLOTUKHIN), 12.28, 456, _ZOLOTUKHIN),
    "e212": _card(
        "Arc Pro B50",
        _figure(170, _PRESS, "hmc-tech.com: 170.39 TOPS int8"),
        10.65,
        224,
        "technical.city",
    ),
    "e222": _card("Arc Pro B65", _figure(197, _PRESS, _ZOLOTUKHIN), 12.28, 608, _ZOLOTUKHIN),
    "e223": _card("Arc Pro B70", _figure(367, _PRESS, _ZOLOTUKHIN), 22.94, 608, _ZOLOTUKHIN),
}

#: PCI device id (vendor 8086) -> peaks. Ids: intel/compute-runtime devices_base.inl.
GPU = {
    "9a49": _TIGER_LAKE,
    "46a6": _ALDER_LAKE_P,
    "a7a0": _RAPTOR_LAKE_P,
    "4680": _ALDER_LAKE_S,
    "a780": _RAPTOR_LAKE_S,
    "7d55": _METEOR_LAKE,
    **dict.fromkeys(("7d40", "7d45", "7dd5"), _METEOR_LAKE_U),
    "7d67": _ARROW_LAKE_S,
    **dict.fromkeys(("7d41", "7dd1"), _ARROW_LAKE_U),
    "7d51": _ARROW_LAKE_H,
    **dict.fromkeys(("64a0", "6420", "64b0"), _LUNAR_LAKE),
    **dict.fromkeys(("b080", "b082"), _PANTHER_LAKE_12),
    **dict.fromkeys(("b081", "b083"), _PANTHER_LAKE_10),
    **dict.fromkeys(("b08f", "b090", "b0a0"), _PANTHER_LAKE_4),
    **dict.fromkeys(("fd80", "fd81"), _WILDCAT_LAKE),
    **_CARDS,
    "e209": _CARDS["e20b"],
}

#: IP version (DEVICE_ARCHITECTURE "arch=v...") -> peaks, where no id tells: the same version may be
#: in several products, then the smallest stands here. Versions: intel/compute-runtime platforms.h.
GPU_VERSIONS = {
    "12.0.0": _TIGER_LAKE,
    "12.2.0": _ALDER_LAKE_S,
    "12.3.0": _ALDER_LAKE_P,
    "12.55.8": _CARDS["56a2"],
    "12.56.5": _CARDS["56a6"],
    "12.70.4": _METEOR_LAKE_U,
    "12.71.4": _METEOR_LAKE,
    "12.74.4": _ARROW_LAKE_H,
    "20.4.4": _LUNAR_LAKE,
    "30.0.4": _PANTHER_LAKE_10,
    "30.1.0": _PANTHER_LAKE_4,
    "30.3.1": _WILDCAT_LAKE,
}
