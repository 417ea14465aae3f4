"""Each reader of facts with what it is given: the good, the missing and the malformed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_opus.facts import (
    accelerators,
    cpu,
    drives,
    firmware,
    libraries,
    memory,
    modules,
    numa,
    packages,
    software,
)
from local_opus.host import Host, Kernel, Memory
from local_opus.values import MemoryFacts
from machines import ScriptedKernel, host_on, pci_tree, write

Files = dict[str, Any]
CPU = "/sys/devices/system/cpu"


def host_with(tmp_path: Path, files: Files, **kernel: object) -> Host:
    host = host_on(write(tmp_path / "root", {"/etc/x": "", **files}))
    host.kernel = ScriptedKernel(kernel)
    return host


# -- frequencies and heat ------------------------------------------------------------------------


def two_cores(**each: str) -> Files:
    """Two cores of two threads each: 0 and 2, 1 and 3."""
    files: Files = {f"{CPU}/online": "0-3\n"}
    for number in range(4):
        files[f"{CPU}/cpu{number}/topology/thread_siblings_list"] = (
            f"{number % 2},{number % 2 + 2}\n"
        )
        files[f"{CPU}/cpu{number}/topology/physical_package_id"] = "0\n"
    return files | {f"{CPU}/{path.replace('__', '/')}": text for path, text in each.items()}


PACE = {
    "a virtual machine has none": ({}, (None, None, (), None)),
    "the fastest core counts": (
        {"cpu0/cpufreq/cpuinfo_max_freq": "2300000\n", "cpu1/cpufreq/cpuinfo_max_freq": "4800000\n"}, (4800, None, (), None)),
    "several governors": (
        {"cpu0/cpufreq/scaling_governor": "powersave\n", "cpu1/cpufreq/scaling_governor": "performance\n",
         "cpu2/cpufreq/scaling_governor": "powersave\n", "cpu0/cpufreq/scaling_driver": "intel_pstate\n"},
        (None, "intel_pstate", ("performance", "powersave"), None)),
    "a core's throttling counts once": (
        {"cpu0/thermal_throttle/core_throttle_count": "7\n", "cpu2/thermal_throttle/core_throttle_count": "7\n",
         "cpu1/thermal_throttle/core_throttle_count": "2\n"}, (None, None, (), 9)),
    "never throttled": ({"cpu0/thermal_throttle/core_throttle_count": "0\n"}, (None, None, (), 0)),
    "garbage": ({"cpu0/cpufreq/cpuinfo_max_freq": "<unknown>\n", "cpu0/cpufreq/scaling_governor": "\n",
                 "cpu0/thermal_throttle/core_throttle_count": "-1\n"}, (None, None, (), None)),
}  # fmt: skip


@pytest.mark.parametrize("case", PACE)
def test_pace(case: str, tmp_path: Path) -> None:
    files, expected = PACE[case]
    found = cpu.parse(cpu.read(host_with(tmp_path, two_cores(**files))))
    assert (found.max_mhz, found.scaling_driver, found.governors, found.throttled) == expected


def test_the_machine_word_where_proc_is_hidden(tmp_path: Path) -> None:
    host = host_with(tmp_path, two_cores(), machine="aarch64")
    assert cpu.parse(cpu.read(host)).architecture == "aarch64"


# -- memory --------------------------------------------------------------------------------------

MEMINFO = """MemTotal: 1000 kB
MemAvailable: 600 kB
SwapTotal: 300 kB
SwapFree: 100 kB
HugePages_Total: 4
HugePages_Free: 3
Hugepagesize: 2048 kB
"""
THP = "/sys/kernel/mm/transparent_hugepage/enabled"


def memory_of(tmp_path: Path, files: Files, **kernel: object) -> MemoryFacts:
    return memory.parse(memory.read(host_with(tmp_path, files, **kernel)))


def test_swap_and_huge_pages(tmp_path: Path) -> None:
    found = memory_of(tmp_path, {"/proc/meminfo": MEMINFO, THP: "always [madvise] never\n"})
    assert (found.swap_total, found.swap_free) == (300 << 10, 100 << 10)
    assert (found.huge_pages, found.huge_pages_free, found.huge_page_size) == (4, 3, 2 << 20)
    assert found.transparent_huge_pages == "madvise"


@pytest.mark.parametrize("text", ["", "always madvise never\n", "[]\n", "\xff"])
def test_no_word_for_transparent_huge_pages(text: str, tmp_path: Path) -> None:
    assert memory_of(tmp_path, {"/proc/meminfo": MEMINFO, THP: text}).transparent_huge_pages is None


NODE = "/sys/devices/system/node"
NODE_MEMINFO = (
    "Node {0} MemTotal: 1000 kB\nNode {0} MemFree: 200 kB\n"
    "Node {0} Active(file): 100 kB\nNode {0} Inactive(file): 300 kB\n"
)
TWO_NODES = {f"{NODE}/node{n}/meminfo": NODE_MEMINFO.format(n) for n in (0, 1)}
SYSINFO = {"total": 9000, "free": 5000, "swap_total": 700, "swap_free": 600}
HIDDEN = {
    "the nodes tell": (TWO_NODES, {}, (2000 << 10, 800 << 10, 0)),
    "the nodes tell, and sysinfo tells the swap": (TWO_NODES, {"memory": SYSINFO}, (2000 << 10, 800 << 10, 700)),
    "sysinfo alone": ({}, {"memory": SYSINFO}, (9000, 5000, 700)),
    "one node is unreadable": ({**TWO_NODES, f"{NODE}/node1/meminfo": "?\n"}, {"memory": SYSINFO}, (9000, 5000, 700)),
}  # fmt: skip


@pytest.mark.parametrize("case", HIDDEN)
def test_memory_where_proc_is_hidden(case: str, tmp_path: Path) -> None:
    files, kernel, expected = HIDDEN[case]
    found = memory_of(tmp_path, files, **kernel)
    assert (found.total, found.available, found.swap_total) == expected


def test_sysinfo_of_this_machine() -> None:
    found = Kernel().memory()
    assert isinstance(found, Memory)
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    told = int(lines["MemTotal"].split()[0]) * 1024
    assert abs(found.total - told) < told // 50
    assert found.swap_total == int(lines["SwapTotal"].split()[0]) * 1024
    assert 0 < found.free <= found.total


def test_an_image_has_no_kernel(tmp_path: Path) -> None:
    kernel = Host(str(tmp_path)).kernel
    assert (kernel.release(), kernel.machine(), kernel.memory()) == (None, None, None)


def test_more_digits_than_a_number_has(tmp_path: Path) -> None:
    assert memory_of(tmp_path, {"/proc/meminfo": f"{MEMINFO}SwapCached: {'9' * 5000} kB\n"}).total


# -- NUMA ----------------------------------------------------------------------------------------

NODES = {
    "none": ({}, []),
    "two": ({f"{NODE}/node0/cpulist": "0-3\n", f"{NODE}/node1/cpulist": "4-7\n", **TWO_NODES},
            [(0, "0-3", 1000 << 10), (1, "4-7", 1000 << 10)]),
    "ten come after nine": ({f"{NODE}/node{n}/cpulist": f"{n}\n" for n in (9, 10)}, [(9, "9", None), (10, "10", None)]),
    "memory alone": ({f"{NODE}/node2/cpulist": "\n", f"{NODE}/node2/meminfo": NODE_MEMINFO.format(2)}, [(2, "", 1000 << 10)]),
    "gone while it is read": ({f"{NODE}/node0/meminfo": "", f"{NODE}/node1/cpulist": "1\n"}, [(1, "1", None)]),
    "garbage": ({f"{NODE}/node0/cpulist": "a-b\n", f"{NODE}/nodes": "", f"{NODE}/has_cpu": "0\n"}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_numa(case: str, tmp_path: Path) -> None:
    files, expected = NODES[case]
    found = numa.parse(numa.read(host_with(tmp_path, files)))
    assert [(node.node, node.cpus, node.memory) for node in found] == expected


# -- drives --------------------------------------------------------------------------------------


def drive(
    name: str, size: str = "2048\n", model: str | None = None, rotational: str = "0\n"
) -> Files:
    files = {f"/sys/block/{name}/size": size, f"/sys/block/{name}/queue/rotational": rotational,
             f"/sys/block/{name}/device/serial": "S3CRET\n"}  # fmt: skip
    return files | ({f"/sys/block/{name}/device/model": f"{model}   \n"} if model else {})


DRIVES = {
    "nvme": (drive("nvme0n1", model="Samsung SSD 990 PRO"), ("nvme0n1", "Samsung SSD 990 PRO", 1 << 20, "nvme")),
    "ssd": (drive("sda", model="INTEL SSDSC2"), ("sda", "INTEL SSDSC2", 1 << 20, "ssd")),
    "hdd": (drive("sdb", rotational="1\n"), ("sdb", None, 1 << 20, "hdd")),
    "virtio, which says that it turns": (drive("vda", rotational="1\n"), ("vda", None, 1 << 20, "virtual")),
    "qemu's": (drive("sda", model="QEMU HARDDISK"), ("sda", "QEMU HARDDISK", 1 << 20, "virtual")),
    "eMMC": (drive("mmcblk0"), ("mmcblk0", None, 1 << 20, "ssd")),
}  # fmt: skip


@pytest.mark.parametrize("case", DRIVES)
def test_drive(case: str, tmp_path: Path) -> None:
    files, expected = DRIVES[case]
    (found,) = drives.parse(drives.read(host_with(tmp_path, files)))
    assert (found.name, found.model, found.size, found.kind) == expected


@pytest.mark.parametrize(
    "name", ["loop0", "ram0", "zram0", "dm-0", "md127", "sr0", "fd0", "nbd0", "mmcblk0boot0"]
)
def test_no_drives(name: str, tmp_path: Path) -> None:
    assert drives.parse(drives.read(host_with(tmp_path, drive(name)))) == ()


@pytest.mark.parametrize("size", ["0\n", "", "big\n"])
def test_a_drive_without_a_size(size: str, tmp_path: Path) -> None:
    assert drives.parse(drives.read(host_with(tmp_path, drive("sda", size)))) == ()


def test_serial_numbers_are_not_read(tmp_path: Path) -> None:
    files = drive("nvme0n1")
    assert "S3CRET" not in repr(drives.read(host_with(tmp_path, files)))


# -- firmware ------------------------------------------------------------------------------------

FIRMWARE = {
    "plain, its own generation alone": (
        "7d1d", ["/lib/firmware/intel/vpu/vpu_37xx_v0.0.bin", "/lib/firmware/intel/vpu/vpu_40xx_v0.0.bin"],
        ["/lib/firmware/intel/vpu/vpu_37xx_v0.0.bin"]),
    "compressed": ("643e", ["/lib/firmware/intel/vpu/vpu_40xx_v1.bin.xz", "/lib/firmware/intel/vpu/vpu_40xx_v0.0.bin.zst"],
                   ["/lib/firmware/intel/vpu/vpu_40xx_v0.0.bin.zst", "/lib/firmware/intel/vpu/vpu_40xx_v1.bin.xz"]),
    "updates come first": (
        "b03e", ["/lib/firmware/intel/vpu/vpu_50xx_v1.bin", "/lib/firmware/updates/intel/vpu/vpu_50xx_v1.bin"],
        ["/lib/firmware/updates/intel/vpu/vpu_50xx_v1.bin", "/lib/firmware/intel/vpu/vpu_50xx_v1.bin"]),
    "for one kernel": ("fd3e", ["/lib/firmware/updates/6.17.0/intel/vpu/vpu_50xx_v1.bin"],
                       ["/lib/firmware/updates/6.17.0/intel/vpu/vpu_50xx_v1.bin"]),
    "no firmware": ("7d1d", ["/lib/firmware/intel/vpu/vpu_37xx_v0.0.txt", "/lib/firmware/intel/vpu/old.bin"], []),
    "a GPU": ("e20b", ["/lib/firmware/xe/bmg_guc_70.bin", "/lib/firmware/xe/lnl_guc_70.bin"], ["/lib/firmware/xe/bmg_guc_70.bin"]),
    "an unknown device": ("abcd", ["/lib/firmware/intel/vpu/vpu_37xx_v0.0.bin"], []),
    "none at all": ("7d1d", [], []),
}  # fmt: skip


@pytest.mark.parametrize("case", FIRMWARE)
def test_firmware(case: str, tmp_path: Path) -> None:
    number, there, expected = FIRMWARE[case]
    files = {"/proc/sys/kernel/osrelease": "6.17.0\n", **dict.fromkeys(there, "")}
    assert list(firmware.files(host_with(tmp_path, files), number)) == expected


def test_firmware_in_a_folder_of_the_systems_own(tmp_path: Path) -> None:
    path = "/run/current-system/firmware/intel/vpu/vpu_37xx_v1.bin.zst"
    files = {
        "/sys/module/firmware_class/parameters/path": "/run/current-system/firmware\n",
        path: "",
    }
    assert firmware.files(host_with(tmp_path, files), "ad1d") == (path,)


# -- modules -------------------------------------------------------------------------------------

LISTS = "/lib/modules/6.17.0"
DEP = "kernel/drivers/gpu/drm/xe/xe.ko.zst: kernel/drivers/gpu/drm/drm_exec.ko.zst\n"
MODULES = {
    "loaded": ({"/sys/module/xe/initstate": "live\n"}, "loaded"),
    "loaded, without sysfs": ({"/proc/modules": "drm_exec 1 0\nxe 4000000 2 - Live 0x0\n"}, "loaded"),
    "another begins like it": ({"/proc/modules": "xenfs 1 0\n", f"{LISTS}/modules.dep": DEP}, "available"),
    "it is on its way in": ({"/sys/module/xe/initstate": "coming\n", f"{LISTS}/modules.dep": DEP}, "available"),
    "built in": ({f"{LISTS}/modules.builtin": "kernel/drivers/gpu/drm/xe/xe.ko\n"}, "built in"),
    "built in, as sysfs tells": ({"/sys/module/xe/parameters/force_probe": "\n"}, "built in"),
    "available": ({f"{LISTS}/modules.dep": DEP}, "available"),
    "available, not compressed": ({f"{LISTS}/modules.dep": "kernel/drivers/gpu/drm/xe/xe.ko:\n"}, "available"),
    "only needed by another": ({f"{LISTS}/modules.dep": "kernel/a.ko: kernel/xe.ko\n"}, "missing"),
    "missing": ({f"{LISTS}/modules.dep": "kernel/net/xenet.ko:\n"}, "missing"),
    "a container without the folder": ({}, "not told"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_module(case: str, tmp_path: Path) -> None:
    files, expected = MODULES[case]
    host = host_with(tmp_path, {"/proc/sys/kernel/osrelease": "6.17.0\n", **files})
    assert modules.parse(modules.read(host))["xe"] == expected


def test_modules_where_proc_is_hidden(tmp_path: Path) -> None:
    host = host_with(tmp_path, {f"{LISTS}/modules.dep": DEP}, release="6.17.0")
    assert modules.parse(modules.read(host)) == {
        "i915": "missing",
        "xe": "available",
        "intel_vpu": "missing",
    }


# -- libraries, files for them, packages -----------------------------------------------------------

LIB = "/usr/lib/x86_64-linux-gnu"
LOADER = "libze_loader.so.1"
FOUND = {
    "Debian": ({f"{LIB}/{LOADER}": {"link": f"{LOADER}.28.2"}, f"{LIB}/{LOADER}.28.2": ""}, f"{LIB}/{LOADER}", "1.28.2"),
    "Fedora": ({f"/usr/lib64/{LOADER}": {"link": f"/usr/lib64/{LOADER}.25"}}, f"/usr/lib64/{LOADER}", "1.25"),
    "Arch": ({f"/usr/lib/{LOADER}": ""}, f"/usr/lib/{LOADER}", None),
    "NixOS": ({f"/run/opengl-driver/lib/{LOADER}": {"link": f"/nix/store/x/lib/{LOADER}.28.2"}},
              f"/run/opengl-driver/lib/{LOADER}", "1.28.2"),
    "built by hand": ({f"/usr/local/lib/{LOADER}": "", f"{LIB}/{LOADER}": ""}, f"/usr/local/lib/{LOADER}", None),
    "a folder of ld.so.conf": ({"/etc/ld.so.conf.d/own.conf": "# mine\n/opt/own/lib/\nrelative\n", f"/opt/own/lib/{LOADER}": ""},
                               f"/opt/own/lib/{LOADER}", None),
    "its package tells the version": (
        {f"{LIB}/{LOADER}": "", "/var/lib/dpkg/status": "Package: libze1\nStatus: install ok installed\nVersion: 1.8.12-1\n"},
        f"{LIB}/{LOADER}", "1.8.12-1"),
    "links in a circle": ({f"{LIB}/{LOADER}": {"link": f"{LOADER}.0"}, f"{LIB}/{LOADER}.0": {"link": LOADER}}, f"{LIB}/{LOADER}", None),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_library(case: str, tmp_path: Path) -> None:
    files, path, version = FOUND[case]
    library = software.parse(software.read(host_with(tmp_path, files))).libraries[LOADER]
    assert library is not None
    assert (library.path, library.version) == (path, version)


def test_no_library(tmp_path: Path) -> None:
    found = software.parse(software.read(host_with(tmp_path, {}))).libraries
    assert set(found) == set(libraries.LIBRARIES)
    assert set(found.values()) == {None}


def test_the_opencl_driver_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    files = {
        f"{LIB}/intel-opencl/libigdrcl.so": "",
        "/etc/OpenCL/vendors/intel.icd": f"{LIB}/intel-opencl/libigdrcl.so\n",
    }
    found = software.parse(software.read(host_with(tmp_path, files)))
    library = found.libraries["libigdrcl.so"]
    assert library is not None
    assert library.path == f"{LIB}/intel-opencl/libigdrcl.so"
    assert found.icds == {"/etc/OpenCL/vendors/intel.icd": f"{LIB}/intel-opencl/libigdrcl.so"}


@pytest.mark.parametrize(("text", "expected"), [
    ("libigdrcl.so\n", "libigdrcl.so"), ("# a word\n\n  libnvidia-opencl.so.1  \n", "libnvidia-opencl.so.1"),
    ("", None), ("\x1b[2J\n", None)])  # fmt: skip
def test_files_that_name_drivers(text: str, expected: str | None, tmp_path: Path) -> None:
    path = "/etc/OpenCL/vendors/a.icd"
    host = host_with(tmp_path, {path: text, "/etc/OpenCL/vendors/README": "no driver\n"})
    found = libraries.parse_icds(libraries.read(host))
    assert found == ({path: expected} if expected else {})


DPKG = """Package: bash
Status: install ok installed
Version: 5.2

