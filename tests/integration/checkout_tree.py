"""A small checkout for tests of the bootstrap: the real installer, a lock of one tiny wheel."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="asks what root does")
REAL = Path(__file__).resolve().parent.parent.parent
PARTS = (
    *(
        "__init__.py",
        "__main__.py",
        "errors.py",
        "clock.py",
        "environment.py",
        "children.py",
        "interrupts.py",
        "invocation.py",
    ),
    *("bootstrap", "report"),
)
CLI = """
import json, os, sys
import tinything
def main():
    held = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{n}")]
    print(json.dumps({
        "argv": sys.argv, "prefix": sys.prefix, "version": tinything.VERSION,
        "isolated": sys.flags.isolated, "held": [p for p in held if p.endswith(".lock")],
    }), flush=True)
    return 0
"""


def make_wheel(folder: Path, version: str) -> str:
    """Write tinything-VERSION's wheel; return its line for a lock."""
    info = f"tinything-{version}.dist-info"
    files = {
        "tinything.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinything\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    path = folder / f"tinything-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"tinything=={version} --hash=sha256:{digest}\n"


class Tree:
    """The checkout ``top/check out`` with its wheels, and how to run it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.checkout = top / "check out"
        self.wheels = top / "wheels"
        self.wheels.mkdir()
        source = self.checkout / "src" / "local_opus"
        (source / "cli").mkdir(parents=True)
        (source / "cli" / "__init__.py").write_text(CLI)
        shutil.copy2(REAL / "installer", self.checkout)
        for part in PARTS:
            origin = REAL / "src" / "local_opus" / part
            if origin.is_dir():
                shutil.copytree(origin, source / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(origin, source)
        self.python = sys.executable
        self.user: dict[str, object] = {}
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(top / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_CACHE_DIR": "1",
        }
        self.lock("1.0")

    @property
    def base(self) -> Path:
        """Where the environments of this checkout belong."""
        return self.checkout / ".env"

    def environments(self, base: Path | None = None) -> list[Path]:
        """The folders of environments, half-built ones too."""
        base = base or self.base
        return sorted(path for path in base.glob("openvino-*") if path.is_dir())

    def lock(self, version: str) -> None:
        """Lock another version."""
        (self.checkout / "requirements-openvino.lock").write_text(make_wheel(self.wheels, version))

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        """Start the installer with ``extra`` variables."""
        return subprocess.Popen(
            [self.python, str(self.checkout / "installer"), *arguments],
            env={**self.environ, **extra},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **self.user,
        )

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the installer to its end."""
        with self.start(*arguments, **extra) as child:
            out, err = child.communicate(timeout=120)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def answer(self, *arguments: str, **extra: str) -> dict[str, object]:
        """Run the installer; return what its command line reported."""
        done = self.run(*arguments, **extra)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)


def two_lines(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return what a failed run says: exactly what, and what to do."""
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert done.stdout == ""
    return lines[0], lines[1]


def start_and_reach(tree: Tree, silent: socket.socket) -> subprocess.Popen[str]:
    """Start the installer; return when its pip waits for the index."""
    child = tree.start(**waiting_for(silent))
    try:
        silent.accept()[0].close()  # pip tries again, and waits in the queue
    except TimeoutError:
        child.kill()
        raise
    return child


def waiting_for(silent: socket.socket) -> dict[str, str]:
    """Return the variables that make pip ask that socket, and once more."""
    index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
    return {
        "PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": index, "PIP_RETRIES": "1",
    }  # fmt: skip
