"""Each recorded machine, read from its files, gives the facts written beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from facts_tree import MACHINES, machine_host

from local_opus.facts import gather
from local_opus.facts.gaps import gaps
from local_opus.values import HostFacts


@pytest.fixture(params=MACHINES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def facts(name: str, tmp_path: Path) -> HostFacts:
    root = tmp_path / "root"
    root.mkdir()
    return gather(machine_host(root, MACHINES[name]), disk_path="/var/lib/local-opus/models")


@pytest.mark.parametrize("part", ["cpu", "memory", "accelerators"])
def test_part(name: str, facts: HostFacts, part: str) -> None:
    assert facts.model_dump(mode="json")[part] == MACHINES[name]["expected"][part]


def test_gaps(name: str, facts: HostFacts) -> None:
    found = [[gap.accelerator.pci_address, gap.reason] for gap in gaps(facts)]
    assert found == MACHINES[name]["expected"]["gaps"]


def test_openvino_devices(name: str, facts: HostFacts) -> None:
    answer = MACHINES[name]["openvino"]
    names = [(device.name, device.full_name) for device in facts.openvino.devices]
    assert names == [(item["name"], item["full_name"].strip()) for item in answer["devices"]]
    assert facts.openvino.absent == answer["absent"]
    assert facts.openvino.problem is None


def test_json_round_trip(facts: HostFacts) -> None:
    assert HostFacts.model_validate_json(facts.model_dump_json()) == facts


def test_the_machines_of_interest_are_there() -> None:
    kinds = {item["kind"] for machine in MACHINES.values()
             for item in machine["expected"]["accelerators"]}  # fmt: skip
    assert kinds == {"GPU", "NPU"}
    assert len(MACHINES) >= 12
