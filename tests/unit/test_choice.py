"""Which device and which model are chosen, in what order devices come, and how that is explained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_catalog_fit import GIB, NPU, gpu, machine, seen

from local_opus.catalog import Catalog, load, needs, reasons
from local_opus.catalog.fitting import fit, remedy
from local_opus.catalog.pick import FAST, choose, suits
from local_opus.devices import npu_form, ranking, usable
from local_opus.devices.cards import UNKNOWN_CARD
from local_opus.devices.ranking import Measured
from local_opus.errors import ExitCode, MachineCannotError
from local_opus.units import size_text
from local_opus.values import Device, DeviceFacts, HostFacts, HubSource, Model

CPU = DeviceFacts(name="CPU", full_name="CPU", properties={})
IGPU = gpu(15, "INTEGRATED", name="GPU.0")  # of Meteor Lake
FOREIGN = gpu(32, "DISCRETE", name="GPU.1", vendor="0x10de")
CARD = DeviceFacts(
    name="GPU.1",
    full_name="Intel(R) Arc(TM) X",
    properties={"DEVICE_TYPE": "Type.DISCRETE", "GPU_DEVICE_TOTAL_MEM_SIZE": 12 * GIB},
)
SMALL_CARD = CARD.model_copy(
    update={"properties": {**CARD.properties, "GPU_DEVICE_TOTAL_MEM_SIZE": 2 * GIB}}
)
UNSTATED = DeviceFacts(name="GPU.1", full_name="Intel(R) Arc(TM) X (dGPU)", properties={})
CLOSED = seen(Device.GPU, pci_id="8086:e20b", name="Intel Arc B580", driver="xe",
              node="/dev/dri/renderD128", node_problem="permission denied")  # fmt: skip
BOTH = machine(devices=(CPU, IGPU, CARD, NPU))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def named(facts: HostFacts) -> list[str]:
    return [one.name for one in ranking.ranked(ranking.candidates(facts))]


def on(
    name: str, rate: float, model: str = "qwen3-8b-int4-ov", when: str = "2026-11-01"
) -> Measured:
    return Measured(device=name, model=model, tokens_per_second=rate, when=when)


# --- devices


@pytest.mark.parametrize(
    ("facts", "order"),
    [
        (BOTH, ["GPU.1", "GPU.0", "CPU", "NPU"]),
        (machine(), ["CPU"]),
        (machine(devices=(CPU,)), ["CPU"]),
        (machine(architecture="aarch64"), []),
        (machine(devices=(CPU, IGPU, FOREIGN)), ["GPU.0", "CPU"]),
        (machine(devices=(FOREIGN,)), ["CPU"]),
        (machine(devices=(CPU, IGPU, UNSTATED)), ["GPU.1", "GPU.0", "CPU"]),
        (machine(cores=1, devices=(CPU, NPU)), ["CPU", "NPU"]),
    ],
)
def test_devices_come_in_order(facts: HostFacts, order: list[str]) -> None:
    assert named(facts) == order


GOPS = [
    ({"i8": 0.0, "f16": 0.0}, None),
    ({"int8_t": 0.0, "uint8_t": 0.0, "float32": 2099.2}, None),
    ({"i8": 8200.0}, 8.2),
    ({"int8_t": "nan", "uint8_t": float("inf")}, None),
    ("18432", None),
    ({"i8": True}, None),
]


@pytest.mark.parametrize(("stated", "tops"), GOPS)
def test_a_peak_of_zero_tells_nothing(stated: object, tops: float | None) -> None:
    properties = {**IGPU.properties, "DEVICE_GOPS": stated, "DEVICE_ARCHITECTURE": ""}
    facts = machine(devices=(IGPU.model_copy(update={"properties": properties}),))
    found = ranking.candidates(facts)[0]
    assert (found.int8.value if found.int8 else None) == tops


def test_devices_of_one_memory_are_ranked_by_their_peak() -> None:
    found = {one.name: one for one in ranking.candidates(BOTH)}
    slow, fast = ranking.Rate(8, "published"), ranking.Rate(15, "published")
    alike = [replace(found[name], reached=40.0, int8=slow) for name in ("GPU.0", "CPU")]
    assert [one.name for one in ranking.ranked(alike)] == ["GPU.0", "CPU"]
    alike[1] = replace(alike[1], int8=fast)
    assert [one.name for one in ranking.ranked(alike)] == ["CPU", "GPU.0"]
    alike[0] = replace(alike[0], int8=None)  # nothing to compare: the rule
    assert [one.name for one in ranking.ranked(alike)] == ["GPU.0", "CPU"]


@pytest.mark.parametrize(
    ("measured", "order"),
    [
        ([], ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("GPU.1", 1)], ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("GPU.1", 5), on("CPU", 9)], ["CPU", "GPU.0", "GPU.1", "NPU"]),
        ([on("GPU.1", 5), on("GPU.0", 4)], ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("GPU.1", 5), on("CPU", 9), on("GPU.1", 20, when="2026-11-02")],
         ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("GPU.1", 5, "another"), on("CPU", 9)], ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("NPU", 500), on("CPU", 9)], ["GPU.1", "GPU.0", "CPU", "NPU"]),
        ([on("GPU.7", 500), on("CPU", 9)], ["GPU.1", "GPU.0", "CPU", "NPU"]),
    ],
)  # fmt: skip
def test_what_was_measured_counts_more(measured: list[Measured], order: list[str]) -> None:
    found = ranking.ranked(ranking.candidates(BOTH), "qwen3-8b-int4-ov", measured)
    assert [one.name for one in found] == order


@pytest.mark.parametrize(
    ("facts", "name", "says"),
    [
        (BOTH, "GPU.1", None),
        (BOTH, "GPU", None),
        (BOTH, "GPU.2", "GPU.2 not usable: it is not there; this machine has GPU.0 (Intel(R) Arc(TM)), GPU.1 ("),
        (machine(devices=(CPU, IGPU, FOREIGN)), "GPU.1", "GPU.1 not usable: it is Intel(R) Arc(TM), not Intel's; this machine has GPU.0"),
        (machine(devices=(FOREIGN,)), "GPU.1", "this machine has no GPU of Intel"),
        (machine(devices=(gpu(15, "INTEGRATED"),)), "GPU.0", None),
        (machine(devices=(gpu(15, "INTEGRATED"),)), "GPU.1", "it is not there; this machine has GPU ("),
        (machine(), "GPU.1", "GPU.1 not usable: this machine shows no Intel GPU"),
        (machine(accelerators=(CLOSED,)), "GPU.0", "GPU.0 not usable: permission: /dev/dri/renderD128: permission denied"),
    ],
)  # fmt: skip
def test_one_of_several_gpus(facts: HostFacts, name: str, says: str | None) -> None:
    found = usable.problem(facts, name)
    assert found is None if says is None else says in str(found)


def test_a_listed_device_whose_chain_is_broken_is_no_candidate(catalog):
    """OpenVINO lists an NPU that has no compiler, and no model can run there."""
    said = {"NPU_COMPILER_VERSION": 0, "DEVICE_ARCHITECTURE": "4000"}
    listed = NPU.model_copy(update={"properties": said})
    facts = machine(devices=(CPU, listed), accelerators=(seen(Device.NPU),))
    assert named(facts) == ["CPU"]
    told = "NPU not usable: user-space driver: the NPU's compiler is not found"
    assert str(usable.problem(facts, "NPU")).startswith(told)
    with pytest.raises(MachineCannotError, match=told):
        choose(catalog, facts, "chat", "NPU")
    assert "not on the NPU (Intel NPU 8086:643e, name unknown): user-space driver: " in why(
        catalog, facts
    )


@pytest.mark.parametrize(
    ("pci_id", "memory"), [("8086:e20b", 12), ("8086:56a5", 6), ("8086:ffff", None)]
)
def test_a_cards_memory_that_nothing_states(pci_id: str, memory: int | None) -> None:
    shown = seen(Device.GPU, pci_id=pci_id, driver="xe", node="/dev/dri/renderD129")
    facts = machine(
        devices=(CPU, UNSTATED.model_copy(update={"name": "GPU"})), accelerators=(shown,)
    )
    found = usable.own_memory(facts, "GPU")
    assert found == (None if memory is None else int(memory * GIB * 0.95))


@pytest.mark.parametrize("stated", [True, 0, -1, "0x10", "", None, 1.5])
def test_a_memory_that_is_no_number_is_not_stated(stated: object) -> None:
    properties = {**CARD.properties, "GPU_DEVICE_TOTAL_MEM_SIZE": stated}
    facts = machine(devices=(CARD.model_copy(update={"properties": properties}),))
    assert usable.own_memory(facts, "GPU.1") is None


# --- fit


@pytest.mark.parametrize(
    ("facts", "device", "name"),
    [
        (BOTH, None, "GPU.1"),
        (BOTH, "GPU", "GPU.1"),
        (BOTH, "GPU.0", "GPU.0"),
        (BOTH, "CPU", "CPU"),
        (machine(devices=(CPU, IGPU, SMALL_CARD)), None, "GPU.0"),
        (machine(devices=(CPU, IGPU, SMALL_CARD)), "GPU", "GPU.0"),
        (machine(devices=(CPU, IGPU, SMALL_CARD)), "GPU.1", None),
        (machine(devices=(CPU, IGPU, FOREIGN)), "GPU", "GPU.0"),
        (machine(devices=(CPU, SMALL_CARD)), None, "CPU"),
        (machine(devices=(gpu(15, "INTEGRATED"),)), "GPU.0", "GPU"),
    ],
)
def test_a_named_model_goes_on_the_best_device_it_fits(
    catalog: Catalog, facts: HostFacts, device: str | None, name: str | None
) -> None:
    found = fit(catalog.get("qwen3-8b-int4-ov"), facts, device)
    assert (found.name, found.fits) == (name, name is not None)


def test_a_card_of_unknown_memory_counts_as_the_smallest(catalog: Catalog) -> None:
    facts = machine(devices=(CPU, IGPU, UNSTATED))
    found = fit(catalog.get("qwen3-8b-int4-ov"), facts, "GPU.1")
    room = f"{size_text(UNKNOWN_CARD)} usable on GPU.1 (not stated: counted as the smallest card)"
    (reason,) = found.reasons
    assert reason.endswith(f" memory, {room}")


# --- the NPU's form


@pytest.mark.parametrize(
    ("quantization", "architecture", "says"),
    [
        ("INT4_SYM group 128 ratio 1.0 AWQ scale-estimation wikitext2", "3720", None),
        ("INT4_SYM group -1 ratio 1.0", None, None),
        ("INT4_SYM channel-wise ratio 1.0", None, None),
        ("INT4_ASYM group 128 ratio 1.0", "4000", "(asymmetric)"),
        ("INT4_SYM group 64 ratio 1.0", None, "(groups of 64)"),
        ("INT4_SYM group 128 ratio 0.8", None, "(ratio 0.8)"),
        ("INT4_SYM", None, "(no ratio stated, no group stated)"),
        ("INT4", None, "(not stated as symmetric, no ratio stated, no group stated)"),
        ("INT8_ASYM", None, "does not take int8 weights (a compiler crash is known)"),
        ("INT8_SYM", None, "does not take int8"),
        ("FP16", None, "does not take fp16 weights"),
        ("NF4 channel-wise", "4000", None),
        ("NF4 channel-wise", "3720", "from Lunar Lake on"),
        ("NF4 channel-wise", None, "from Lunar Lake on"),
        ("NF4 group 128", "5010", "by channel alone"),
        ("", None, "does not take such weights"),
    ],
)
def test_the_npu_takes_one_form(
    quantization: str, architecture: str | None, says: str | None
) -> None:
    found = npu_form.problem(quantization, architecture)
    assert found is None if says is None else says in str(found)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("qwen3-4b-int8-ov", "the NPU does not take int8 weights"),
        ("qwen3-8b-int4-ov", "the NPU does not take these int4 weights (asymmetric)"),
        ("qwen3-0.6b-q8_0", "GGUF is not offered for the NPU"),
    ],
)
def test_a_model_in_another_form_is_refused_for_the_npu(
    catalog: Catalog, model: str, says: str
) -> None:
    found = fit(catalog.get(model), machine(devices=(NPU,)), "NPU")
    assert not found.fits
    assert found.reasons[0].startswith(says)


def test_a_form_that_is_claimed_for_the_npu_is_refused_too(catalog: Catalog) -> None:
    claims = catalog.get("qwen3-4b-int8-ov").model_copy(update={"devices": (Device.NPU,)})
    found = fit(claims, machine(devices=(NPU,)), "NPU")
    assert found.reasons == (npu_form.problem("INT8_ASYM"),)


def test_the_plan_says_what_form_the_npu_takes(catalog: Catalog) -> None:
    facts = machine(devices=(CPU, NPU))
    lines = reasons.of_plan(facts, catalog.get("qwen3-4b-int4-ov"), "NPU", "NPU")
    assert lines[-1] == (
        "the NPU takes its weights as they are: symmetric int4, ratio 1.0, in groups of 128"
    )


# --- models


@pytest.mark.parametrize(
    ("facts", "use_case", "chosen", "name"),
    [
        (machine(memory=1.7), "chat", "smollm2-135m", "CPU"),
        (machine(memory=16, cores=1), "chat", "qwen3-0.6b-q8_0", "CPU"),
        (machine(memory=16, cores=2), "chat", "qwen3-1.7b-q4_k_m", "CPU"),
        (machine(memory=16, cores=4), "chat", "qwen3-4b-int4-ov", "CPU"),
        (machine(memory=64, cores=16), "chat", "qwen3-4b-int4-ov", "CPU"),
        (machine(memory=64, cores=16), "coding", "qwen3-4b-int4-ov", "CPU"),
        (machine(memory=16, cores=0.5), "chat", "smollm2-135m", "CPU"),
        (machine(memory=16, cores=0.01), "chat", "smollm2-135m", "CPU"),
        (BOTH, "chat", "qwen3-8b-int4-ov", "GPU.1"),
        (BOTH, "coding", "qwen2.5-coder-7b-instruct-q8_0", "GPU.1"),
        (machine(devices=(CPU, IGPU, SMALL_CARD)), "chat", "qwen3-8b-int4-ov", "GPU.0"),
        (machine(memory=6, devices=(CPU, SMALL_CARD)), "chat", "qwen3-4b-int4-ov", "CPU"),
        (machine(devices=(CPU, NPU)), "chat", "qwen3-4b-int4-ov", "CPU"),
    ],
)
def test_the_choice(
    catalog: Catalog, facts: HostFacts, use_case: str, chosen: str, name: str
) -> None:
    found = choose(catalog, facts, use_case, None).taken  # type: ignore[arg-type]
    assert (found.model.id, found.candidate.name) == (chosen, name)


def test_the_choice_fits_wherever_it_is_made(catalog: Catalog) -> None:
    for memory in (2, 4, 8, 16, 32, 128):
        for cores in (1, 4, 16, 64):
            facts = machine(memory=memory, cores=cores)
            taken = choose(catalog, facts, "chat", None).taken
            assert fit(taken.model, facts, taken.candidate.name).fits, (memory, cores)
            assert taken.model.license.id in {"Apache-2.0", "MIT"}
            assert taken.is_fast


@pytest.mark.parametrize("device", [None, "CPU", "GPU", "GPU.0", "GPU.1", "NPU"])
@pytest.mark.parametrize("use_case", ["chat", "coding", "analysis"])
def test_nobody_waits_for_a_word(catalog: Catalog, device: str | None, use_case: str) -> None:
    """What is chosen is fast enough, and no larger model for the use is, on that device."""
    taken = choose(catalog, BOTH, use_case, device).taken  # type: ignore[arg-type]
    assert taken.tokens_per_second >= FAST
    for model in catalog.models:
        rate = ranking.expected(taken.candidate, needs.loaded_size(model))
        larger = needs.billions(model) > needs.billions(taken.model)
        free = model.license.id in {"Apache-2.0", "MIT"} and suits(model, use_case)  # type: ignore[arg-type]
        if larger and free and rate >= 2 * FAST and taken.suits:
            assert not fit(model, BOTH, taken.candidate.name).fits, model.id


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ([], "GPU.1"),
        ([on("GPU.1", 2)], "GPU.1"),
        ([on("GPU.1", 2), on("CPU", 9)], "CPU"),
        ([on("GPU.1", 2), on("GPU.0", 9)], "GPU.0"),
        ([on("GPU.0", 2), on("CPU", 9)], "GPU.1"),
        ([on("GPU.1", 2), on("NPU", 9)], "GPU.1"),
    ],
)
def test_the_device_is_chosen_by_measurement_after(
    catalog: Catalog, measured: list[Measured], name: str
) -> None:
    taken = choose(catalog, BOTH, "chat", None, measured=measured).taken
    assert (taken.model.id, taken.candidate.name) == ("qwen3-8b-int4-ov", name)
    assert fit(taken.model, BOTH, None, measured=measured).name == name


def test_where_no_coder_fits_a_general_model_writes_code(catalog: Catalog) -> None:
    """Not one that always thinks first, though it may be larger."""
    card = CARD.model_copy(update={"properties": {**CARD.properties, "GPU_DEVICE_TOTAL_MEM_SIZE": int(5.7 * GIB)}})  # fmt: skip
    facts = machine(devices=(CPU, card.model_copy(update={"name": "GPU"})))
    taken = choose(catalog, facts, "coding", "GPU").taken
    assert not taken.suits
    assert suits(taken.model, "chat")


def test_only_what_can_be_fetched_is_chosen(catalog: Catalog) -> None:
    assert (
        choose(catalog, machine(), "chat", None, sources=("wheel",)).taken.model.id
        == "smollm2-135m"
    )


def test_a_gated_model_is_never_chosen(catalog: Catalog) -> None:
    gated = [_with_gate(model) for model in catalog.models]
    chosen = choose(Catalog(models=tuple(gated)), machine(), "chat", None).taken.model
    assert not isinstance(chosen.source, HubSource)


def _with_gate(model: Model) -> Model:
    if not isinstance(model.source, HubSource):
        return model
    license_ = model.license.model_copy(update={"gated": True})
    return model.model_copy(update={"license": license_})


def test_a_full_disk_holds_what_is_stored_and_no_other(catalog: Catalog) -> None:
    full = machine(disk=0.01)
    with pytest.raises(MachineCannotError):
        choose(catalog, full, "chat", None)
    picked = choose(catalog, full, "chat", None, stored=lambda model, _: model.id == "smollm2-135m")
    assert picked.taken.model.id == "smollm2-135m"


def test_when_nothing_fits_the_reasons_are_told(catalog: Catalog) -> None:
    with pytest.raises(MachineCannotError) as caught:
        choose(catalog, machine(memory=0.1), "chat", None)
    assert caught.value.exit_code is ExitCode.MACHINE_CANNOT
    assert caught.value.details[0].startswith("smollm2-135m: needs about ")


@pytest.mark.parametrize("disk", [0, 0.1])
def test_a_full_disk_is_told_with_the_bytes_to_free_and_their_place(
    catalog: Catalog, disk: float
) -> None:
    facts = machine(disk=disk)
    model = catalog.get("smollm2-135m")
    missing = needs.disk(model) - facts.disk.free
    found = remedy(fit(model, facts, None), facts)
    assert found.startswith(f"Free {size_text(missing)} ({missing:,} bytes) on the disk of /store, or choose another")  # fmt: skip
    with pytest.raises(MachineCannotError) as caught:
        choose(catalog, facts, "chat", None)
    assert caught.value.remedy == found


@pytest.mark.parametrize(
    ("facts", "device", "says"),
    [
        (machine(), "NPU", "NPU not usable: this machine shows no Intel NPU"),
        (BOTH, "GPU.2", "GPU.2 not usable: it is not there; this machine has GPU.0 "),
        (machine(devices=(CPU, IGPU, FOREIGN)), "GPU.1", "not Intel's"),
        (machine(architecture="aarch64"), "CPU", "not x86-64"),
    ],
)
def test_a_device_that_is_not_there_is_the_reason(
    catalog: Catalog, facts: HostFacts, device: str, says: str
) -> None:
    with pytest.raises(MachineCannotError) as caught:
        choose(catalog, facts, "chat", device)
    assert says in caught.value.message
    assert caught.value.exit_code is ExitCode.MACHINE_CANNOT


# --- reasons


def why(
    catalog: Catalog, facts: HostFacts, use_case: str = "chat", device: str | None = None
) -> str:
    picked = choose(catalog, facts, use_case, device)  # type: ignore[arg-type]
    taken = picked.taken
    lines = reasons.of_plan(facts, taken.model, taken.candidate.name, device)
    lines += reasons.of_pick(picked, use_case)  # type: ignore[arg-type]
    assert not any("\n" in line for line in lines)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("facts", "use_case", "device", "says"),
    [
        (BOTH, "chat", None, "runs on GPU.1 (Intel Arc X): 124 GB/s by rule, 12 GiB memory"),
        (BOTH, "chat", None, "not on GPU.0 (Intel Arc, integrated): 120 GB/s of shared memory by its bus, 18.4 int8 TOPS published"),
        (BOTH, "chat", None, "not on the NPU (Intel AI Boost): it serves one request at a time"),
        (BOTH, "chat", None, "plain GPU means GPU.0 to OpenVINO, the integrated one (Intel Arc): the server is set to GPU.1"),
        (BOTH, "chat", "GPU", "plain GPU means GPU.0 to OpenVINO"),
        (machine(devices=(CPU, IGPU, SMALL_CARD)), "chat", None, "GPU.1 does not take qwen3-8b-int4-ov: needs about "),
        (machine(devices=(CPU, IGPU, FOREIGN)), "chat", None, "not on GPU.1 (Intel Arc): it is not Intel's"),
        (machine(accelerators=(seen(Device.NPU, driver=None),)), "chat", None, "not on the NPU (Intel NPU 8086:643e, name unknown): kernel driver: no "),
        (machine(accelerators=(CLOSED,)), "chat", None, "not on a GPU that is there (Intel Arc B580): permission: /dev/dri/renderD128: permission denied"),
        (machine(cores=4), "chat", None, "not qwen3-8b-int4-ov (8B parameters): it fits CPU (x), but about 4.9 tokens/s are expected, and it should give 8"),
        (machine(cores=4), "chat", None, "its cores take in about 24 GB/s"),
        (machine(cores=4), "coding", None, "is not made for coding: no model that is fits this machine"),
        (machine(memory=16, cores=0.01), "chat", None, "every model is expected to be slow here: smollm2-135m is the smallest that fits"),
    ],
)  # fmt: skip
def test_the_plan_says_why(
    catalog: Catalog, facts: HostFacts, use_case: str, device: str | None, says: str
) -> None:
    assert says in why(catalog, facts, use_case, device)


def test_who_names_a_device_hears_of_no_other(catalog: Catalog) -> None:
    assert "not on" not in why(catalog, BOTH, "chat", "GPU.0")


def test_what_was_measured_is_told(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-int4-ov")
    lines = reasons.of_plan(BOTH, model, "GPU.1", None, [on("GPU.1", 41.5)])
    assert any("41.5 tokens/s were measured here" in line for line in lines)
