"""``bench device``: names, workers that fail, what is shown, and the old claims."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from host_facts import accelerator, cpu, device, facts
from pydantic import ValidationError
from rich.console import Console

from local_opus import cli, control, device_bench
from local_opus import facts as facts_room
from local_opus.devices.claims import claims
from local_opus.devices.measured import (
    WITHOUT_OPENVINO,
    MeasuredDevice,
    MeasuredMachine,
    Measurement,
    What,
)
from local_opus.devices.published import rated
from local_opus.errors import ExitCode, LocalOpusError, MachineCannotError, WorkerError
from local_opus.host import Host, Processes
from local_opus.report.bench import print_bench, share
from local_opus.runtime.protocol import Message
from local_opus.values import HostFacts

CPU = device("CPU", "Intel(R) Core(TM) Ultra 7 155H")
NPU = device("NPU", "Intel(R) AI Boost", DEVICE_ARCHITECTURE="3720")
IGPU = device("GPU.0", "Arc", DEVICE_ARCHITECTURE="GPU: vendor=0x8086 arch=v12.71.4",
              DEVICE_UUID="8680557d080000000002000000000000")  # fmt: skip
FOREIGN = device("GPU.1", "NVIDIA", DEVICE_ARCHITECTURE="GPU: vendor=0x10de arch=v12.0.0")
LAPTOP = facts(
    [CPU, IGPU, FOREIGN, NPU],
    processor=cpu(CPU.full_name, isa=("avx2", "fma", "avx_vnni"), max_mhz=4800),
    accelerators=[accelerator("NPU", "7d1d"), accelerator("GPU", "7d55", "0000:00:02.0")],
    absent={},
)
SERVER = facts([device("CPU", "AMD EPYC")], absent={"GPU": "libOpenCL.so.1: cannot open"})


def figure(what: str, median: float, **more: Any) -> dict[str, Any]:
    return {"what": what, "best": median * 1.2, "median": median, "low": median * 0.9,
            "high": median * 1.1, "runs": 9,
            "precision": "i8", **more}  # fmt: skip


Play = Callable[[Message, Callable[[Message], None]], None]


class Scripted(Processes):
    """Plays a worker: emits what it is given, and raises what it is given."""

    def __init__(self, play: Play) -> None:
        super().__init__({})
        self.play = play
        self.asked: list[tuple[Message, float]] = []

    def worker(self, module: str, request: Message, *, timeout: float, on_event: Any = None,
               **_: Any) -> Message:  # fmt: skip
        assert module == "device_bench"
        self.asked.append((request, timeout))
        self.play(request, on_event)
        return {"openvino": "2026.4.1"}


def all_of_it(request: Message, on_event: Callable[[Message], None]) -> None:
    for what in request["what"]:  # type: ignore[attr-defined]
        on_event({"event": "figure", "figure": figure(what, 2.0)})


def run(machine: HostFacts, play: Play, name: str = "all") -> tuple[MeasuredMachine, Scripted]:
    host = Host()
    host.processes = scripted = Scripted(play)
    devices = device_bench.chosen(machine, name)
    return (
        device_bench.measure(host, machine, devices, seconds=30, beside_server=False),
        scripted,
    )


NAMES = [
    ("cpu", ["CPU"]), ("CPU", ["CPU"]), ("GPU", ["GPU.0"]), ("gpu.0", ["GPU.0"]),
    ("NPU", ["NPU"]), ("NPU.0", ["NPU"]), ("all", ["CPU", "GPU.0", "NPU"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "found"), NAMES)
def test_which_devices_a_name_means(name: str, found: list[str]) -> None:
    assert [one.name for one in device_bench.chosen(LAPTOP, name)] == found


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Any) -> Any:
    """The command line on a machine whose worker is scripted: words in, code and texts out."""

    def call(machine: HostFacts, play: Play, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(facts_room, "gather", lambda *_args, **_more: machine)
        monkeypatch.setattr(
            control, "use_installed_workers",
            lambda host, _places: setattr(host, "processes", Scripted(play)),
        )  # fmt: skip
        code = cli.main(["bench", "device", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def nothing(request: Message, _on_event: Callable[[Message], None]) -> None:
    pytest.fail(f"a worker was asked: {request}")


REFUSED = [
    ("AUTO", ExitCode.BAD_INPUT, ["chooses among devices", "Name one device"]),
    ("AUTO:NPU,CPU", ExitCode.BAD_INPUT, ["AUTO chooses"]),
    ("hetero:GPU,CPU", ExitCode.BAD_INPUT, ["HETERO chooses"]),
    ("MULTI", ExitCode.BAD_INPUT, ["MULTI chooses"]),
    ("NPUU", ExitCode.BAD_INPUT, ['Did you mean "NPU"?', "CPU, GPU, GPU.0"]),
    ("GPU.x", ExitCode.BAD_INPUT, ["no name of a device"]),
    ("CPU.1", ExitCode.BAD_INPUT, ["no name of a device"]),
    ("NPU\n", ExitCode.BAD_INPUT, ["no name of a device"]),
    ("", ExitCode.BAD_INPUT, ["no name of a device"]),
    ("NPU", ExitCode.MACHINE_CANNOT, ["there is CPU (AMD EPYC)"]),
    ("GPU.1", ExitCode.MACHINE_CANNOT, ["there is CPU", "libOpenCL.so.1"]),
]


@pytest.mark.parametrize(("name", "code", "words"), REFUSED)
def test_refused_names(program: Any, name: str, code: int, words: list[str]) -> None:
    found, out, err = program(SERVER, nothing, name)
    assert found == code
    assert not out
    assert all(word in err for word in words), err


def test_a_foreign_gpu_is_not_measured(program: Any) -> None:
    code, _, err = program(LAPTOP, nothing, "GPU.1")
    assert code == ExitCode.MACHINE_CANNOT
    assert "there is CPU" in err


def test_openvino_missing() -> None:
    why = "the openvino package is not installed in this environment"
    with pytest.raises(MachineCannotError, match="openvino package is not installed"):
        device_bench.chosen(facts([], problem=why), "CPU")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1", "1e9", "x"])
def test_refused_seconds(program: Any, seconds: str) -> None:
    code, out, err = program(SERVER, nothing, "--seconds", seconds)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "--seconds" in err


def test_each_device_has_its_share_of_the_time() -> None:
    found, scripted = run(LAPTOP, all_of_it)
    assert [one.name for one in found.devices] == ["CPU", "GPU.0", "NPU"]
    assert [timeout for _, timeout in scripted.asked] == [10, 10, 10]
    for request, timeout in scripted.asked:
        assert float(str(request["seconds"])) < timeout
    asked = [request["what"] for request, _ in scripted.asked]
    assert asked[0] == [what.value for what in What]
    assert asked[1] == [what.value for what in What if what not in WITHOUT_OPENVINO]


def test_memory_is_half_of_what_is_free_at_most() -> None:
    small = device("GPU", "x", GPU_DEVICE_TOTAL_MEM_SIZE=4 << 30)
    _, scripted = run(facts([small]), all_of_it)
    assert scripted.asked[0][0]["memory"] == 2 << 30


def raising(error: Exception, *before: object) -> Play:
    def play(_request: Message, on_event: Callable[[Message], None]) -> None:
        for item in before:
            on_event({"event": "figure", "figure": item})
        raise error

    return play


def garbage(_request: Message, on_event: Callable[[Message], None]) -> None:
    on_event({"event": "figure", "figure": figure("int8", float("nan"))})
    on_event({"event": "figure", "figure": {"what": "nonsense"}})
    on_event({"event": "figure"})


FAULTS: dict[str, tuple[Play, str]] = {
    "hang": (raising(WorkerError("ran over its time limit of 30 s and was ended", "x"),
                     figure("int8", 3.0)), "time limit"),
    "crash": (raising(WorkerError("device_bench worker ended without an answer (SIGSEGV)", "x"),
                      figure("int8", 3.0)), "SIGSEGV"),
    "garbage": (garbage, "answer of another form"),
    "silence": (lambda _request, _tell: None, "told nothing"),
    "no program": (raising(LocalOpusError("python: program not found", "x")), "not found"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_fails_is_a_row_and_an_exit_code(program: Any, fault: str) -> None:
    play, reason = FAULTS[fault]
    code, out, err = program(SERVER, play, "--json")
    assert code == ExitCode.FAILED, err
    found = MeasuredMachine.model_validate(
        {key: value for key, value in json.loads(out).items() if key not in {"published", "claims"}}
    )
    [one] = found.devices
    assert [row.what for row in one.figures] == list(What)
    assert reason in str(one.figures[-1].problem)
    if fault in {"hang", "crash"}:  # what was measured before stays
        assert one.figures[0].median == 3.0
    code, out, err = program(SERVER, play)
    assert code == ExitCode.FAILED
    assert reason in " ".join(out.split())


def test_one_device_that_fails_does_not_take_the_others_down() -> None:
    def play(request: Message, on_event: Callable[[Message], None]) -> None:
        if request["device"] == "GPU.0":
            raise WorkerError("a driver crashed", "x")
        all_of_it(request, on_event)

    found, _ = run(LAPTOP, play)
    assert [one.failed for one in found.devices] == [False, True, False]


def test_what_a_device_can_not_do_is_no_failure(program: Any) -> None:
    def play(request: Message, on_event: Callable[[Message], None]) -> None:
        for what in request["what"]:  # type: ignore[attr-defined]
            lacks = {"lacks": "it ran in f32: this device has no half"} if what == "half" else {}
            on_event({"event": "figure", "figure": figure(what, 2.0, **lacks)})

    code, out, _ = program(SERVER, play)
    assert code == ExitCode.DONE
    assert "this device has no half" in out


BAD_FIGURES = [{"what": "int8"}, {**figure("int8", 1.0), "median": None}, figure("int8", 0.0),
               figure("int8", -1.0), figure("int8", float("inf")), figure("tops", 1.0)]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FIGURES)
def test_a_figure_that_is_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Measurement.model_validate(bad)


def measured_device(name: str, **medians: float) -> MeasuredDevice:
    rows = [Measurement.model_validate(figure(what, value)) for what, value in medians.items()]
    return MeasuredDevice(name=name, full_name=name, figures=tuple(rows))


CLAIMS: list[tuple[HostFacts, list[MeasuredDevice], tuple[Any, ...], tuple[Any, ...]]] = [
    # machine, measured; of each claim: published, measured
    (LAPTOP, [measured_device("CPU", half=0.5, fp32=0.9), measured_device("NPU", int8=9.0, half=4.0)],
     (11.5, 9.0), (9.2 + 5.75, 4.9)),
    (LAPTOP, [], (11.5, None), (9.2 + 5.75, None)),
    (SERVER, [measured_device("CPU", int8=1.0, fp32=0.2)], (None, None), (None, 0.2)),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "there", "npu", "tflops"), CLAIMS)
def test_the_old_claims(
    machine: HostFacts, there: list[MeasuredDevice], npu: tuple[Any, ...], tflops: tuple[Any, ...]
) -> None:
    peaks = {one.name: rated(machine, one) for one in device_bench.listed(machine)}
    first, second = claims(peaks, tuple(there))
    assert (first.claimed, second.claimed) == (26.4, 40)
    assert (first.published, first.measured) == npu
    assert second.published == (tflops[0] and pytest.approx(tflops[0]))
    assert second.measured == (tflops[1] and pytest.approx(tflops[1]))


def test_no_npu_is_said_and_what_was_published_of_it() -> None:
    first, _ = claims({"CPU": None}, ())
    assert (first.published_words, first.measured_words) == ("11.5-13", "no NPU here")
    assert "3720" in first.note


def test_a_share_is_of_what_was_measured_and_published() -> None:
    peaks = rated(LAPTOP, NPU)
    good = Measurement.model_validate(figure("int8", 5.75))
    assert share(good, peaks) == pytest.approx(0.5)
    assert share(good, None) is None
    assert share(good.model_copy(update={"problem": "wrong"}), peaks) is None


def shown(found: MeasuredMachine, machine: HostFacts) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    peaks: Mapping[str, Any] = {one.name: rated(machine, one) for one in machine.openvino.devices}
    print_bench(console, found, peaks, claims(peaks, found.devices))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_fits_in_80_columns_and_says_what_it_is_held_against() -> None:
    found, _ = run(LAPTOP, all_of_it)
    text = shown(found, LAPTOP)
    assert max(len(line) for line in text.splitlines()) <= 80
    for words in ("Meteor Lake-H", "int8 products", "2 TOPS", "published int8:", "(published)",
                  "26.4 TOPS NPU", "40+ TFLOPS", "of numpy's BLAS", "±10%", "i8"):  # fmt: skip
        assert words in text
    assert "A server of this machine runs" not in text
    assert "A server of this machine runs" in shown(
        found.model_copy(update={"beside_server": True}), LAPTOP
    )


def test_json_has_a_version_the_peaks_and_the_claims(program: Any) -> None:
    code, out, _ = program(LAPTOP, all_of_it, "npu", "--json")
    document = json.loads(out)
    assert code == ExitCode.DONE
    assert document["schema_version"] == 1
    assert document["devices"][0]["name"] == "NPU"
    assert document["published"]["NPU"]["int8_tops"]["source"]
    assert [one["name"] for one in document["claims"]] == ["26.4 TOPS NPU", "40+ TFLOPS"]
