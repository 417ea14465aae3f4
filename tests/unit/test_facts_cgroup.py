"""Limits of cgroups: version 1, version 2, both at once, seen from inside and outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_opus.facts import cgroup, cpu, memory
from local_opus.facts.cgroup import Folder
from machines import MACHINES, cpu_tree, host_on, write

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
V1_CPU = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
DOCKER_V1 = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
SPACED = "31 23 0:28 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n"

FOLDERS = {
    "v2, own and parents": ("0::/a/b\n", V2, "memory",
        [(2, "/sys/fs/cgroup/a/b"), (2, "/sys/fs/cgroup/a"), (2, "/sys/fs/cgroup")]),
    "v2, namespace of a container": ("0::/\n", V2, "memory", [(2, "/sys/fs/cgroup")]),
    "v2, process moved out of the namespace": ("0::/../x\n", V2, "memory", [(2, "/sys/fs/cgroup")]),
    "v1, controller with its mount": ("4:memory:/p/x\n1:cpu:/\n", V1_CPU + V1_MEMORY, "memory",
        [(1, "/sys/fs/cgroup/memory/p/x"), (1, "/sys/fs/cgroup/memory/p"), (1, "/sys/fs/cgroup/memory")]),
    "v1, two controllers in one hierarchy": ("3:cpu,cpuacct:/\n", V1_CPU, "cpu",
        [(1, "/sys/fs/cgroup/cpu,cpuacct")]),
    "v1, mount of a part of the tree": ("4:memory:/docker/ab/c\n", DOCKER_V1, "memory",
        [(1, "/sys/fs/cgroup/memory/c"), (1, "/sys/fs/cgroup/memory")]),
    "v1, a name that only begins like the mount": ("4:memory:/docker/abc\n", DOCKER_V1, "memory",
        [(1, "/sys/fs/cgroup/memory")]),
    "both versions": ("4:memory:/p\n0::/\n", V1_MEMORY + UNIFIED, "memory",
        [(1, "/sys/fs/cgroup/memory/p"), (1, "/sys/fs/cgroup/memory"), (2, "/sys/fs/cgroup/unified")]),
    "a blank in the mount point": ("0::/\n", SPACED, "memory", [(2, "/sys/fs/c group")]),
    "no files": (None, None, "memory", []),
    "garbage": ("\0\0:::\nmemory\n0:", "- - -\n1 2 3 - cgroup2\n", "memory", []),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str) -> None:
    own, mounts, controller, expected = FOLDERS[case]
    assert cgroup.folders(own, mounts, controller) == tuple(Folder(*item) for item in expected)


def test_depth_is_bounded() -> None:
    assert len(cgroup.folders("0::" + "/d" * 5000, V2, "memory")) == 33


MEMORY_LIMITS = {
    "v2 max": ({"/sys/fs/cgroup/a/memory.max": "max\n"}, None),
    "v2 own": ({"/sys/fs/cgroup/a/memory.max": "1048576\n"}, 1048576),
    "v2 the parent's is lower": (
        {"/sys/fs/cgroup/a/memory.max": "max\n", "/sys/fs/cgroup/memory.max": "4096\n"}, 4096),
    "v1 none": ({"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    "v1 none with 64 KiB pages": (
        {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854710272\n"}, None),
    "v1 own": ({"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2147483648\n"}, 2147483648),
    "garbage": ({"/sys/fs/cgroup/a/memory.max": "-5 \xff lots\n"}, None),
    "empty": ({"/sys/fs/cgroup/a/memory.max": ""}, None),
    "a number of thousands of digits": ({"/sys/fs/cgroup/a/memory.max": "9" * 5000}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", MEMORY_LIMITS)
def test_memory_limit(case: str, tmp_path: Path) -> None:
    files, expected = MEMORY_LIMITS[case]
    mounts = V1_MEMORY if any("limit_in_bytes" in path for path in files) else V2
    root = write(tmp_path / "root", {
        "/proc/self/cgroup": "4:memory:/a\n0::/a\n", "/proc/self/mountinfo": mounts,
        "/proc/meminfo": "MemTotal: 8 kB\n", **files})  # fmt: skip
    assert memory.parse(memory.read(host_on(root))).cgroup_limit == expected


CPU_QUOTAS = {
    "v2 max": ({"/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 8.0),
    "v2 one and a half": ({"/sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
    "v2 the parent's is lower": (
        {"/sys/fs/cgroup/a/cpu.max": "400000 100000", "/sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "v2 more than there is": ({"/sys/fs/cgroup/a/cpu.max": "9900000 100000\n"}, 8.0),
    "v2 a number of thousands of digits": ({"/sys/fs/cgroup/a/cpu.max": "9" * 5000 + " 100000"}, 8.0),
    "v2 no period": ({"/sys/fs/cgroup/a/cpu.max": "100000\n"}, 8.0),
    "v2 period zero": ({"/sys/fs/cgroup/a/cpu.max": "100000 0\n"}, 8.0),
    "v1 none": ({"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n",
                 "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 8.0),
    "v1 two": ({"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "200000\n",
                "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 2.0),
    "affinity": ({"/proc/self/status": "Cpus_allowed_list:\t0-2,5\n"}, 4.0),
    "affinity with threads that are offline": (
        {"/proc/self/status": "Cpus_allowed_list:\t0-255\n"}, 8.0),
    "affinity and quota": ({"/proc/self/status": "Cpus_allowed_list:\t0-1\n",
                            "/sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
    "affinity is garbage": ({"/proc/self/status": "Cpus_allowed_list:\t0-\n"}, 8.0),
    "affinity is a bomb": ({"/proc/self/status": "Cpus_allowed_list:\t0-99999999999\n"}, 8.0),
}  # fmt: skip


@pytest.mark.parametrize("case", CPU_QUOTAS)
def test_usable_cores(case: str, tmp_path: Path) -> None:
    files, expected = CPU_QUOTAS[case]
    mounts = V1_CPU if any("cfs" in path for path in files) else V2
    root = write(tmp_path / "root", {
        **cpu_tree(MACHINES["lunar-lake-256v"].cpu),
        "/proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/a\n", "/proc/self/mountinfo": mounts, **files})  # fmt: skip
    assert cpu.parse(cpu.read(host_on(root))).usable_cores == expected
