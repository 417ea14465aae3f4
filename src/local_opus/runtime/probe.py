"""Worker: what OpenVINO can use here, and on request what py-cpuinfo says of the processor.

Request: ``{"devices": ["CPU"] or null for all, "cpu_name": bool}``. Result: the fields of
OpenVinoFacts and, where asked for, ``cpu``. Loading a device's plugin runs its driver, so this
process may crash or hang; its parent expects that.
"""

from __future__ import annotations

import math
import re
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol

from local_opus.runtime.protocol import Message
from local_opus.runtime.worker import Emit, answer_one, plain

#: Devices of Intel that get a word of explanation when OpenVINO does not list them.
_EXPECTED = ("GPU", "NPU")
_OBJECT_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Core(Protocol):
    """What is used of openvino.Core."""

    available_devices: list[str]

    def get_property(self, device: str, name: str) -> object:
        """Return a device's property."""
        ...


def handle(request: Message, _emit: Emit) -> Message:
    """Answer one request."""
    devices = request.get("devices")
    only = [str(name) for name in devices] if isinstance(devices, list) else None
    if not request.get("cpu_name"):
        return _ask_openvino(only)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        cpu = pool.submit(_cpu_name)
        return {**_ask_openvino(only), "cpu": cpu.result()}


def _ask_openvino(only: list[str] | None) -> Message:
    try:
        bindings = load_bindings()
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            return _failed(f"openvino can't be imported: {plain(error)}")
        return _failed("the openvino package is not installed in this environment")
    except (ImportError, OSError) as error:  # a library of the system that it needs
        return _failed(f"openvino can't be imported: {plain(error)}")
    core = bindings.Core()
    version = str(bindings.get_version())
    return {"version": version, "problem": None, **ask_devices(core, only)}


def load_bindings() -> ModuleType:
    """Import openvino's native bindings; the whole package where they can't be had alone.

    The package around them imports numpy and the model converters, which takes five times as long
    as all questions together. Raises ImportError and OSError as an import does.
    """
    package = find_spec("openvino")
    folders = package.submodule_search_locations if package is not None else None
    # Without numpy the package can't be used, and its own error tells so best.
    if folders and find_spec("numpy") is not None:
        bare = ModuleType("openvino")
        bare.__path__ = list(folders)
        sys.modules["openvino"] = bare
        try:
            from openvino import _pyopenvino
        except (ImportError, OSError):
            for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
                del sys.modules[name]
        else:
            bindings: ModuleType = _pyopenvino
            return bindings
    import openvino

    whole: ModuleType = openvino
    return whole


def _failed(problem: str) -> Message:
    return {"version": None, "devices": [], "problem": problem, "absent": {}}


def ask_devices(core: _Core, only: list[str] | None) -> Message:
    """Return ``devices`` with their properties, and ``absent`` where all were asked for."""
    names = list(core.available_devices) if only is None else only
    absent: dict[str, str] = {}
    for kind in _EXPECTED if only is None else ():
        if not any(name.partition(".")[0] == kind for name in names):
            value, problem = _read(core, kind, "FULL_DEVICE_NAME")
            absent[kind] = problem or f"it names {value}, but does not list it"
    return {"devices": [_device(core, name) for name in names], "absent": absent}


def _device(core: _Core, name: str) -> Message:
    properties: dict[str, object] = {}
    unreadable: dict[str, str] = {}
    supported, problem = _read(core, name, "SUPPORTED_PROPERTIES")
    if problem is not None:
        unreadable["SUPPORTED_PROPERTIES"] = problem
    for key, access in sorted(supported.items()) if isinstance(supported, dict) else ():
        if str(access) == "WO" or key == "SUPPORTED_PROPERTIES":
            continue
        value, problem = _read(core, name, str(key))
        if problem is None:
            properties[str(key)] = value
        else:
            unreadable[str(key)] = problem
    full_name = properties.get("FULL_DEVICE_NAME")
    return {
        "name": name,
        "full_name": full_name if isinstance(full_name, str) else name,
        "properties": properties,
        "unreadable": unreadable,
    }


def _read(core: _Core, device: str, name: str) -> tuple[object, str | None]:
    try:
        return as_json(core.get_property(device, name)), None
    except Exception as error:  # noqa: BLE001 - plugins raise what they like; the text is kept
        return None, plain(error)


def as_json(value: object) -> object:
    """Return a property as JSON holds it; OpenVINO's types and enumerations become words."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(as_json(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((as_json(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if callable(to_string := getattr(value, "to_string", None)):  # openvino.Type: "f16"
        return str(to_string())
    return _OBJECT_ADDRESS.sub("", str(value))  # enumerations: "PerformanceMode.LATENCY"


def _cpu_name() -> Message:
    """Ask py-cpuinfo; what it can't tell stays empty."""
    import cpuinfo

    said = cpuinfo.get_cpu_info()
    return {
        "model": said.get("brand_raw", ""),
        "vendor": said.get("vendor_id_raw", ""),
        "architecture": said.get("arch_string_raw", ""),
        "flags": said.get("flags", []),
    }


if __name__ == "__main__":
    raise SystemExit(answer_one(handle))
