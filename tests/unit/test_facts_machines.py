"""Each recorded machine, read from its files, gives the facts of its golden.

    REGENERATE_GOLDEN=1 tests/run tests/unit/test_facts_machines.py

writes the facts of every machine anew; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from local_opus.facts import gather
from local_opus.values import HostFacts
from machines import DATA, MACHINES, golden_facts, machine_host

REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))
PARTS = [name for name in HostFacts.model_fields if name != "disk"]


@pytest.fixture(params=MACHINES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def facts(name: str, tmp_path_factory: pytest.TempPathFactory) -> HostFacts:
    root = tmp_path_factory.mktemp("root")
    found = gather(machine_host(root, MACHINES[name]), disk_path="/var/lib/local-opus/models")
    if REGENERATE:
        MACHINES[name].write_golden("facts", golden_facts(found))
    return found


def test_facts(name: str, facts: HostFacts) -> None:
    golden = MACHINES[name].golden["facts"]
    found = golden_facts(facts)
    for part in PARTS:  # one after the other: the difference is short then
        assert {part: found[part]} == {part: golden[part]}
    assert found.keys() == golden.keys()


def test_every_device_of_openvino_is_there_with_all_it_said(name: str, facts: HostFacts) -> None:
    answer = MACHINES[name].answer
    said = [(item["name"], item["full_name"].strip(), item["properties"], item["unreadable"])
            for item in answer["devices"]]  # fmt: skip
    assert said == [(item.name, item.full_name, item.properties, item.unreadable)
                    for item in facts.openvino.devices]  # fmt: skip
    assert facts.openvino.absent == answer["absent"]
    assert facts.openvino.problem is None


def test_json_round_trip(facts: HostFacts) -> None:
    assert HostFacts.model_validate_json(facts.model_dump_json()) == facts


@pytest.mark.parametrize("path", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_a_folder_has_all_its_files(path: Path) -> None:
    if path.name == "README.md":
        return
    files = {"about.json", "files.json", "openvino.json", "golden.json"}
    assert {file.name for file in path.iterdir()} == files
    about = json.loads((path / "about.json").read_text())
    assert {"machine", "source", "by_hand"} <= about.keys()
    assert all(about[key] for key in ("machine", "source", "by_hand"))


def test_the_machines_of_interest_are_there() -> None:
    dumps = [
        json.loads((machine.folder / "openvino.json").read_text()) for machine in MACHINES.values()
    ]
    recorded = [dump for dump in dumps if isinstance(dump["devices"], dict)]
    assert len({dump["machine"] for dump in recorded}) == 19  # 14 machines, 5 null devices
    assert sum(dump["machine"].startswith("NOT REAL HARDWARE") for dump in recorded) == 5
