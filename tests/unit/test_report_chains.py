"""A chain on the screen: marks without colour, 80 columns, commands that a shell takes."""

from __future__ import annotations

import subprocess

import pytest
from chain_facts import Facts, all_chains, chain, facts, gpu, npu, npu_machine, unlist

from local_opus.report.chains import broken_lines, chain_lines, fix_lines
from local_opus.values import Device, DeviceChain, Fix, Link, LinkName, LinkState, Needs


def denied() -> Facts:
    machine = unlist(npu_machine("Lunar Lake"), "NPU")
    machine["accelerators"][0].update(
        node_problem="permission denied", name="Intel AI Boost (Lunar Lake)"
    )
    return machine


def test_a_broken_chain() -> None:
    assert chain_lines(chain(denied(), "NPU")) == [
        "NPU: Intel AI Boost (Lunar Lake), 0000:00:0b.0",
        "  [ok] PCI device         0000:00:0b.0, 8086:643e",
        "  [ok] kernel driver      intel_vpu is bound, kernel 7.0.0-31-generic",
        "  [ok] firmware           /lib/firmware/intel/vpu/vpu_40xx_v1.bin.zst",
        "  [ok] device node        /dev/accel/accel0",
        "  [XX] permission         /dev/accel/accel0: permission denied (group render,",
        "                          mode 0660)",
        "  [  ] user-space driver  not reached",
        "  [  ] OpenVINO plugin    not reached",
        "  [  ] inference          not reached",
        "  -> Add this user to the group render, then log in again.",
        "       sudo usermod -aG render $USER",
        "     It takes a new login to work.",
    ]


def test_only_what_is_broken() -> None:
    assert broken_lines(chain(denied(), "NPU")) == [
        "NPU Intel AI Boost (Lunar Lake) is not usable: permission: /dev/accel/accel0:",
        "  permission denied (group render, mode 0660)",
        "  -> Add this user to the group render, then log in again.",
        "       sudo usermod -aG render $USER",
        "     It takes a new login to work.",
    ]
    assert broken_lines(chain(npu_machine(), "NPU")) == []


def test_whole_chains_tell_the_name_of_openvino() -> None:
    machine = facts(gpu(), gpu("Battlemage", "0000:03:00.0"), npu())
    first = [chain_lines(one)[0] for one in all_chains(machine)]
    assert first == [
        "CPU: Intel(R) Xeon(R), CPU of OpenVINO",
        "GPU: a GPU, 0000:00:02.0, GPU.0 of OpenVINO",
        "GPU: a GPU, 0000:03:00.0, GPU.1 of OpenVINO",
        "NPU: a NPU, 0000:00:0b.0, NPU of OpenVINO",
    ]


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("group", ["render", "root"])
def test_it_fits(width: int, group: str) -> None:
    machine = denied()
    machine["accelerators"][0]["node_group"] = group
    lines = chain_lines(chain(machine, "NPU"), width)
    commands = [line for line in lines if line.startswith("       ")]
    assert max(len(line) for line in lines if line not in commands) <= width
    if width == 80:
        assert max(map(len, lines)) <= width


COMMANDS = [
    "true",
    "echo one two",
    """echo 'SUBSYSTEM=="accel", GROUP="render", MODE="0660"' | sort --output=/dev/stdout --unique""",
    "echo " + " ".join(f"word{number}" for number in range(40)),
    "echo 'one  two' \"three  four\" five six seven eight nine | cat && echo eleven twelve thirteen",
]


def output(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_over_several_lines_is_the_same_command(command: str) -> None:
    lines = fix_lines(Fix(text="Do.", commands=(command,)))[1:]
    assert max(map(len, lines)) <= 80
    assert (len(lines) > 1) is (len(command) > 73)
    assert output("\n".join(lines)) == output(command)


def test_a_word_that_is_too_long_stays_whole() -> None:
    word = "x" * 120
    lines = fix_lines(Fix(text="Do.", commands=(f"echo {word}",)))[1:]
    assert word in lines[-1]
    assert output("\n".join(lines)) == f"{word}\n"


@pytest.mark.parametrize("needs", Needs)
def test_what_must_follow(needs: Needs) -> None:
    lines = fix_lines(Fix(text="Do.", needs=needs))
    said = [line for line in lines if "It takes" in line]
    assert said == ([] if needs is Needs.NOTHING else [f"     It takes {needs.value} to work."])


def test_a_strangers_words_move_no_cursor() -> None:
    evil = "\x1b[2Jred\x07\n\rx"
    link = Link(name=LinkName.PLUGIN, state=LinkState.BROKEN, evidence=evil)
    found = DeviceChain(device=Device.GPU, name=evil, pci_address=None, openvino_name=None,
                        links=(link,), fix=Fix(text=evil, commands=(evil,)))  # fmt: skip
    for lines in (chain_lines(found), broken_lines(found)):
        assert all(line.isprintable() for line in lines)
