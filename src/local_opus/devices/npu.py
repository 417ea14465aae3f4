"""The NPU's user space: the Level Zero loader, Intel's driver, and the driver's compiler."""

from __future__ import annotations

from local_opus.devices import fixes, packages
from local_opus.devices.case import Case, Found, broken, holds, unknown
from local_opus.devices.platforms import is_older, text_of
from local_opus.values import LibraryFacts

LOADER = "libze_loader.so.1"
DRIVER = "libze_intel_npu.so.1"
#: The driver's name before its release 1.16. An older driver beside a new one does harm.
STALE = "libze_intel_vpu.so.1"
_RENAMED = (1, 16)
#: The compiler's names: until release 1.32, and since.
COMPILERS = ("libnpu_driver_compiler.so", "libopenvino_intel_npu_compiler.so")
#: The first loader that has every function that OpenVINO's plugin asks for (Level Zero 1.6),
#: and the first that knows libze_intel_npu.so.1: CHANGELOG.md of oneapi-src/level-zero.
_LEAST_LOADER = (1, 10)
_KNOWS_NPU = (1, 17, 17)
_PACKAGES = ("intel-level-zero-npu", "intel-npu-driver")
_LOADER_PACKAGES = ("libze1", "level-zero", "oneapi-level-zero", "level-zero-loader")


def libraries(case: Case) -> Found:
    """Judge whether OpenVINO's NPU plugin finds what it needs to list the NPU and to compile."""
    if case.works:
        return holds("an inference was compiled with them")
    if case.listed:
        return _compiler(case, f"OpenVINO's NPU plugin found them{_version_words(case)}")
    found = case.facts.software.libraries
    if not found:
        fix = packages.npu_libraries(case.facts, loader=True, driver=True, compiler=True)
        return unknown(
            "not told: which of the NPU's libraries are installed "
            "(`ldconfig -p | grep -E 'libze_|npu'` lists them)",
            fix,
        )
    return (
        _loader(case)
        or _driver(case)
        or _compiler(case, f"{LOADER}, {DRIVER}{_version_words(case)}")
    )


def _loader(case: Case) -> Found | None:
    found = case.facts.software.libraries
    if LOADER in found and found[LOADER] is None:
        fix = packages.npu_libraries(
            case.facts, loader=True, driver=_is_absent(case, DRIVER), compiler=_lacks_compiler(case)
        )
        return broken(f"{LOADER}, the Level Zero loader, is not found", fix)
    version = _version(case, LOADER, _LOADER_PACKAGES)
    fix = packages.npu_libraries(case.facts, loader=True, driver=False, compiler=False)
    if is_older(version, _LEAST_LOADER):
        return broken(
            f"the Level Zero loader {version} is older than {text_of(_LEAST_LOADER)}: it "
            "lacks functions that OpenVINO asks for",
            fix,
        )
    if is_older(version, _KNOWS_NPU) and not _is_named(case):
        return broken(
            f"the Level Zero loader {version} is older than {text_of(_KNOWS_NPU)}: it "
            f"does not look for {DRIVER}",
            fix,
        )
    return None


def _driver(case: Case) -> Found | None:
    found, facts = case.facts.software.libraries, case.facts
    stale = found.get(STALE)
    fix = packages.npu_libraries(facts, loader=False, driver=True, compiler=_lacks_compiler(case))
    if _is_absent(case, DRIVER):
        if stale is not None:
            return broken(f"only {stale.path} is there, of a driver older than 1.16", fix)
        return broken(f"{DRIVER}, the NPU's user-space driver, is not found", fix)
    if stale is not None and _is_older_driver(stale):
        return broken(
            f"{stale.path} of an older driver lies beside {DRIVER}", fixes.remove_stale(stale.path)
        )
    version = _version(case, DRIVER, _PACKAGES)
    if is_older(version, case.platform.user_space):
        least = text_of(case.platform.user_space or ())
        return broken(
            f"the NPU's user-space driver {version} is older than {least}, the first for "
            f"{case.title}",
            fix,
        )
    return None


def _compiler(case: Case, evidence: str) -> Found:
    """Judge the compiler: PyPI's OpenVINO has none, so the driver's compiles every model."""
    properties = case.match.device.properties if case.match else {}
    told = properties.get("NPU_COMPILER_VERSION")
    compiles = isinstance(told, int) and told > 0
    if compiles or not (_lacks_compiler(case) or told == 0):
        return holds(evidence)
    said = "OpenVINO tells its version as 0" if told == 0 else f"no {' or '.join(COMPILERS)}"
    return broken(
        f"the NPU's compiler is not found ({said}): no model can be compiled",
        packages.npu_libraries(case.facts, loader=False, driver=False, compiler=True),
    )


def _lacks_compiler(case: Case) -> bool:
    """Say whether every name that was looked for is missing, and an older driver asks for it."""
    found = case.facts.software.libraries
    looked = [name for name in COMPILERS if name in found]
    if not looked or any(found[name] is not None for name in looked):
        return False
    if len(looked) == len(COMPILERS):
        return True
    # Only the older name was looked for: a newer driver brings the newer one.
    return is_older(_version(case, DRIVER, _PACKAGES), (1, 33))


def _is_absent(case: Case, name: str) -> bool:
    found = case.facts.software.libraries
    return name in found and found[name] is None


def _is_named(case: Case) -> bool:
    return any("npu" in library for library in case.facts.software.icds.values())


def _is_older_driver(library: LibraryFacts) -> bool:
    """Say whether a library of the older name is an older driver, not a link to the new one."""
    return library.version is None or is_older(library.version, _RENAMED)


def _version(case: Case, name: str, packages: tuple[str, ...]) -> str | None:
    software = case.facts.software
    library = software.libraries.get(name)
    if library is not None and library.version is not None:
        return library.version
    return next((software.packages[one] for one in packages if one in software.packages), None)


def _version_words(case: Case) -> str:
    version = _version(case, DRIVER, _PACKAGES)
    return f", driver {version}" if version else ""
