"""The chain of every device that could run inference, from the PCI bus to a right result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from local_opus.devices import gpu, kernel, nodes, npu, plugin
from local_opus.devices.case import Case, Found, broken, holds, unknown
from local_opus.devices.matching import Match, Matching, kind_of, match
from local_opus.devices.platforms import npu_of_processor
from local_opus.values import (
    AcceleratorFacts,
    Device,
    DeviceChain,
    DeviceFacts,
    Fix,
    HostFacts,
    Link,
    LinkName,
    LinkState,
    Needs,
    TinyInference,
)

_ORDER = {Device.CPU: 0, Device.GPU: 1, Device.NPU: 2}
_X86 = {"x86_64", "amd64"}
_LIBRARIES = {Device.GPU: gpu.libraries, Device.NPU: npu.libraries}

Verdicts = list[tuple[LinkName, Found]]


def chains(
    facts: HostFacts,
    *,
    tiny: Mapping[str, TinyInference] | None = None,
    groups: frozenset[str] | None = None,
) -> tuple[DeviceChain, ...]:
    """Return the chains of the CPU, the GPUs, the NPUs, each by address.

    ``tiny`` are inferences by OpenVINO's name; without one its link is unknown. ``groups``
    has the permission judged for the service's user, who is in those, not for this one.
    """
    tiny = tiny or {}
    matched = match(facts)
    found = [_cpu(facts, tiny)]
    for item in facts.accelerators:
        device = matched.by_address.get(item.pci_address)
        result = tiny.get(device.device.name) if device else None
        sibling = _sibling(facts, matched, item)
        found += [_accelerator(Case(facts, item, device, result, groups, sibling))]
    found += [_without_address(facts, device, tiny) for device in matched.others]
    found += _absent_npu(facts, found)
    return tuple(sorted(found, key=lambda chain: (_ORDER[chain.device], chain.pci_address or "~")))


def _sibling(facts: HostFacts, matched: Matching, item: AcceleratorFacts) -> DeviceFacts | None:
    kin = (
        one.pci_address
        for one in facts.accelerators
        if one.kind is item.kind and one.pci_address != item.pci_address
    )
    return next((matched.by_address[one].device for one in kin if one in matched.by_address), None)


def chains_of(facts: HostFacts, device: Device) -> tuple[DeviceChain, ...]:
    """Return the chains of one kind of device."""
    return tuple(chain for chain in chains(facts) if chain.device is device)


def _accelerator(case: Case) -> DeviceChain:
    item = case.item
    verdicts: Verdicts = [(LinkName.PCI, holds(f"{item.pci_address}, {item.pci_id}"))]
    judges: tuple[tuple[LinkName, Callable[[Case], Found]], ...] = (
        (LinkName.DRIVER, kernel.driver),
        (LinkName.FIRMWARE, kernel.firmware),
        (LinkName.NODE, nodes.node),
        (LinkName.PERMISSION, nodes.permission),
        (LinkName.LIBRARIES, _LIBRARIES[item.kind]),
    )
    told = plugin.told_by_inference(case)
    for name, judge in judges:
        verdicts.append((name, told[1] if told and told[0] is name else judge(case)))
        if verdicts[-1][1].state is LinkState.BROKEN:
            break
    else:
        verdicts.append((LinkName.PLUGIN, plugin.plugin(case, verdicts)))
        verdicts.append((LinkName.INFERENCE, plugin.inference(case.facts, case.tiny, item.kind)))
        if plugin.blames_another(case):
            _settle(verdicts)
    name_ = item.name or f"Intel {item.kind.value} {item.pci_id}, name unknown"
    names = [LinkName.PCI, *(one for one, _ in judges), LinkName.PLUGIN, LinkName.INFERENCE]
    return _chain(item.kind, name_, item.pci_address, case.match, verdicts, names)


def _settle(verdicts: Verdicts) -> None:
    """Take the first link that is likely broken for it: nothing else before the plugin is."""
    for index, (name, found) in enumerate(verdicts):
        if found.likely:
            verdicts[index] = (name, replace(found, state=LinkState.BROKEN))
            return


def _chain(
    kind: Device,
    name: str,
    address: str | None,
    matched: Match | DeviceFacts | None,
    verdicts: Verdicts,
    names: Iterable[LinkName],
) -> DeviceChain:
    """Return a chain in which nothing after the first broken link counts as reached."""
    known, links, fix = dict(verdicts), [], None
    reached = True
    for one in names:
        found = known.get(one)
        if not reached or found is None:
            links.append(Link(name=one, state=LinkState.NOT_REACHED, evidence=""))
            continue
        links.append(found.link(one))
        if found.state is LinkState.BROKEN:
            reached, fix = False, found.fix
    device = matched.device if isinstance(matched, Match) else matched
    return DeviceChain(
        device=kind,
        name=name,
        pci_address=address,
        links=tuple(links),
        fix=fix,
        openvino_name=device.name if device else None,
    )


def _cpu(facts: HostFacts, tiny: Mapping[str, TinyInference]) -> DeviceChain:
    listed = next((one for one in facts.openvino.devices if kind_of(one) is Device.CPU), None)
    verdicts: Verdicts = [(LinkName.PROCESSOR, _processor(facts))]
    if listed is not None:
        words = f"{plugin.openvino_words(facts)} lists it"
        verdicts.append((LinkName.PLUGIN, holds(words)))
    else:
        missing = broken(
            f"{plugin.openvino_words(facts)} does not list the CPU",
            Fix(
                text="Repair OpenVINO's environment: install again.",
                commands=("local-opus install",),
            ),
        )
        verdicts.append((LinkName.PLUGIN, plugin.unanswered(facts) or missing))
    result = tiny.get(listed.name) if listed else None
    verdicts.append((LinkName.INFERENCE, plugin.inference(facts, result, Device.CPU)))
    return _chain(Device.CPU, facts.cpu.model, None, listed, verdicts, [one for one, _ in verdicts])


def _processor(facts: HostFacts) -> Found:
    """Judge the processor: OpenVINO asks for x86-64 with SSE4.2; without AVX2 it is slow."""
    cpu = facts.cpu
    if cpu.architecture not in _X86:
        return broken(
            f"the processor is {cpu.architecture}, not x86-64",
            Fix(text="Use a machine with an x86-64 processor."),
        )
    slow = "" if "avx2" in cpu.isa else "; without AVX2, so inference is slow"
    return holds(f"{cpu.architecture}, {' '.join(cpu.isa) or 'no extensions'}{slow}")


def _without_address(
    facts: HostFacts, device: DeviceFacts, tiny: Mapping[str, TinyInference]
) -> DeviceChain:
    """Return the chain of a device that OpenVINO lists and the PCI bus here does not show."""
    kind = kind_of(device) or Device.GPU
    result = tiny.get(device.name)
    verdicts: Verdicts = [
        (LinkName.PCI, unknown("the PCI bus that this system sees does not show it")),
        (LinkName.PLUGIN, holds(plugin.listing(facts, device))),
        (LinkName.INFERENCE, plugin.inference(facts, result, kind)),
    ]
    return _chain(kind, device.full_name, None, device, verdicts, [one for one, _ in verdicts])


def _absent_npu(facts: HostFacts, found: Iterable[DeviceChain]) -> list[DeviceChain]:
    """Return the chain of the NPU that this processor has and the PCI bus does not show."""
    generation = npu_of_processor(facts.cpu.model)
    if generation is None or any(chain.device is Device.NPU for chain in found):
        return []
    evidence = f"this processor has an NPU ({generation}), the PCI bus does not show it"
    fix = Fix(
        text="Turn the NPU on in the BIOS setup (NPU, AI Boost or VPU), then start again; a "
        "virtual machine must have it passed through.",
        needs=Needs.REBOOT,
    )
    if facts.os.container == "wsl":
        evidence += ": WSL2 has no NPU (it has /dev/dxg only)"
        fix = Fix(text="WSL2 is not supported for the NPU: use Linux on the machine itself.")
    names = [one for one in LinkName if one is not LinkName.PROCESSOR]
    return [
        _chain(
            Device.NPU,
            f"Intel AI Boost ({generation})",
            None,
            None,
            [(LinkName.PCI, broken(evidence, fix))],
            names,
        )
    ]
