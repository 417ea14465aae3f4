"""The probe: properties as JSON, and a driver that crashes, hangs or prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from enum import Enum
from pathlib import Path

import pytest

from local_opus import probing
from local_opus.cli import main
from local_opus.errors import WorkerError
from local_opus.facts import openvino
from local_opus.host import BegunWorker, Host, Processes
from local_opus.runtime import probe
from local_opus.runtime.protocol import Message
from local_opus.values import HostFacts, OpenVinoFacts
from machines import CPU_ONLY, Answers, host_on, write


class Mode(Enum):
    LATENCY = 1

    def __str__(self) -> str:
        return "Mode.LATENCY"


class Type:
    """Looks as openvino.Type does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def to_string(self) -> str:
        return self.name


VALUES = {
    "words": ("AI Boost", "AI Boost"),
    "numbers": ((1, 2.5, True, None), [1, 2.5, True, None]),
    "no numbers": ([float("nan"), float("inf")], ["nan", "inf"]),
    "enumeration": (Mode.LATENCY, "Mode.LATENCY"),
    "type": (Type("f16"), "f16"),
    "gops": ({Type("i8"): 8601.5, Type("f32"): 0.0}, {"i8": 8601.5, "f32": 0.0}),
    "sets have an order": ({"b", "a"}, ["a", "b"]),
    "nested": ({1: [(Type("u8"),)]}, {"1": [["u8"]]}),
    "an object without a form": (object(), "<object object>"),
}


@pytest.mark.parametrize("case", VALUES)
def test_as_json(case: str) -> None:
    value, expected = VALUES[case]
    assert json.loads(json.dumps(probe.as_json(value), allow_nan=False)) == expected


class FakeCore:
    """Has a CPU whose properties are good and bad, and plugins of which two refuse."""

    available_devices = ("CPU",)

    def get_property(self, device: str, name: str) -> object:
        if device == "GPU":
            raise RuntimeError(
                "Exception from src/inference/src/cpp/core.cpp:268:\nno libOpenCL.so.1\n\n"
            )
        if device == "NPU":
            raise RuntimeError("")
        if name == "SUPPORTED_PROPERTIES":
            return {"FULL_DEVICE_NAME": "RO", "SECRET": "WO", "BAD": "RW", "NUM_STREAMS": "RW"}
        if name in {"BAD", "SECRET"}:
            raise TypeError("Unable to convert\n\tthis value")
        return {"FULL_DEVICE_NAME": "A CPU", "NUM_STREAMS": 1}[name]


def test_each_property_is_read_on_its_own() -> None:
    (device,) = probe.ask_devices(FakeCore(), None)["devices"]
    assert device == {
        "name": "CPU", "full_name": "A CPU",
        "properties": {"FULL_DEVICE_NAME": "A CPU", "NUM_STREAMS": 1},
        "unreadable": {"BAD": "Unable to convert this value"}}  # fmt: skip


def test_what_openvino_says_of_absent_devices() -> None:
    absent = {"GPU": "no libOpenCL.so.1", "NPU": "RuntimeError"}
    assert probe.ask_devices(FakeCore(), None)["absent"] == absent
    assert probe.ask_devices(FakeCore(), ["CPU"])["absent"] == {}


def test_a_device_without_any_property() -> None:
    (device,) = probe.ask_devices(FakeCore(), ["GPU"])["devices"]
    assert (device["full_name"], device["properties"]) == ("GPU", {})
    assert device["unreadable"] == {"SUPPORTED_PROPERTIES": "no libOpenCL.so.1"}


# -- the parent's side -------------------------------------------------------------------------


def ask(tmp_path: Path, answers: Answers | Message) -> OpenVinoFacts:
    return openvino.parse(openvino.read(host_on(tmp_path, answers), timeout=1))


def test_after_a_failure_the_cpu_is_asked_alone(tmp_path: Path) -> None:
    found = ask(
        tmp_path, lambda asked: CPU_ONLY if asked["devices"] == ["CPU"] else "it ended (SIGSEGV)"
    )
    assert ([device.name for device in found.devices], found.problem) == (
        ["CPU"],
        "it ended (SIGSEGV)",
    )


def test_after_two_failures_the_first_is_told(tmp_path: Path) -> None:
    found = ask(tmp_path, lambda asked: "second" if asked["devices"] else "first")
    assert found == OpenVinoFacts(version=None, devices=(), problem="first")


