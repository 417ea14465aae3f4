"""The kernel's files of a machine, played: they take a word as the kernel does, or refuse it.

What each does is that of Linux 6.12: drivers/cpufreq/cpufreq.c and intel_pstate.c, mm/huge_memory.c,
drivers/accel/ivpu/ivpu_sysfs.c.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

from fakes import FakeHost
from local_opus.host import Files

CPU = "/sys/devices/system/cpu/cpufreq"
THP = "/sys/kernel/mm/transparent_hugepage"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NPU = "/sys/bus/pci/devices/0000:00:0b.0"
GOVERNORS = "performance powersave\n"
HINTS = "default performance balance_performance balance_power power \n"


class PlayedFiles(Files):
    """Files whose words in /sys are judged; ``step`` is called before and after each change."""

    step: Callable[[str], None] = staticmethod(lambda _what: None)  # type: ignore[assignment]

    def tell_kernel(self, path: str, word: bytes) -> None:
        self.step(f"before {path}")
        text = self.read_text(path)
        said = word.decode().strip()
        refusal, now = self._judged(path, text, said)
        if refusal:
            raise OSError(refusal, os.strerror(refusal), path)
        super().tell_kernel(path, now.encode())
        self.step(f"after {path}")

    def _judged(self, path: str, text: str, said: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        if "[" in text:
            words = re.findall(r"[^\[\]\s]+", text)
            listed = " ".join(f"[{one}]" if one == said else one for one in words)
            return (0, f"{listed}\n") if said in words else (errno.EINVAL, "")
        if name == "scaling_governor":
            known = self.read_text(f"{folder}/scaling_available_governors").split()
            return (0, f"{said}\n") if said in known else (errno.EINVAL, "")
        if name == "energy_performance_preference":
            if self.read_text(f"{folder}/scaling_governor").strip() == "performance":
                return (0, "performance\n") if said == "performance" else (errno.EBUSY, "")
            return 0, f"{said}\n"
        return 0, f"{said}\n"

    def write_atomic(self, path: str, data: bytes, **settings) -> None:  # type: ignore[no-untyped-def,override]
        self.step(f"before {path}")
        super().write_atomic(path, data, **settings)
        self.step(f"after {path}")

    def remove(self, path: str) -> None:
        self.step(f"before {path}")
        super().remove(path)
        self.step(f"after {path}")


def host_on(root: Path, files: dict[str, str]) -> FakeHost:
    """Return a host with these files, whose euid is root's, in a boot of its own."""
    host = FakeHost(root)
    host.files = PlayedFiles(str(root))
    host.euid = 0
    for path, text in {BOOT_ID: "one\n", **files}.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            target.symlink_to(text[2:])
        else:
            target.write_text(text)
    return host


def laptop(policies: int = 2) -> dict[str, str]:
    """Return the files of a laptop of intel_pstate in active mode, and transparent huge pages."""
    files = {
        f"{THP}/enabled": "always [madvise] never\n",
        f"{THP}/defrag": "always defer defer+madvise [madvise] never\n",
    }
    for number in range(policies):
        folder = f"{CPU}/policy{number}"
        files |= {
            f"{folder}/scaling_driver": "intel_pstate\n",
            f"{folder}/scaling_governor": "powersave\n",
            f"{folder}/scaling_available_governors": GOVERNORS,
            f"{folder}/energy_performance_preference": "balance_performance\n",
            f"{folder}/energy_performance_available_preferences": HINTS,
        }
    return files


def npu() -> dict[str, str]:
    """Return the files of an NPU whose clock can be set (50xx and newer)."""
    return {
        f"{NPU}/driver": "->../../../bus/pci/drivers/intel_vpu",
        f"{NPU}/freq/hw_max_freq": "1950\n",
        f"{NPU}/freq/hw_min_freq": "400\n",
        f"{NPU}/freq/set_min_freq": "400\n",
        f"{NPU}/freq/set_max_freq": "1950\n",
    }


def tree(root: Path) -> dict[str, str]:
    """Return every file of the kernel's, and what is set: by its path."""
    return {
        f"/{path.relative_to(root)}": path.read_text()
        for top in ("sys", "run")
        for path in sorted((root / top).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
