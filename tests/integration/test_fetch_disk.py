"""Disks that are full, read-only, over quota or broken: it is told, and what has come is kept."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fetching import (
    SMALL,
    count_received,
    float_gguf,
    host_for,
    hub_model,
    small_pieces,
    tree,
)

from builders import gguf_bytes
from hub import Hub
from local_opus.errors import ExitCode, LocalOpusError, MachineCannotError
from local_opus.host import Host, Space
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import arrival
from local_opus.weights.verify import is_proven, verify_folder
from nobody import as_nobody, folder_of_nobody
from syscalls import Call, watched

pytestmark = pytest.mark.usefixtures("hasty")

TESTS = Path(__file__).resolve().parent.parent
FOLDER = "/models/tiny/gguf-q4_1"
DATA = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])
#: What five connections may have read and not written when an error comes, and more.
IN_FLIGHT = 16 * SMALL


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    small_pieces(monkeypatch)
    return count_received(monkeypatch)


def is_whole(host: Host, model: Model) -> None:
    assert is_proven(verify_folder(host, FOLDER, catalog_files=model.files))
    assert host.files.stat("/models/tiny/.partial") is None


# -- before ---------------------------------------------------------------------------------------


def test_too_little_space_is_told_with_figures_before_anything_comes(host, hub, monkeypatch):
    model = hub_model(hub, {"tiny.gguf": DATA})
    free = arrival.SPACE_MARGIN + len(DATA) - 1
    monkeypatch.setattr(host.files, "space", lambda _: Space(10**12, free, None))
    with pytest.raises(MachineCannotError) as caught:
        fetch_model(host, "/models", model)
    assert caught.value.exit_code is ExitCode.MACHINE_CANNOT
    assert "fetching tiny needs 0.07 GB, 0.07 GB are free" in caught.value.message
    assert "Free some space" in caught.value.remedy
    assert hub.requests == []
    assert host.files.stat("/models/tiny") is None


def test_what_is_there_needs_no_space(host, hub, received, monkeypatch):
    """Pieces of a partial file, and files in their place, are not asked for twice."""
    model = hub_model(hub, {"tiny.gguf": DATA, "more.gguf": gguf_bytes()})
    assert failed(host, model, Failing(errno.EIO, 60)) is not None
    kept = sum(received.values())
    assert kept > 8 * SMALL
    free = arrival.SPACE_MARGIN + len(DATA) + len(gguf_bytes()) - kept + IN_FLIGHT
    monkeypatch.setattr(host.files, "space", lambda _: Space(10**12, free, None))
    fetch_model(host, "/models", model)
    is_whole(host, model)


# -- at any call ----------------------------------------------------------------------------------


class Failing:
    """Lets one system call fail, or that and all later ones until the disk is well again."""

    def __init__(self, error: int, at: int, *, stays: bool = True) -> None:
        self._error = error
        self._at = at
        self._stays = stays
        self.made = 0

    def before(self, call: Call) -> None:
        number, self.made = self.made, self.made + 1
        # A full disk still removes files, and a broken one does not sync: so be it.
        if number == self._at or (self._stays and number > self._at and call.name == "pwrite"):
            raise OSError(self._error, os.strerror(self._error))


ERRORS = {
    "full": (errno.ENOSPC, ExitCode.MACHINE_CANNOT, "the disk is full"),
    "over quota": (errno.EDQUOT, ExitCode.MACHINE_CANNOT, "the disk is full"),
    "broken": (errno.EIO, ExitCode.FAILED, "Input/output error"),
    "read-only": (errno.EROFS, ExitCode.FAILED, "Read-only file system"),
    "a limit of size": (errno.EFBIG, ExitCode.FAILED, "File too large"),
}


def failed(host: Host, model: Model, failing: Failing) -> LocalOpusError | None:
    """Return the error of a fetch that meets this; None where it comes to its end."""
    try:
        with watched(host.root, failing.before):
            fetch_model(host, "/models", model)
    except LocalOpusError as error:
        return error
    return None


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_at_any_call_is_told_and_gone_on_from(tmp_path, hub, received, name):
    number, code, words = ERRORS[name]
    model = hub_model(hub, {"tiny.gguf": DATA})
    counter = Failing(number, -1, stays=False)
    whole = host_for(hub, tmp_path / "whole")
    with watched(whole.root, counter.before):
        fetch_model(whole, "/models", model)
    told = 0
    for at in range(list(ERRORS).index(name) % 5, counter.made, 5):
        host = host_for(hub, tmp_path / str(at))
        received.clear()
        error = failed(host, model, Failing(number, at))
        if error is not None:
            told += 1
            assert (error.exit_code, words in error.message) == (code, True), error.message
            assert FOLDER in error.message
            assert error.remedy
            fetch_model(host, "/models", model)
            assert received.total() - len(DATA) <= IN_FLIGHT
        # Where it was no error, a lock or an empty folder could not be removed.
        fetch_model(host, "/models", model)
        is_whole(host, model)
        (path,) = [path for path in tree(host) if path.endswith(".gguf")]
        assert Path(f"{host.root}/models/{path}").read_bytes() == DATA
    assert told > counter.made / 5 - 8


# -- real ones ------------------------------------------------------------------------------------

#: Runs in a mount namespace of its own: mounts, fetches, changes the mount, fetches again.
_PROGRAM = """
import json, subprocess, sys
given = json.loads(sys.argv[1])
sys.path[:0] = given["path"]
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import arrival