@pytest.mark.parametrize("answer", [
    {}, {"version": 1}, {**CPU_ONLY, "devices": "CPU"}, {**CPU_ONLY, "devices": [{"name": "CPU"}]},
    {**CPU_ONLY, "more": 1}])  # fmt: skip
def test_an_answer_of_another_form_is_a_problem(answer: Message, tmp_path: Path) -> None:
    found = ask(tmp_path, answer)
    assert (found.version, found.devices) == (None, ())
    assert found.problem is not None
    assert found.problem.startswith("probe worker: ")


# -- a real worker with an OpenVINO that misbehaves ---------------------------------------------

CORE = """
import ctypes, os, sys, time
def get_version(): return "1.2.3"
class Core:
    @property
    def available_devices(self):
        {misdeed}
        return ["CPU"]
    def get_property(self, device, name):
        if device != "CPU": raise RuntimeError("no " + device)
        return {{"SUPPORTED_PROPERTIES": {{"FULL_DEVICE_NAME": "RO"}}, "FULL_DEVICE_NAME": "A CPU"}}[name]
"""
KILLED = "os.kill(os.getpid(), 11)"
MISDEEDS = {
    "a crash": (CORE.format(misdeed=KILLED), ["CPU"], "SIGSEGV"),
    "a real segmentation fault": (CORE.format(misdeed="ctypes.string_at(0)"), ["CPU"], "SIGSEGV"),
    "a hang": (CORE.format(misdeed="time.sleep(600)"), ["CPU"], "time limit"),
    "an exit": (CORE.format(misdeed="os._exit(3)"), ["CPU"], "exit code 3"),
    "an exception": (CORE.format(misdeed="raise RuntimeError('broken driver')"), ["CPU"], "broken driver"),
    "noise on both outputs": (CORE.format(misdeed="os.write(1, b'{}garbage' * 9); print('x'); sys.stdout.flush()"), ["CPU"], None),
    "garbage among the frames": (CORE.format(misdeed="[os.write(fd, b'\\xff garbage') for fd in range(3, 9) if os.path.exists(f'/proc/self/fd/{fd}')]"), ["CPU"], "this is not a frame"),
    "a crash at every time": (f"import os\n{KILLED}\n", [], "SIGSEGV"),
    "a missing library": ("raise ImportError('libtbb.so.12: cannot open')", [], "libtbb.so.12"),
    "a missing module of its own": ("import numpy_of_openvino", [], "numpy_of_openvino"),
    "not installed": ("raise ModuleNotFoundError('none', name='openvino')", [], "openvino package is not installed"),
}  # fmt: skip


class WithPackages(Processes):
    """Lets the worker find the packages of a folder first."""

    def begin(self) -> BegunWorker:
        return self.begin_worker("probe", {"devices": None, "cpu_name": False}, timeout=1.5,
                                 extra_env={"PYTHONPATH": self.path})  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(os.environ)
        self.path = str(folder)

    def worker(
        self, module: str, request: Message, *, timeout: float, **_settings: object
    ) -> Message:
        return super().worker(module, request, timeout=timeout, extra_env={"PYTHONPATH": self.path})


@pytest.mark.parametrize("begun", [False, True], ids=["asked", "begun before"])
@pytest.mark.parametrize("case", MISDEEDS)
def test_a_misdeed_of_native_code_is_a_fact(case: str, begun: bool, tmp_path: Path) -> None:
    source, devices, problem = MISDEEDS[case]
    (tmp_path / "packages" / "openvino").mkdir(parents=True)
    (tmp_path / "packages" / "openvino" / "__init__.py").write_text(source)
    host = Host()
    processes = WithPackages(tmp_path / "packages")
    host.processes = processes
    with processes.begin() if begun else nullcontext() as worker:
        found = openvino.parse(openvino.read(host, timeout=1.5, begun=worker))
    assert [device.name for device in found.devices] == devices
    if problem is None:
        assert found.problem is None
    else:
        assert problem in str(found.problem)
        assert "\n" not in str(found.problem)


def test_a_worker_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(CORE.format(misdeed="time.sleep(600)"))
    with WithPackages(tmp_path).begin() as worker:
        pid = worker._child.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


class Begun:
    """A probe that runs already, and says what it is told to."""

    def __init__(self, answer: Message | str) -> None:
        self.answer = answer

    def result(self) -> Message:
        if isinstance(self.answer, str):
            raise WorkerError(self.answer, "Run it again.")
        return self.answer


