"""The initramfs of a virtual machine: its modules, its root, and the agent that runs commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: In the order in which they need each other.
_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
    "virtio_blk", "virtio_console", "overlay",
)  # fmt: skip
_FOLDERS = ("bin", "dev", "lib", "base", "own", "root")
_AGENT = Path(__file__).with_name("agent.py")
_UNIT = """\
[Unit]
Description=Runs the commands of the end-to-end tests

[Service]
ExecStart=/usr/bin/python3 -I /run/e2e/agent.py
StandardError=journal+console
"""
#: The first disk is the image, the second the machine's own (disk.py).
_INIT = """\
#!/bin/busybox sh
set -e
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in {modules}; do $b insmod /lib/$module.ko; done
$b mount -t ext4 -o ro /dev/vda /base
$b mount -t ext4 /dev/vdb /own
$b mount -t overlay -o lowerdir=/base,upperdir=/own/upper,workdir=/own/work e2e /root
$b mount -t tmpfs -o mode=0755 run /root/run
units=/root/run/systemd/system
$b mkdir -p /root/run/e2e $units/multi-user.target.wants
$b cp /lib/agent.py /root/run/e2e/
$b cp /lib/e2e-agent.service $units/
$b ln -s ../e2e-agent.service $units/multi-user.target.wants/
exec $b switch_root /root /sbin/init
"""
_FOLDER, _FILE, _PROGRAM, _CHARACTER = 0o040755, 0o100644, 0o100755, 0o020600


def write_initramfs(target: Path, packages: Path) -> None:
    """Write it to ``target``, of the unpacked packages of a kernel and a static busybox."""
    with open(target, "wb") as stream:
        for number, (name, mode, content, device) in enumerate(_entries(packages), 1):
            # The kernel's own format: Documentation/driver-api/early-userspace/buffer-format.rst.
            named = name.encode() + b"\0"
            fields = (
                number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(named), 0,
            )  # fmt: skip
            stream.write(_padded(b"070701" + b"".join(b"%08X" % one for one in fields) + named))
            stream.write(_padded(content))


_Entry = tuple[str, int, bytes, tuple[int, int]]


def _entries(packages: Path) -> Iterator[_Entry]:
    none = (0, 0)
    for folder in _FOLDERS:
        yield folder, _FOLDER, b"", none
    yield "dev/console", _CHARACTER, b"", (5, 1)
    yield "bin/busybox", _PROGRAM, (packages / "bin/busybox").read_bytes(), none
    for module in _MODULES:
        file = next((packages / "lib/modules").rglob(f"{module}.ko"))
        yield f"lib/{module}.ko", _FILE, file.read_bytes(), none
    yield "lib/agent.py", _FILE, _AGENT.read_bytes(), none
    yield "lib/e2e-agent.service", _FILE, _UNIT.encode(), none
    yield "init", _PROGRAM, _INIT.format(modules=" ".join(_MODULES)).encode(), none
    yield "TRAILER!!!", 0, b"", none


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
