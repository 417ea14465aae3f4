"""The tiny inference: right on a real CPU, and every misdeed of a driver is its problem."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from local_opus.errors import WorkerError
from local_opus.facts.inference import is_same, try_device
from local_opus.host import Host, Processes
from local_opus.runtime import tiny
from local_opus.runtime.protocol import Message


def test_the_cpu_is_right() -> None:
    found = try_device(Host(), "CPU")
    assert (found.device, found.ran_on, found.right, found.problem) == ("CPU", "CPU", True, None)
    assert 0 < found.seconds < 30


def test_a_device_that_is_not_there_has_a_problem() -> None:
    found = try_device(Host(), "NPU")
    assert (found.ran_on, found.right) == (None, False)
    assert found.problem
    assert "\n" not in found.problem


@pytest.mark.parametrize(
    "device", ["AUTO", "AUTO:NPU,CPU", "HETERO:GPU,CPU", "MULTI:CPU", "BATCH:CPU", "", "CPU,GPU"]
)
def test_whatever_may_fall_back_to_the_cpu_is_refused(device: str) -> None:
    found = try_device(Host(), device)
    assert (found.ran_on, found.right) == (None, False)
    assert "is not one device" in str(found.problem)


@pytest.mark.parametrize(("asked", "ran_on", "same"), [
    ("CPU", "CPU", True), ("GPU", "GPU.0", True), ("GPU.0", "GPU", True), ("GPU.1", "GPU.1", True),
    ("NPU", "NPU", True), ("NPU", "NPU.3720", True), ("NPU.3720", "NPU", True),
    ("GPU", "GPU.1", False), ("GPU.1", "GPU.0", False), ("GPU.1", "GPU", False),
    ("NPU.3720", "NPU.4000", False), ("GPU", "CPU", False), ("NPU", "CPU", False),
    ("NPU", "NPU, CPU", False), ("GPU", "(CPU)", False),
])  # fmt: skip
def test_is_same(asked: str, ran_on: str, same: bool) -> None:
    assert is_same(asked, ran_on) is (same and ", " not in ran_on)


# -- the product -------------------------------------------------------------------------------


def test_inputs_and_sums_are_exact_in_half_precision() -> None:
    given, weights, bias = tiny.matrices()
    exact = np.maximum(given.astype(np.float64) @ weights.astype(np.float64) + bias, 0)
    assert np.array_equal(tiny.expected().astype(np.float64), exact)
    for part in (given, weights, bias, tiny.expected()):
        assert np.array_equal(part, part.astype(np.float16).astype(np.float32))


def test_the_answer_has_zeros_and_much_else() -> None:
    wanted = tiny.expected()
    assert 0.2 < (wanted == 0).mean() < 0.8
    assert len(np.unique(wanted)) > 50


def half(answer: np.ndarray) -> np.ndarray:
    return answer.astype(np.float16).astype(np.float32)


def brain(answer: np.ndarray) -> np.ndarray:
    bits = answer.astype(np.float32).view(np.uint32) + np.uint32(0x8000)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def one_off(answer: np.ndarray) -> np.ndarray:
    changed = answer.copy()
    changed[3, 5] += 0.25
    return changed


ANSWERS = {
    "float32": (lambda wanted: wanted, None),
    "float16": (half, None),
    "bfloat16": (brain, None),
    "one number is off": (one_off, "1 of 512 numbers, by 0.25"),
    "zeros": (np.zeros_like, "the result is wrong"),
    "another shape": (np.transpose, "the shape (32, 16), not (16, 32)"),
    "other columns": (lambda wanted: wanted[:, ::-1], "the result is wrong"),
    "no numbers": (lambda wanted: np.full_like(wanted, np.nan), "512 of 512"),
    "infinity": (lambda wanted: np.where(wanted > 20, np.inf, wanted), "the result is wrong"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_judging_an_answer(case: str) -> None:
    change, words = ANSWERS[case]
    right, problem = tiny._judge(np.asarray(change(tiny.expected()), dtype=np.float32))
    assert right is (words is None)
    assert (problem is None) if words is None else (words in str(problem))


# -- the parent's side -------------------------------------------------------------------------


class Scripted(Processes):
    """Answers for the worker."""

    def __init__(self, answer: Message | str) -> None:
        super().__init__({})
        self.answer = answer

    def worker(self, module: str, request: Message, **_settings: object) -> Message:
        assert (module, request) == ("tiny", {"device": "GPU.1"})
        if isinstance(self.answer, str):
            raise WorkerError(self.answer, "Run it again.")
        return self.answer


GOOD: Message = {
    "device": "GPU.1",
    "ran_on": "GPU.1",
    "right": True,
    "problem": None,
    "seconds": 0.2,
}
SCRIPTED = {
    "it worked": (GOOD, None),
    "it ran on the CPU": (GOOD | {"ran_on": "CPU"}, "it ran on CPU, not on GPU.1"),
    "it ran on the other card": (GOOD | {"ran_on": "GPU.0"}, "it ran on GPU.0, not on GPU.1"),
    "it says nowhere": (GOOD | {"ran_on": None}, "it ran on no device, not on GPU.1"),
    "wrong without a word": (GOOD | {"right": False}, "the result is wrong"),
    "right with a problem": (GOOD | {"problem": "out of memory"}, "out of memory"),
    "for another device": (GOOD | {"device": "CPU"}, "answered for CPU"),
    "nothing": ({}, "tiny worker: device: Field required"),
    "garbage": (GOOD | {"right": "perhaps"}, "tiny worker: right: "),
    "a crash": ("tiny worker ended without an answer (SIGSEGV)", "SIGSEGV"),
}


@pytest.mark.parametrize("case", SCRIPTED)
def test_an_answer_of_the_worker(case: str) -> None:
    answer, words = SCRIPTED[case]
    host = Host()
    host.processes = Scripted(answer)
    found = try_device(host, "GPU.1")
    assert found.right is (words is None)
    assert (found.problem is None) if words is None else (words in str(found.problem))


# -- a real worker with an OpenVINO that misbehaves ----------------------------------------------

NODES = "def __getattr__(name): return lambda *a, **k: None\n"
CORE = """
import ctypes, os, sys, time
import numpy
__version__ = "1"
class Type: f32 = None
def Model(*a): return None
class Request:
    def infer(self, given):
        {infer}
        return {{0: answer}}
