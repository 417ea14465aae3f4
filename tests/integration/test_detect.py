"""``detect`` on the machine that runs the tests, with the real OpenVINO and py-cpuinfo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_opus.facts import cpu, gather, openvino
from local_opus.host import Host
from local_opus.values import HostFacts


def detect(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local_opus", "detect", *options]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=env, timeout=60, check=False
    )


def test_json(home: Path, tmp_path: Path) -> None:
    done = detect("--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    facts = HostFacts.model_validate(json.loads(done.stdout))
    assert facts.openvino.problem is None
    assert facts.openvino.version is not None
    assert facts.openvino.version.startswith("2026.4.1")
    (found,) = [device for device in facts.openvino.devices if device.name == "CPU"]
    assert "INT8" in str(found.properties["OPTIMIZATION_CAPABILITIES"])
    assert found.properties["INFERENCE_PRECISION_HINT"] in {"f32", "bf16", "f16"}
    assert facts.cpu.logical_cores == os.cpu_count()
    assert facts.cpu.usable_cores <= len(os.sched_getaffinity(0))
    # Less in a container whose /proc is its own.
    assert 0 < facts.memory.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Telemetry would have left a folder there, and OpenVINO says that it sends some.
    assert list(home.iterdir()) == []


def test_table(home: Path, tmp_path: Path) -> None:
    done = detect(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("CPU", "Memory", "Disk", "System", "OpenVINO"):
        assert part in done.stdout
    assert list(home.iterdir()) == []


def test_it_is_quick() -> None:
    begin = time.monotonic()
    gather(Host(), disk_path="/")
    # About 0.5 s on an idle machine; five times that where tests share two cores.
    assert time.monotonic() - begin < 2.5


def test_a_usage_error(tmp_path: Path) -> None:
    done = detect("--jsno", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.fixture(scope="module")
def probe() -> openvino.Raw:
    """What the worker says when py-cpuinfo is asked beside OpenVINO."""
    return openvino.read(Host(), timeout=60, ask_cpu_name=True)


def test_py_cpuinfo_agrees(probe: openvino.Raw) -> None:
    ours = cpu.parse(cpu.read(Host()))
    theirs = openvino.parse_cpu(probe)
    assert (ours.model, ours.vendor, ours.architecture) == (
        theirs.model,
        theirs.vendor,
        theirs.architecture,
    )
    assert set(ours.isa) == theirs.flags & set(cpu.ISA)


def test_openvino_names_the_same_processor(probe: openvino.Raw) -> None:
    names = {device.name: device.full_name for device in openvino.parse(probe).devices}
    assert names["CPU"].split() == cpu.parse(cpu.read(Host())).model.split()
