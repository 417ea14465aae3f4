"""The files of the kernel by which a machine can be made faster, as they are here.

Each reader returns the files to write, or says why there is nothing to set. Values are words; where
the kernel lists all and puts the one in use into brackets, that one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from local_opus.facts import reading
from local_opus.host import Host
from local_opus.values.machine_tuning import ItemId, Knob

Found = tuple[Knob, ...] | str

_POLICIES = "/sys/devices/system/cpu/cpufreq"
_POLICY = re.compile(r"policy(\d{1,5})", re.ASCII)
#: Drivers with hints of their own, in their active mode (Linux Documentation/admin-guide/pm/
#: intel_pstate.rst and amd-pstate.rst).
_HINTED = {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}
_FASTEST = "performance"
_HUGE = "/sys/kernel/mm/transparent_hugepage"
#: Linux Documentation/admin-guide/mm/transhuge.rst: all memory gets huge pages where there are
#: some, and one that is missing is made in the background, so that no program waits for it.
_HUGE_WORDS = {"enabled": "always", "defrag": "defer+madvise"}
_DEVICES = "/sys/bus/pci/devices"
_NPU_DRIVER = "intel_vpu"
_IN_USE = re.compile(r"\[([^\[\]\s]+)\]")


def word(text: str) -> str:
    """Return the value that a file's text holds: the word in brackets, or all of it."""
    found = _IN_USE.search(text)
    return found[1] if found else text.strip()


def read(host: Host, path: str) -> str | None:
    """Return all that a file holds, as it is; None where it can't be read."""
    return reading.text(host, path)


def governor(host: Host) -> Found:
    """Hold the processor's clock high: the governor, then the hint of the drivers that have one.

    The order counts: under the governor performance a driver refuses other hints (EBUSY), so what
    is taken back first is the governor, too.
    """
    names = [name for name in reading.names(host, _POLICIES) if _POLICY.fullmatch(name)]
    if not names:
        return "the kernel scales no frequency here, as in most virtual machines"
    governors, hints, offered = [], [], False
    for name in sorted(names, key=lambda one: int(one.removeprefix("policy"))):
        folder = f"{_POLICIES}/{name}"
        if _FASTEST in (reading.word(host, f"{folder}/scaling_available_governors") or "").split():
            offered = True
            governors += _knob(host, f"{folder}/scaling_governor", _FASTEST)
        if reading.word(host, f"{folder}/scaling_driver") in _HINTED:
            known = reading.word(host, f"{folder}/energy_performance_available_preferences") or ""
            if _FASTEST in known.split():
                hints += _knob(host, f"{folder}/energy_performance_preference", _FASTEST)
    if not offered:
        return f"the kernel has no governor {_FASTEST} here"
    return _writable(host, (*governors, *hints), f"it is {_FASTEST} already")


def huge_pages(host: Host) -> Found:
    """Give all memory transparent huge pages.

    Not reserved ones (nr_hugepages): OpenVINO asks for none, so they would lie idle.
    """
    text = read(host, f"{_HUGE}/enabled")
    if text is None:
        return "the kernel has no transparent huge pages"
    if word(text) == _HUGE_WORDS["enabled"]:
        return "all memory has them already"
    found = []
    for name, wanted in _HUGE_WORDS.items():
        path = f"{_HUGE}/{name}"
        offers = re.findall(r"[^\[\]\s]+", read(host, path) or "")
        if wanted in offers or len(offers) == 1:
            found += _knob(host, path, wanted)
    return _writable(host, tuple(found), "all memory has them already")


def npu_clock(host: Host) -> Found:
    """Keep the NPU from clocking down: its lowest clock becomes its highest.

    From the generation 50xx on (Panther Lake) the driver lets that be set, in MHz
    (Linux drivers/accel/ivpu/ivpu_sysfs.c); the other files of its clock can only be read.
    """
    found: list[Knob] = []
    npus = fixed = 0
    for address in reading.names(host, _DEVICES):
        folder = f"{_DEVICES}/{address}"
        if reading.link_name(host, f"{folder}/driver") != _NPU_DRIVER:
            continue
        npus += 1
        highest = reading.number(host, f"{folder}/freq/hw_max_freq")
        if highest is None or reading.number(host, f"{folder}/freq/set_min_freq") is None:
            fixed += 1
            continue
        found += _knob(host, f"{folder}/freq/set_min_freq", str(highest))
    if not npus:
        return "there is no NPU with Intel's driver"
    if fixed == npus:
        return "this NPU's driver lets nobody set its clock"
    return _writable(host, tuple(found), "its lowest clock is its highest already")


def _knob(host: Host, path: str, wanted: str) -> list[Knob]:
    """Return the file where it is there and holds another word."""
    text = read(host, path)
    if text is None or not text.strip() or word(text) == wanted:
        return []
    return [Knob(path=path, before=text, wanted=wanted)]


def _writable(host: Host, found: tuple[Knob, ...], already: str) -> Found:
    if not found:
        return already
    for knob in found:
        if (problem := host.files.can_open(knob.path)) is not None:
            return f"{knob.path}: {problem}"
    return found


#: The items that files of the kernel set.
READERS: dict[ItemId, Callable[[Host], Found]] = {
    "governor": governor,
    "huge-pages": huge_pages,
    "npu-clock": npu_clock,
}