class Compiled:
    def create_infer_request(self): return Request()
    def output(self, number): return number
    def get_property(self, name): return {ran_on}
class Core:
    def compile_model(self, model, device):
        {compile}
        return Compiled()
"""
RIGHT = "answer = sys.modules['__main__'].expected()"


def fake(compile_: str = "pass", infer: str = RIGHT, ran_on: str = "['GPU.0']") -> str:
    return CORE.format(compile=compile_, infer=infer, ran_on=ran_on)


MISDEEDS = {
    "none": (fake(), None),
    "a crash at compiling": (fake("os.kill(os.getpid(), 11)"), "SIGSEGV"),
    "a real segmentation fault": (fake("ctypes.string_at(0)"), "SIGSEGV"),
    "a crash at running": (fake(infer="os.abort()"), "SIGABRT"),
    "a hang": (fake(infer="time.sleep(600)"), "time limit"),
    "an exit": (fake("os._exit(0)"), "exit code 0"),
    "an exception": (fake("raise RuntimeError('Exception from src/a.cpp:1:\\nno memory\\n')"), "no memory"),
    "an exception without a word": (fake("raise ValueError"), "ValueError"),
    "noise on both outputs": (fake("os.write(1, b'garbage' * 9); print('x', flush=True)"), None),
    "a wrong product": (fake(infer=f"{RIGHT} + 1"), "512 of 512 numbers, by 1"),
    "another device": (fake(ran_on="['CPU']"), "it ran on CPU, not on GPU"),
    "two devices": (fake(ran_on="['GPU.0', 'CPU']"), "it ran on GPU.0, CPU, not on GPU"),
    "not installed": ("raise ModuleNotFoundError('no openvino')", "no openvino"),
}  # fmt: skip


class WithPackages(Processes):
    """Lets the worker find the packages of a folder first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(os.environ)
        self.path = str(folder)

    def worker(
        self, module: str, request: Message, *, timeout: float, **_settings: object
    ) -> Message:
        return super().worker(module, request, timeout=timeout, extra_env={"PYTHONPATH": self.path})


@pytest.mark.parametrize("case", MISDEEDS)
def test_a_misdeed_of_native_code_is_a_problem(case: str, tmp_path: Path) -> None:
    source, words = MISDEEDS[case]
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(source)
    (tmp_path / "openvino" / "opset13.py").write_text(NODES)
    host = Host()
    host.processes = WithPackages(tmp_path)
    found = try_device(host, "GPU", timeout=3)
    assert found.right is (words is None)
    if words is None:
        assert (found.ran_on, found.problem) == ("GPU.0", None)
    else:
        assert words in str(found.problem)
        assert "\n" not in str(found.problem)
