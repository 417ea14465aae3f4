"""The chain's verdict for every recorded machine.

    REGENERATE_GOLDEN=1 tests/run tests/unit/test_chain_machines.py

writes the chains of every machine anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_opus.devices.chain import chains
from local_opus.facts import gather
from local_opus.report.chains import chain_lines
from local_opus.values import Device, HostFacts, LinkName, LinkState
from machines import MACHINES, machine_host

REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))
_SEEN: dict[str, HostFacts] = {}


@pytest.fixture(params=MACHINES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def facts(name: str, tmp_path: Path) -> HostFacts:
    return facts_of(name, tmp_path)


def facts_of(name: str, root: Path) -> HostFacts:
    if name not in _SEEN:
        folder = root / "root"
        folder.mkdir()
        _SEEN[name] = gather(machine_host(folder, MACHINES[name]), disk_path="/")
    return _SEEN[name]


def test_the_verdict_is_that_of_the_golden(name: str, facts: HostFacts) -> None:
    found = [chain_lines(chain) for chain in chains(facts)]
    if REGENERATE:
        MACHINES[name].write_golden("chains", found)
    golden = MACHINES[name].golden["chains"]
    for chain, expected in zip(found, golden, strict=True):
        assert chain == expected


#: What the first broken link of the devices is that do not work. A device that is not here works.
BROKEN = {
    "amd-epyc-7c13-two-arc-docker": {"0000:81:00.0": LinkName.PLUGIN},
    "arrow-lake-275hx-npu-missing": {"0000:00:0b.0": LinkName.PLUGIN},
    "core-ultra-5-225-arc-b580": {None: LinkName.PCI},
    "lunar-lake-256v": {"0000:00:0b.0": LinkName.PERMISSION},
    "lunar-lake-256v-npu": {"0000:00:02.0": LinkName.LIBRARIES},
    "panther-lake-x7-358h": {"0000:00:0b.0": LinkName.DRIVER},
}
#: Intel's driver without silicon and without its compiler, beside a GPU without its driver.
NULL_DEVICE = {"0000:00:02.0": LinkName.LIBRARIES, "0000:00:0b.0": LinkName.LIBRARIES}


def test_the_first_broken_links(name: str, facts: HostFacts) -> None:
    found = {chain.pci_address: chain.broken.name for chain in chains(facts) if chain.broken}
    expected = NULL_DEVICE if name.startswith("null-device") else BROKEN.get(name, {})
    assert found == expected


def test_every_accelerator_has_one_chain_and_the_cpu_too(facts: HostFacts) -> None:
    found = chains(facts)
    addresses = [chain.pci_address for chain in found if chain.pci_address is not None]
    assert sorted(addresses) == sorted(item.pci_address for item in facts.accelerators)
    assert [chain.device for chain in found].count(Device.CPU) == 1
    assert found[0].device is Device.CPU


def test_what_openvino_lists_is_listed_once(facts: HostFacts) -> None:
    names = [chain.openvino_name for chain in chains(facts) if chain.openvino_name is not None]
    foreign = {"NVIDIA GeForce RTX 5090 D (dGPU)", "NVIDIA GPU (dGPU)"}
    ours = [one.name for one in facts.openvino.devices if one.full_name not in foreign]
    assert sorted(names) == sorted(ours)


def test_an_npu_for_which_everything_is_there(tmp_path: Path) -> None:
    npu = chains(facts_of("arrow-lake-275hx-npu-missing", tmp_path))[-1]
    states = {link.name: link.state for link in npu.links}
    reached = [states[one] for one in (LinkName.PCI, LinkName.DRIVER, LinkName.FIRMWARE,
                                       LinkName.NODE, LinkName.PERMISSION)]  # fmt: skip
    assert set(reached) == {LinkState.HOLDS}
    assert npu.broken is not None
    assert (npu.broken.name, npu.broken.evidence) == (
        LinkName.PLUGIN, "OpenVINO 2026.3.0 does not list it: No available backend")  # fmt: skip
