"""The GPU's user space: the OpenCL loader, Intel's driver that its ICD file names."""

from __future__ import annotations

from local_opus.devices import packages, platforms
from local_opus.devices.case import Case, Found, broken, holds, unknown
from local_opus.devices.platforms import is_older, text_of
from local_opus.devices.plugin import shortened

_LOADER = "libOpenCL.so.1"
_DRIVER = "libigdrcl.so"
#: Names of the driver's package, by distribution.
_PACKAGES = ("intel-opencl-icd", "intel-opencl", "intel-compute-runtime")
#: From this kernel on, i915 tells an address space that older runtimes did not expect.
_NEW_ADDRESSES, _KNOWS_NEW_ADDRESSES = (6, 8), (24, 9)
_VENDORS = "/OpenCL/vendors"


def libraries(case: Case) -> Found:
    """Judge whether OpenVINO's GPU plugin finds what it needs."""
    facts, software = case.facts, case.facts.software
    if case.listed:
        version = _version(case)
        found = f", compute runtime {version}" if version else ""
        return holds(f"OpenVINO's GPU plugin found them{found}")
    if case.sibling is not None and not is_older(_version(case), case.platform.user_space):
        return holds(f"they serve {case.sibling.name}: {case.sibling.full_name}")
    drivers = _icds(case)
    told = bool(software.libraries) or bool(software.icds)
    no_driver = told and not drivers
    said = case.said or ""
    if _LOADER in said or (_LOADER in software.libraries and software.libraries[_LOADER] is None):
        evidence = (
            shortened(said) if _LOADER in said else f"{_LOADER}, the OpenCL loader, is not found"
        )
        return broken(
            evidence, packages.gpu_libraries(facts, loader=True, driver=no_driver or not told)
        )
    if not told:
        return unknown(
            "not told: which OpenCL driver is installed (`clinfo -l` lists them)",
            packages.gpu_libraries(facts, loader=False, driver=True),
        )
    if no_driver:
        others = f"; it has {', '.join(sorted(_others(case)))}" if _others(case) else ""
        return broken(
            f"no file of /etc/OpenCL/vendors names Intel's GPU driver{others}",
            packages.gpu_libraries(facts, loader=False, driver=True),
        )
    file, library = drivers[0]
    if _is_absent(case, library):
        return broken(
            f"{file} names {library}, which is not found",
            packages.gpu_libraries(facts, loader=False, driver=True),
        )
    version = _version(case)
    if is_older(version, case.platform.user_space):
        least = text_of(case.platform.user_space or ())
        return broken(
            f"Intel's compute runtime {version} is older than {least}: it does not know "
            f"{case.title}",
            packages.newer_gpu_driver(facts, case.platform.name),
        )
    if (legacy := _legacy(case, version)) is not None:
        return legacy
    return holds(f"{_LOADER}, {file}{f', compute runtime {version}' if version else ''}")


def _legacy(case: Case, version: str | None) -> Found | None:
    last, told = case.platform.last_user_space, platforms.version(version)
    if last is None or told is None:
        return None
    fix = packages.legacy_gpu_driver(case.facts)
    if told[: len(last)] > last:
        return broken(
            f"Intel's compute runtime {version} no longer serves {case.title}; "
            f"{text_of(last)} was the last that did",
            fix,
        )
    kernel = platforms.version(case.facts.os.kernel)
    if kernel is not None and kernel >= _NEW_ADDRESSES and told < _KNOWS_NEW_ADDRESSES:
        return broken(
            f"Intel's compute runtime {version} finds no GPU on {case.kernel}: from "
            f"{text_of(_NEW_ADDRESSES)} on the address space has another size",
            fix,
        )
    return None


def _icds(case: Case) -> list[tuple[str, str]]:
    icds = case.facts.software.icds
    # Intel's CPU OpenCL registers itself there too, and gives no GPU.
    return sorted(
        (file, library)
        for file, library in icds.items()
        if _VENDORS in file and "igdrcl" in library
    )


def _others(case: Case) -> list[str]:
    icds = case.facts.software.icds
    return [library.rpartition("/")[2] for file, library in icds.items() if _VENDORS in file]


def _is_absent(case: Case, library: str) -> bool:
    found = case.facts.software.libraries
    names = (library, library.rpartition("/")[2])
    return any(name in found and found[name] is None for name in names)


def _version(case: Case) -> str | None:
    software = case.facts.software
    packages = (software.packages[name] for name in _PACKAGES if name in software.packages)
    found = next(packages, None)
    if found is not None:
        return found
    library = software.libraries.get(_DRIVER)
    return library.version if library else None
