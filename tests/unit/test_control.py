"""Which Python the workers run in, by what the receipt says was installed."""

from __future__ import annotations

import pytest

from fakes import FakeHost
from local_opus import control
from local_opus.history import Event
from local_opus.locations import locate
from local_opus.receipts import Receipt
from local_opus.values import Scope


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("env-old", "env-new"), "env-new"),
        (("env-old",), "env-old"),
        ((), None),
    ],
)  # fmt: skip
def test_workers_run_in_the_newest_environment_that_has_its_python(tmp_path, there, taken):
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(places.state)
    receipt = Receipt(host, places.receipt)
    for name in ("env-old", "env-new"):
        folder = f"{places.prefix}/{name}"
        receipt.append(
            Event.BEGIN, id=f"environment:{name}", kind="create_environment",
            params={"folder": folder},
        )  # fmt: skip
        receipt.append(Event.DONE, id=f"environment:{name}")
        if name in there:
            host.files.make_folders(f"{folder}/bin")
            host.files.write_atomic(f"{folder}/bin/python", b"")
    before = host.processes.worker_python
    control.use_installed_workers(host, places)
    wanted = before if taken is None else f"{host.root}{places.prefix}/{taken}/bin/python"
    assert host.processes.worker_python == wanted