Package: libze1
Status: install ok installed
Description: a loader
 Package: libze1
Version: 1.28.2-1

Package: intel-fw-npu
Status: deinstall ok config-files
Version: 1.35.0

Package: intel-opencl-icd
Status: install ok installed
"""


def test_packages_of_dpkg(tmp_path: Path) -> None:
    host = host_with(tmp_path, {packages.DPKG: DPKG})
    assert packages.parse(packages.read(host)) == {"libze1": "1.28.2-1"}


def test_packages_of_pacman(tmp_path: Path) -> None:
    names = [
        "ALPM_DB_VERSION",
        "intel-npu-driver-1.35.0-1",
        "level-zero-loader-1:1.28.2-2",
        "bash-5.3-1",
        "ocl-icd",
    ]
    host = host_with(tmp_path, {packages.PACMAN: {"names": names}})
    assert packages.parse(packages.read(host)) == {
        "intel-npu-driver": "1.35.0-1", "level-zero-loader": "1:1.28.2-2"}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "\n\n\n", "Package:\n", "Package: libze1", "Version: 1\n\nPackage: libze1\nVersion:\n"],
)
def test_packages_in_garbage(text: str, tmp_path: Path) -> None:
    assert packages.parse(packages.read(host_with(tmp_path, {packages.DPKG: text}))) == {}


# -- accelerators: what is one, and what its driver tells ------------------------------------------


def pci(
    device: str, pci_class: str, vendor: str = "0x8086", driver: str | None = None, **more: Any
) -> Files:
    return {"vendor": vendor, "device": device, "class": pci_class, "driver": driver, **more}


KINDS = {
    "an NPU of tomorrow, no driver": ("0000:00:0b.0", pci("0xabce", "0x120000"), ("NPU", None, None)),
    "an NPU of tomorrow in a virtual machine": ("0000:06:00.0", pci("0xabce", "0x120000", driver="intel_vpu"), ("NPU", None, None)),
    "a GPU of tomorrow": ("0000:00:02.0", pci("0xabcd", "0x030000"), ("GPU", None, True)),
    "a card of tomorrow": ("0000:03:00.0", pci("0xabcd", "0x038000"), ("GPU", None, None)),
    "a card of tomorrow that tells its memory": (
        "0000:03:00.0", pci("0xabcd", "0x038000", files={"tile0/physical_vram_size_bytes": "17179869184"}), ("GPU", None, False)),
    "an FPGA card": ("0000:3b:00.0", pci("0x09c4", "0x120000", driver="dfl-pci"), None),
    "an FPGA card without its driver": ("0000:3b:00.0", pci("0x0b30", "0x120000"), None),
    "an FPGA in the processor": ("0000:00:0b.0", pci("0xbcc0", "0x120000"), None),
    "some card of that class": ("0000:5e:00.0", pci("0xabcf", "0x120000"), None),
    "the host bridge of an AMD guest": ("0000:00:00.0", pci("0x0d57", "0x060000"), None),
    "a signal processor of Intel's": ("0000:00:04.0", pci("0x1903", "0x118000"), None),
    "a known NPU": ("0000:00:0b.0", pci("0x643e", "0x120000"), ("NPU", "Lunar Lake", None)),
    "a known card": ("0000:03:00.0", pci("0x56a0", "0x030000"), ("GPU", "Alchemist", False)),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_what_is_an_accelerator(case: str, tmp_path: Path) -> None:
    address, device, expected = KINDS[case]
    raw = accelerators.read(host_with(tmp_path, pci_tree({address: device})))
    found = [(item.kind.value, item.platform, item.integrated) for item in accelerators.parse(raw)]
    assert found == ([expected] if expected else [])
    assert accelerators.parse_foreign(raw) == ()


FOREIGN = {
    "NVIDIA": (pci("0x2b85", "0x030000", "0x10de", "nvidia", drm=["card1", "renderD129"]), ("GPU", "10de:2b85", "/dev/dri/renderD129")),
    "AMD's NPU": (pci("0x17f0", "0x118000", "0x1022", "amdxdna", accel=["accel0"]), ("NPU", "1022:17f0", "/dev/accel/accel0")),
    "AMD's NPU before its node": (pci("0x1502", "0x118000", "0x1022", "amdxdna"), ("NPU", "1022:1502", None)),
    "an accelerator of another maker": (pci("0x0001", "0x120000", "0x1da3", "habanalabs", accel=["accel1"]),
                                        ("NPU", "1da3:0001", "/dev/accel/accel1")),
    "AMD's signal processor": (pci("0x15e2", "0x118000", "0x1022"), None),
    "a virtual screen": (pci("0x1050", "0x030000", "0x1af4"), ("GPU", "1af4:1050", None)),
    "a vendor that can't be read": (pci("0x1050", "0x030000", ""), None),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_other_makers(case: str, tmp_path: Path) -> None:
    device, expected = FOREIGN[case]
    raw = accelerators.read(host_with(tmp_path, pci_tree({"0000:01:00.0": device})))
    found = [(item.kind.value, item.pci_id, item.node) for item in accelerators.parse_foreign(raw)]
    assert found == ([expected] if expected else [])
    assert accelerators.parse(raw) == ()


CLOCKS = {
    "i915": ("0x7d55", "0x030000", {"drm/card0/gt_RP0_freq_mhz": "2250", "drm/card0/lmem_total_bytes": "0"}, (2250, None)),
    "i915 of Intel's own builds": ("0x56a0", "0x030000", {"drm/card0/lmem_total_bytes": "17179869184"}, (None, 16 << 30)),
    "xe": ("0xe20b", "0x030000", {"tile0/gt0/freq0/rp0_freq": "2850", "tile0/gt0/freq0/max_freq": "2000",
                                  "tile0/physical_vram_size_bytes": "12884901888"}, (2850, 12 << 30)),
    "xe with two tiles": ("0xabcd", "0x038000", {"tile0/physical_vram_size_bytes": "1024", "tile1/physical_vram_size_bytes": "1024"}, (None, 2048)),
    "intel_vpu": ("0x7d1d", "0x120000", {"npu_max_frequency_mhz": "1400"}, (1400, None)),
    "intel_vpu of newer kernels": ("0x643e", "0x120000", {"freq/hw_max_freq": "1950", "npu_max_frequency_mhz": "1900"}, (1950, None)),
    "more digits than a number has": ("0x643e", "0x120000", {"npu_max_frequency_mhz": "9" * 5000}, (None, None)),
    "asleep": ("0x643e", "0x120000", {"freq/hw_max_freq": "0"}, (None, None)),
    "garbage": ("0xe20b", "0x030000", {"tile0/gt0/freq0/rp0_freq": "fast", "tile0/physical_vram_size_bytes": "-1"}, (None, None)),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOCKS)
def test_clock_and_memory(case: str, tmp_path: Path) -> None:
    device, pci_class, files, expected = CLOCKS[case]
    tree = pci_tree({"0000:00:0b.0": pci(device, pci_class, drm=["card0"], files=files)})
    (found,) = accelerators.parse(accelerators.read(host_with(tmp_path, tree)))
    assert (found.max_mhz, found.memory) == expected
