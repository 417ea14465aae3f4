"""What is known of every recorded machine, chosen for it and planned on it: tests/golden/machines.

    REGENERATE_GOLDEN=1 tests/run tests/unit/test_machine_goldens.py

writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_planner import GOLDEN, REGENERATE, SYSTEM, facts_of, profile_of, request

from local_opus import planner
from local_opus.catalog import load as load_catalog
from local_opus.catalog import needs
from local_opus.catalog.fitting import fit
from local_opus.catalog.pick import FAST, choose
from local_opus.devices import ranking
from local_opus.devices.chain import chains
from local_opus.devices.reasons import figures
from local_opus.errors import MachineCannotError
from local_opus.units import size_text
from local_opus.values import Device, HostFacts, LinkState
from machines import MACHINES

__all__ = ["facts_of"]  # a fixture

FOLDER = GOLDEN / "machines"
USE_CASES = ("chat", "coding", "analysis")
DEVICES = (None, *(device.value for device in Device))
WORDS = {LinkState.HOLDS: "yes", LinkState.UNKNOWN: "?", LinkState.NOT_REACHED: "-"}


def said_of_facts(facts: HostFacts) -> Iterator[str]:
    cpu, memory = facts.cpu, facts.memory
    yield f"cpu: {cpu.model}, {cpu.physical_cores} cores, {cpu.usable_cores:g} usable threads"
    yield f"memory: {size_text(memory.total)}, {size_text(memory.usable)} usable"
    for one in facts.accelerators:
        state = f"driver {one.driver}, node {one.node}, {one.node_problem or 'opens'}"
        yield f"{one.kind.value.lower()}: {one.pci_address} {one.pci_id} {one.name}: {state}"
    for device in facts.openvino.devices:
        yield f"openvino: {device.name}: {device.full_name}"


def said_of_chains(facts: HostFacts) -> Iterator[str]:
    for chain in chains(facts):
        links = ", ".join(f"{one.name.value} {WORDS.get(one.state, 'NO')}" for one in chain.links)
        yield f"{chain.openvino_name or f'no {chain.device}'}: {chain.name}: {links}"
        if chain.broken is not None:
            yield f"    broken: {chain.broken.name.value}: {chain.broken.evidence}"
        if chain.fix is not None:
            yield f"    fix: {chain.fix.text} ({'; '.join(chain.fix.commands)})"


def said_of_choice(facts: HostFacts, device: str | None) -> Iterator[str]:
    for use_case in USE_CASES:
        where = f"{device or 'auto'}, {use_case}"
        try:
            picked = choose(load_catalog(), facts, use_case, device)
        except MachineCannotError as error:
            yield f"{where}: {error.message}"
            continue
        taken = picked.taken
        rate = f"about {taken.tokens_per_second:.2g} tokens/s"
        yield f"{where}: {taken.model.id} on {taken.candidate.name}, {rate}"


def said_of_plan(facts: HostFacts, root: Path) -> Iterator[str]:
    profile = profile_of("local-opus")
    for use_case in USE_CASES:
        model = profile.model.model_copy(update={"use_case": use_case})
        scope, systemd = SYSTEM
        wanted = request(
            profile.model_copy(update={"model": model}), facts, root, scope, systemd=systemd
        )
        plan = planner.plan(wanted)
        yield f"{use_case}: {plan.model} on {plan.device_name}"
        yield from (f"    because {line}" for line in plan.reasons)
        if use_case == profile.model.use_case:
            yield from (f"    {action.id}: {action.summary}" for action in plan.actions)


def text_of(name: str, facts: HostFacts, root: Path) -> str:
    parts = {
        "facts": said_of_facts(facts),
        "chains": said_of_chains(facts),
        "ranking": (figures(one) for one in ranking.ranked(ranking.candidates(facts))),
        "choice": (line for device in DEVICES for line in said_of_choice(facts, device)),
        "plan of local-opus": said_of_plan(facts, root),
    }
    lines = [name]
    for title, found in parts.items():
        lines += ["", title, *(f"  {line}" for line in found)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_is_as_in_its_golden(facts_of, tmp_path, name):
    text = text_of(name, facts_of(name), tmp_path / "r")
    golden = FOLDER / f"{name}.txt"
    if REGENERATE:
        FOLDER.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


def test_every_golden_has_its_machine():
    assert {path.stem for path in FOLDER.iterdir()} == set(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("use_case", USE_CASES)
def test_the_choice_makes_sense_on_every_machine(facts_of, name, use_case):
    """It fits, is as fast as a person reads, and no toy where the machine can do more."""
    facts = facts_of(name)
    taken = choose(load_catalog(), facts, use_case, None).taken
    assert fit(taken.model, facts, taken.candidate.name).fits
    assert taken.tokens_per_second >= FAST
    if facts.cpu.physical_cores >= 4 and facts.memory.usable > 6 * 2**30:
        assert needs.billions(taken.model) >= 4
    gpus = [one for one in ranking.candidates(facts) if one.kind is Device.GPU and one.discrete]
    if gpus and use_case != "coding":  # who has a card expects it to be used
        assert taken.candidate.discrete


@pytest.mark.parametrize("name", MACHINES)
def test_a_device_that_is_not_used_has_its_reason(facts_of, tmp_path, name):
    facts = facts_of(name)
    plan = planner.plan(
        request(profile_of("local-opus"), facts, tmp_path / "r", SYSTEM[0], systemd=SYSTEM[1])
    )
    for one in ranking.candidates(facts):
        assert one.name == plan.device_name or any(
            f"on {one.name} (" in line or f"the {one.name} (" in line for line in plan.reasons
        ), one.name
    for chain in chains(facts):
        if chain.broken is not None:
            assert any(chain.broken.evidence in line for line in plan.reasons), chain.name
    for other in facts.openvino.devices:
        if other.name not in {one.name for one in ranking.candidates(facts)}:
            told = (f"not on {other.name} (", f"not on the {other.name} (")
            assert any(line.startswith(told) for line in plan.reasons), other.name


def test_a_profile_without_a_model_has_no_reasons(facts_of, tmp_path):
    facts = facts_of("meteor-lake-155h")
    plan = planner.plan(
        request(profile_of("military"), facts, tmp_path / "r", SYSTEM[0], systemd=SYSTEM[1])
    )
    assert (plan.device, plan.device_name, plan.reasons) == (None, None, ())