NAMED = {"cpu": {"model": "Neoverse"}}


@pytest.mark.parametrize(("begun", "beside", "model", "problem"), [
    (CPU_ONLY, {**CPU_ONLY, **NAMED}, "Neoverse", None),
    (CPU_ONLY, "the second crashed", "", None),  # the devices are known all the same
    ("the first crashed", {**CPU_ONLY, **NAMED}, "Neoverse", "the first crashed")])  # fmt: skip
def test_the_processors_name_is_asked_beside_a_probe_that_runs(
    begun: Message | str, beside: Message | str, model: str, problem: str | None, tmp_path: Path
) -> None:
    host = host_on(tmp_path, lambda _: beside)
    raw = openvino.read(host, timeout=1, ask_cpu_name=True, begun=Begun(begun))
    assert openvino.parse_cpu(raw).model == model
    found = openvino.parse(raw)
    assert ([device.name for device in found.devices], found.problem) == (["CPU"], problem)


# -- the bindings without the package around them ------------------------------------------------

LOADED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from local_opus.runtime import probe
print(json.dumps([probe.load_bindings().get_version(), "openvino.whole" in sys.modules]))
"""
BINDINGS = 'def get_version(): return "bare"\n'
WHOLE = 'import openvino.whole\ndef get_version(): return "whole"\n'
PACKAGES = {
    "bindings and numpy": ({"openvino/_pyopenvino.py": BINDINGS, "numpy/__init__.py": ""}, ["bare", False]),
    "no bindings of that name": ({"numpy/__init__.py": ""}, ["whole", True]),
    "bindings that do not load": ({"openvino/_pyopenvino.py": "raise OSError('libtbb')", "numpy/__init__.py": ""}, ["whole", True]),
    # Without numpy the package itself can't be imported, and must say so.
    "no numpy": ({"openvino/_pyopenvino.py": BINDINGS}, ["whole", True]),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKAGES)
def test_bindings(case: str, tmp_path: Path) -> None:
    files, expected = PACKAGES[case]
    write(tmp_path, {"/openvino/__init__.py": WHOLE, "/openvino/whole.py": "",
                     **{f"/{path}": text for path, text in files.items()}})  # fmt: skip
    source = str(Path(probe.__file__).parents[2])
    command = [sys.executable, "-S", "-c", LOADED, str(tmp_path)]
    done = subprocess.run(
        command, env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == expected


# -- the whole command, with a Python for workers that misbehaves -------------------------------

PYTHONS = {
    "garbage": ("echo garbage that is no frame", "this is not a frame"),
    "nothing": ("exit 3", "exit code 3"),
    "a crash": ("kill -SEGV $$", "SIGSEGV"),
    "half a frame": ("printf '\\000\\000\\000\\011{'", "ended without an answer"),
    "a frame that is no object": ("printf '\\000\\000\\000\\002[]'", "no object"),
    # The second worker, which is asked for the CPU alone, ends at once.
    "a hang": ('if mkdir "$0.once"; then sleep 600; else exit 3; fi', "time limit of 0.5 s"),
}


@pytest.mark.parametrize("case", PYTHONS)
def test_detect_lives_on(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, words = PYTHONS[case]
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(probing, "TIMEOUT", 0.5 if case == "a hang" else 30)
    assert main(["detect", "--json"]) == 0
    facts = HostFacts.model_validate_json(capsys.readouterr().out)
    assert (facts.openvino.version, facts.openvino.devices) == (None, ())
    assert words in str(facts.openvino.problem)
    assert facts.memory.total > 0


def test_names_are_one_line_of_letters(tmp_path: Path) -> None:
    name = "Intel\x1b[2J GPU\r\nIt works.\x9b1m\u202e  "
    device = {"name": "GPU", "full_name": name, "properties": {}, "unreadable": {}}
    host = host_on(tmp_path, {**CPU_ONLY, "devices": [device]})
    (found,) = openvino.parse(openvino.read(host, timeout=1)).devices
    assert found.full_name == "Intel [2J GPU It works. 1m"


def test_a_name_without_an_end_is_cut(tmp_path: Path) -> None:
    device = {"name": "GPU", "full_name": "x" * 10**6, "properties": {}, "unreadable": {}}
    host = host_on(tmp_path, {**CPU_ONLY, "devices": [device]})
    (found,) = openvino.parse(openvino.read(host, timeout=1)).devices
    assert found.full_name == "x" * 200
