"""The check of the devices: what a chain comes to, by its links and by what the server uses."""

from __future__ import annotations

import pytest
from checks_host import context, facts, install, note, settings

from local_opus.checks import devices
from local_opus.checks.runner import answer
from local_opus.errors import MachineCannotError, WorkerError
from local_opus.values import AcceleratorFacts, Device, DeviceFacts, TinyInference

CPU = DeviceFacts(name="CPU", full_name="CPU", properties={})
CARD = DeviceFacts(
    name="GPU.1", full_name="card", properties={"DEVICE_ARCHITECTURE": "GPU: vendor=0x10de arch=v1"}
)
NO_DRIVER = AcceleratorFacts(
    kind=Device.GPU, pci_address="0000:03:00.0", pci_id="8086:e20b", name="Intel Arc B580", driver=None,
    node=None, node_problem="no kernel driver is bound to it",
)  # fmt: skip
RIGHT = {"device": "CPU", "ran_on": "CPU", "right": True, "problem": None, "seconds": 0.2}


def ask(host, server=None, tiny=RIGHT, **more):  # type: ignore[no-untyped-def]
    host.processes.workers["tiny"] = tiny
    of = more.pop("of", None) or facts(openvino={"devices": (CPU,)}, **more)
    return {one.id: one for one in answer(devices.CHECK, context(host, of=of, server=server))}


def test_a_machine_with_a_processor_alone(host):
    found = ask(host)
    assert {id_: one.state.value for id_, one in found.items()} == {
        "device-cpu": "pass", "device-gpu": "not applicable", "device-npu": "fail",
    }  # fmt: skip
    assert "a small matrix product was right, on CPU" in found["device-cpu"].evidence


@pytest.mark.parametrize(
    ("tiny", "words"),
    [
        ({**RIGHT, "right": False, "problem": "the result is wrong"}, "the result is wrong"),
        ({**RIGHT, "ran_on": "GPU.0"}, "GPU.0"),
        (WorkerError("tiny worker ended without an answer (SIGSEGV)", "x"), "SIGSEGV"),
        (WorkerError("tiny ran over its time limit", "x"), "time limit"),
        ({"what": "garbage"}, "tiny worker"),
    ],
)
def test_an_inference_that_is_not_right_fails(host, tiny, words):
    found = ask(host, tiny=tiny)["device-cpu"]
    assert (found.state, words in found.evidence) == ("fail", True), found
    assert any(line.startswith("inference: broken") for line in found.details)


@pytest.mark.parametrize(
    ("device", "state"), [(None, "fail"), ("GPU", "fail"), ("GPU.1", "fail"), ("CPU", "warn")]
)
def test_a_broken_device_fails_unless_the_server_uses_another(host, device, state):
    server = settings(device=device) if device else None
    found = ask(host, server, accelerators=(NO_DRIVER,))["device-gpu-0000:03:00.0"]
    assert (found.state, found.title) == (state, "GPU 03:00.0")
    assert found.evidence.startswith("Intel Arc B580: kernel driver: ")
    assert found.fix is not None


def test_a_server_set_to_a_device_that_is_not_there_fails(host):
    found = ask(host, settings(device="GPU"))["device-gpu"]
    assert (found.state, "the server is set to GPU" in found.evidence) == ("fail", True)


def test_another_makers_card_is_not_tried(host):
    of = facts(openvino={"devices": (CPU, CARD)})
    host.processes.calls.clear()
    ask(host, of=of)
    assert host.processes.calls.count(["tiny"]) == 1


def test_an_install_without_openvino_has_no_devices(host):
    places = install(host)
    note(host, places, "environment:x", "create_environment", folder=f"{places.prefix}/env-x",
         lock="requirements.lock", lock_sha256="0" * 64, program_sha256="0" * 64,
         interpreter="/usr/bin/python3", python="3.11")  # fmt: skip
    (found,) = ask(host).values()
    assert (found.state, "without OpenVINO" in found.evidence) == ("not applicable", True)


def test_hidden_facts_leave_no_chain(host):
    (found,) = ask(host, of=MachineCannotError("no /proc", "Mount it.")).values()
    assert (found.id, found.state) == ("devices", "not applicable")


def test_links_that_nothing_here_tells_are_a_warning():
    of = facts(openvino={"devices": (CPU,)})
    found = {one.id: one for one in devices.answers(of, {}, None)}["device-cpu"]
    assert found.state == "warn"
    right = {"CPU": TinyInference(**RIGHT)}
    assert {one.id: one.state for one in devices.answers(of, right, None)}["device-cpu"] == "pass"
