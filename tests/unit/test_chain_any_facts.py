"""Whatever the facts are, a chain keeps its form: one broken link at most, and a fix for it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from chain_facts import GPUS, NPUS, Facts, all_chains, facts, gpu, library, npu, right, wrong

from local_opus.report.chains import chain_lines
from local_opus.values import LinkState, TinyInference

ITEM: dict[str, list[Any]] = {
    "driver": ["i915", "xe", "intel_vpu", "vfio-pci", None],
    "node": ["/dev/dri/renderD128", "/dev/accel/accel3", None],
    "node_problem": [None, "permission denied", "operation not permitted",
                     "no such file or directory", "device or resource busy", ""],
    "node_group": ["render", "video", "root", None],
    "node_mode": ["0660", "0666", "0600", None, "x"],
    "firmware": [[], ["/lib/firmware/a.bin"]],
    "pci_id": ["8086:7d1d", "8086:56a0", "8086:3e92", "8086:abcd", "8086:"],
    "name": ["a device", None],
}  # fmt: skip
OS: dict[str, list[Any]] = {
    "id": ["debian", "fedora", "arch", "nixos", "linux", "sles", ""],
    "version": ["", "12"],
    "kernel": ["", "5.15.0", "6.11.0-9", "6.8.0-45-generic", "7.0", "5.14.0-1.el9", "odd"],
    "container": [None, "docker", "wsl"],
}
MODULES = ["loaded", "built in", "available", "missing", "not told", "something else"]
VERSIONS = ["1.8.12", "1.16", "1.39.1", "22.43", "26.40", None, "odd"]
PROBLEMS = ["wrong", "DEVICE_LOST", "MAPPED_INFERENCE_VERSION", "pfnCreate2", "a\nb"]


def any_facts(dice: random.Random) -> tuple[Facts, list[TinyInference]]:
    machine = facts(
        gpu(dice.choice([*GPUS])),
        gpu(dice.choice([*GPUS]), "0000:03:00.0"),
        npu(dice.choice([*NPUS])),
        model=dice.choice([one[3] for one in NPUS.values()]),
    )
    for item in machine["accelerators"]:
        for key in dice.sample([*ITEM], dice.randint(0, 4)):
            item[key] = dice.choice(ITEM[key])
    machine["accelerators"] = dice.sample(machine["accelerators"], dice.randint(0, 3))
    for key in dice.sample([*OS], dice.randint(0, 2)):
        machine["os"][key] = dice.choice(OS[key])
    software = machine["software"]
    software["modules"] = {name: dice.choice(MODULES) for name in ("i915", "xe", "intel_vpu")}
    for name in dice.sample([*software["libraries"]], dice.randint(0, 4)):
        software["libraries"][name] = dice.choice([None, library(name, dice.choice(VERSIONS))])
    if dice.random() < 0.2:
        machine["software"] = {}
    openvino = machine["openvino"]
    openvino["devices"] = dice.sample(openvino["devices"], dice.randint(0, 4))
    openvino["version"] = dice.choice(["2026.4.1-1", "2026.4.1", None])
    openvino["problem"] = dice.choice([None, None, "it crashed"])
    openvino["absent"] = dice.choice([{}, {"GPU": "libOpenCL.so.1", "NPU": "No available backend"}])
    names = [one["name"] for one in openvino["devices"]]
    tiny = [dice.choice([right(one), wrong(one, dice.choice(PROBLEMS))]) for one in names]
    return machine, dice.sample(tiny, dice.randint(0, len(tiny)))


@pytest.mark.parametrize("seed", range(8))
def test_the_form_of_a_chain(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        machine, tiny = any_facts(dice)
        for chain in all_chains(
            machine, *tiny, groups=dice.choice([None, None, frozenset({"render"})])
        ):
            states = [link.state for link in chain.links]
            assert states.count(LinkState.BROKEN) <= 1
            assert (chain.fix is None) is (chain.broken is None)
            after = states.index(LinkState.BROKEN) + 1 if chain.broken else len(states)
            assert set(states[after:]) <= {LinkState.NOT_REACHED}
            assert LinkState.NOT_REACHED not in states[:after]
            assert all(link.evidence for link in chain.links[:after])
            assert all(link.evidence.isprintable() for link in chain.links)
            assert all(line.isprintable() for line in chain_lines(chain))
            if chain.fix is not None:
                assert chain.fix.text.endswith((".", ";", "}"))
