"""Kernel modules of the accelerators: loaded, built in, available, missing, or not told."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import firmware, reading
from local_opus.host import Host

MODULES = ("i915", "xe", "intel_vpu")


@dataclass(frozen=True)
class RawModule:
    """Whether /sys/module has it, and the word of its initstate, which modules built in lack."""

    name: str
    in_sysfs: bool
    initstate: str | None


@dataclass(frozen=True)
class Raw:
    """What sysfs and /proc/modules say, and the lists of the kernel's folder of modules."""

    modules: tuple[RawModule, ...]
    loaded: str | None
    builtin: str | None
    dependencies: str | None


def read(host: Host) -> Raw:
    """Read what is loaded, and what lies in the folder of the running kernel."""
    release = firmware.release(host)
    folder = f"/lib/modules/{release}" if release else None
    return Raw(
        tuple(
            RawModule(
                name,
                reading.exists(host, f"/sys/module/{name}"),
                reading.word(host, f"/sys/module/{name}/initstate"),
            )
            for name in MODULES
        ),
        loaded=reading.text(host, "/proc/modules"),
        builtin=reading.text(host, f"{folder}/modules.builtin") if folder else None,
        dependencies=reading.text(host, f"{folder}/modules.dep") if folder else None,
    )


def parse(raw: Raw) -> dict[str, str]:
    """Return one word a module."""
    return {module.name: _word(module, raw) for module in raw.modules}


def _word(module: RawModule, raw: Raw) -> str:
    if module.initstate == "live" or _begins_a_line(module.name, raw.loaded):
        return "loaded"
    if has(raw.builtin, module.name) or (module.in_sysfs and module.initstate is None):
        return "built in"
    if raw.dependencies is None:  # a container without the host's /lib/modules
        return "not told"
    return "available" if has(raw.dependencies, module.name) else "missing"


def _begins_a_line(name: str, text: str | None) -> bool:
    return re.search(rf"^{re.escape(name)} ", text or "", re.MULTILINE) is not None


def has(listed: str | None, name: str) -> bool:
    """Tell whether a list of module files (modules.dep, modules.builtin) has a module."""
    file = rf"^(?:\S*/)?{re.escape(name)}\.ko(?:\.\w+)?(?::|\s*$)"
    return re.search(file, listed or "", re.MULTILINE) is not None
