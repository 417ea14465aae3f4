"""What a processor could do at most, by formula: cores x GHz x operations per cycle.

Operations per cycle of one core, a multiply-add counted as two; the best extension counts:

- AMX: 2048 int8, 1024 bf16: Intel on Sapphire Rapids (Wikipedia, Advanced Matrix Extensions).
- AVX-512 on two 512-bit multiply-add units (Xeon; Zen 5, seen by its avx_vnni): 2 x 16 fp32 x 2 =
  64; bf16 (avx512_bf16) and fp16 (avx512_fp16) twice that, int8 (VNNI) four times.
- AVX-512 on Zen 4: half, since it runs on 256-bit units (numberworld.org, teardown of Zen 5).
- AVX2: two 256-bit multiply-add units: 2 x 8 fp32 x 2 = 32; int8 with AVX-VNNI four times that,
  without it (vpmaddubsw, vpmaddwd) twice.
- An efficiency core counts half: two 128-bit units on Gracemont and Crestmont. Skymont has more.

All cores at the highest clock is more than any processor keeps up, so this is an upper bound.
"""

from __future__ import annotations

import re

from local_opus.devices.figures import Confidence, Figure
from local_opus.values import CpuFacts

_AMX_INT8 = 2048
_AMX_BF16 = 1024
_AVX512_FP32 = 64
_AVX2_FP32 = 32
_INT8_BY_VNNI = 4
_INT8_BY_AVX2 = 2
#: A clock in a processor's own name, e.g. "@ 2.60GHz": its base clock.
_CLOCK = re.compile(r"@\s*(\d+(?:\.\d+)?)\s*GHz")


def computed(cpu: CpuFacts) -> dict[str, Figure]:
    """Return int8_tops, fp16_tflops, fp32_tflops as far as they follow from cores, clock, ISA.

    Empty where no clock or no vector extension is told (a virtual machine often tells no clock).
    """
    ghz, whence = _clock(cpu)
    rates = operations_per_cycle(cpu)
    if ghz is None or not rates:
        return {}
    cores = _cores(cpu)
    names = {"int8": "int8_tops", "fp16": "fp16_tflops", "fp32": "fp32_tflops"}
    return {
        names[kind]: Figure(
            value=round(cores * ghz * rate / 1000, 4),
            confidence=Confidence.COMPUTED,
            source=f"{cores:g} cores x {ghz:g} GHz ({whence}) x {rate} operations/cycle ({by})",
        )
        for kind, (rate, by) in rates.items()
    }


def operations_per_cycle(cpu: CpuFacts) -> dict[str, tuple[int, str]]:
    """Return for int8, fp16 (or bf16) and fp32 the operations/cycle of a core, and by what."""
    isa = set(cpu.isa)
    rates: dict[str, tuple[int, str]] = {}
    if "avx512f" in isa:
        halved = cpu.vendor == "AuthenticAMD" and "avx_vnni" not in isa
        fp32 = _AVX512_FP32 // 2 if halved else _AVX512_FP32
        rates["fp32"] = (fp32, "AVX-512 on 256-bit units" if halved else "AVX-512")
        for extension in ("avx512_fp16", "avx512_bf16"):
            if extension in isa:
                rates["fp16"] = (fp32 * 2, extension)
        if "avx512_vnni" in isa:
            rates["int8"] = (fp32 * _INT8_BY_VNNI, "avx512_vnni")
    elif {"avx2", "fma"} <= isa:
        rates["fp32"] = (_AVX2_FP32, "AVX2")
        vnni = "avx_vnni" in isa
        times = _INT8_BY_VNNI if vnni else _INT8_BY_AVX2
        rates["int8"] = (_AVX2_FP32 * times, "avx_vnni" if vnni else "AVX2")
    if "amx_bf16" in isa:
        rates["fp16"] = (_AMX_BF16, "amx_bf16")
    if "amx_int8" in isa:
        rates["int8"] = (_AMX_INT8, "amx_int8")
    return rates


def _clock(cpu: CpuFacts) -> tuple[float | None, str]:
    if cpu.max_mhz is not None and cpu.max_mhz > 0:
        return cpu.max_mhz / 1000, "highest clock"
    named = _CLOCK.search(cpu.model)
    return (float(named[1]), "of its name") if named else (None, "")


def _cores(cpu: CpuFacts) -> float:
    """Cores within affinity and quota; an efficiency core is half a one."""
    whole = float(cpu.physical_cores)
    if cpu.performance_cores is not None and cpu.efficiency_cores is not None:
        whole = cpu.performance_cores + cpu.efficiency_cores / 2
    return min(whole, cpu.usable_cores)