arrival.SPACE_MARGIN = given["margin"]
host, model = Host(given["root"], given["environ"]), Model.model_validate(given["model"])
found = []
for script in given["scripts"]:
    subprocess.run(["sh", "-ec", script], check=True, cwd=given["root"], stdin=subprocess.DEVNULL)
    try:
        fetch_model(host, "/models", model)
        end = {"code": 0}
    except LocalOpusError as error:
        end = {"code": int(error.exit_code), "message": error.message, "remedy": error.remedy}
    blocks = sum(stat.allocated or 0 for _, stat in host.files.walk("/models"))
    found.append({**end, "tree": [path for path, _ in host.files.walk("/models")], "bytes": blocks})
print(json.dumps(found))
"""


def in_namespace(host: Host, model: Model, *scripts: str, margin: int = 0) -> list[dict[str, Any]]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    given = {
        "path": [str(TESTS), str(TESTS.parent / "src")], "root": host.root, "margin": margin,
        "environ": dict(host.environ), "model": model.model_dump(mode="json"), "scripts": scripts,
    }  # fmt: skip
    Path(host.root, "models").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-s", "-c", _PROGRAM, json.dumps(given)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


MOUNT = "mount -t tmpfs -o size={},mode=755 none models"


@pytest.fixture
def model(hub: Hub) -> Model:
    return hub_model(hub, {"tiny.gguf": float_gguf(4)})


def test_a_disk_that_becomes_full_and_is_made_larger(host, hub, model):
    first, second = in_namespace(
        host, model, MOUNT.format("2500k"), "mount -o remount,size=10m models",
        margin=-(10**9),  # as where another program takes what was free
    )  # fmt: skip
    assert first["code"] == ExitCode.MACHINE_CANNOT
    assert first["message"] == f"{FOLDER}: the disk is full"
    assert "Free some space" in first["remedy"]
    assert any(path.endswith(".gguf") for path in first["tree"])
    assert first["bytes"] > 2_000_000
    assert second["code"] == 0
    asked = [request.range for request in hub.asked(place="cdn")]
    # A connection that breaks on a busy machine is made anew; what came before is not asked again.
    assert len(asked) > 1
    assert all(int(one.removeprefix("bytes=").split("-")[0]) > 1_500_000 for one in asked[1:])
    assert len(second["tree"]) == 3


def test_a_disk_that_is_too_small_from_the_start(host, hub, model):
    first, second = in_namespace(
        host, model, MOUNT.format("60m"), "mount -o remount,size=80m models",
        margin=arrival.SPACE_MARGIN,
    )  # fmt: skip
    assert first["code"] == ExitCode.MACHINE_CANNOT
    assert "fetching tiny needs 0.07 GB, 0.06 GB are free" in first["message"]
    assert first["tree"] == []
    assert second["code"] == 0


def test_a_store_that_is_read_only(host, hub, model):
    first, second = in_namespace(
        host,
        model,
        f"{MOUNT.format('10m')}; mount -o remount,ro models",
        "mount -o remount,rw models",
    )
    assert first["code"] == ExitCode.FAILED
    assert "Read-only file system" in first["message"]
    assert FOLDER in first["message"]
    assert first["tree"] == []
    assert second["code"] == 0
    assert len(hub.asked(place="cdn")) == 1


def test_a_store_of_another_user(hub):
    model = hub_model(hub, {"tiny.gguf": DATA})
    with folder_of_nobody() as top:
        host = host_for(hub, top / "root")
        models = top / "root/models"
        models.mkdir()
        models.chmod(0o755)  # root's; nobody else may write there

        def fetch() -> None:
            with pytest.raises(LocalOpusError) as caught:
                fetch_model(host, "/models", model)
            assert f"{FOLDER}: Permission denied" in caught.value.message
            assert "permissions" in caught.value.remedy

        if os.geteuid() != 0:
            models.chmod(0o555)
        as_nobody(fetch)
        assert list(models.iterdir()) == []
        assert hub.requests == []
