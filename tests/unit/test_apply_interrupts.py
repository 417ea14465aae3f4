"""An interrupt at every single step into the machine: resumed, or taken back, with nothing left."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fakes import FakeHost, FakeServices
from local_opus import node, node_settings
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.host import Completed
from local_opus.journal import Journal
from local_opus.locations import UNIT
from local_opus.receipts import Event, Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope

RECEIPT = "/var/receipt.jsonl"
ROOTS = ("/opt/lo", "/units")
SHA = "ab" * 32
PYTHON = "/usr/bin/python3.12"
#: The ways of Files and of the processes in which the machine is changed.
CHANGING = (
    *("write_atomic", "make_folder", "remove", "remove_folder", "remove_tree", "rename", "symlink"),
    *("set_mode", "set_owner", "open_append", "sync", "sync_all"),
)
ACTIONS = (
    ("group", "create_group", {"name": "lo"}),
    ("folder", "create_folder", {"path": "/opt/lo/bin", "mode": 0o755}),
    ("env", "create_environment", {
        "folder": "/opt/lo/env", "lock": "requirements.lock", "lock_sha256": SHA,
        "program_sha256": SHA, "interpreter": PYTHON, "python": "3.12"}),
    ("file", "write_file", {"path": "/opt/lo/bin/x", "content": "new", "mode": 0o644}),
    ("link", "link_command", {"path": "/opt/lo/link", "target": "bin/x"}),
    ("unit", "install_unit", {"path": f"/units/{UNIT}", "content": "u", "mode": 0o644,
                              "scope": "system"}),
    ("server", "enable_service", {"scope": "system", "inputs_sha256": SHA, "units": [UNIT]}),
)  # fmt: skip
PLAN = Plan(
    profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None,
    actions=tuple(PlannedAction(id=id_, kind=kind, summary=id_, params=params)  # type: ignore[arg-type]
                  for id_, kind, params in ACTIONS),
)  # fmt: skip


class Systemd(FakeServices):
    """Knows the unit's file, and what it was told of the unit."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(runs=True)
        self.host = host
        self.enabled = self.active = False

    def do(self, scope: Scope, *words: str) -> None:
        self.host.tick()
        if words[0] in {"enable", "disable"}:
            self.enabled = words[0] == "enable"
        elif words[0] == "stop":
            self.active = False
        self.host.tick()

    def start(self, scope: Scope, unit: str, waiting, verb: str = "start") -> None:  # type: ignore[no-untyped-def]
        self.host.tick()
        self.active = True
        self.host.tick()

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        there = unit == UNIT and self.host.files.stat(f"/units/{UNIT}") is not None
        known = {
            "LoadState": "loaded" if there else "not-found",
            "ActiveState": "active" if self.active and there else "inactive",
            "UnitFileState": ("enabled" if self.enabled else "disabled") if there else "",
        }
        return {name: known.get(name, "") for name in names}


class Machine(FakeHost):
    """Raises KeyboardInterrupt at step number ``at``: before each of its changes, so after the one before it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.steps = 0
        self.at: int | None = None
        self.services = Systemd(self)  # type: ignore[assignment]
        self.processes.answers = {"groupadd": self.groups, "groupdel": self.groups,
                                  "python3.12": self.venv}  # fmt: skip
        self.files.sync_all = lambda: None  # type: ignore[method-assign]
        for name in CHANGING:
            setattr(self.files, name, self.ticking(getattr(self.files, name)))

    def tick(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt

    def ticking(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            self.tick()
            return real(*given, **named)

        return call

    def groups(self, command: Sequence[str]) -> Completed:
        self.tick()
        Path(self.root, "etc/group").write_text("lo:x:9:\n" if command[0] == "groupadd" else "")
        self.tick()  # a child's work is done, and nobody heard of it
        return Completed(0, "", "")

    def venv(self, command: Sequence[str]) -> Completed:
        self.tick()
        os.makedirs(f"{command[-1]}/bin")
        os.symlink(PYTHON, f"{command[-1]}/bin/python")
        self.tick()
        return Completed(0, "", "")

    def state(self) -> dict[str, str]:
        """All that a user sees: files with modes and content, groups, the service."""
        services = self.services
        found = {"service": f"{services.enabled} {services.active}"}  # type: ignore[attr-defined]
        for path, stat in self.files.walk("/", folders=True):
            if path.startswith("var/"):  # the receipt
                continue
            content = ""
            if stat.kind == "file":
                data = self.files.read_bytes(f"/{path}")
                content = hashlib.sha256(data).hexdigest()
            elif stat.kind == "link":
                content = self.files.read_link(f"/{path}")
            found[path] = f"{stat.kind} {stat.mode:o} {content}"
        return found


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Machine]:
    """Make machines, each new: /opt, /units and a file of the user's that the plan overwrites."""
    monkeypatch.setattr(node, "wait_ready", lambda *_: {})
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    monkeypatch.setattr("local_opus.program.files", lambda: [("__init__.py", b"")])
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power is lost here
    count = iter(range(10_000))

    def new() -> Machine:
        root = tmp_path / str(next(count))
        for name in ("var", "opt/lo/bin", "units", "etc"):
            (root / name).mkdir(parents=True)
        (root / "opt/lo/bin").chmod(0o700)
        (root / "opt/lo/bin/x").write_text("the user's")
        (root / "etc/group").touch()
        return Machine(root)

    return new


def journal(host: Machine) -> Journal:
    return Journal(host, Receipt(host, RECEIPT), build, ROOTS)


def applier(host: Machine) -> Applier:
    return Applier(journal(host))


def install(host: Machine) -> None:
    applier(host).apply(PLAN, {}, dict)


def fail() -> dict[str, object]:
    raise LocalOpusError("it does not answer", "look")


def steps_of(host: Machine, work: Callable[[], object]) -> int:
    before = host.steps
    work()
    return host.steps - before


def interrupt(host: Machine, at: int, work: Callable[[], object]) -> None:
    """Do ``work`` with an interrupt at its step ``at``."""
    host.at = host.steps + at
    with pytest.raises(InterruptedRunError) as caught:
        work()
    host.at = None
    assert caught.value.message.startswith("interrupted")
    assert caught.value.exit_code == 130


def test_the_install_at_every_step(make):
    before = make().state()
    host = make()
    count = steps_of(host, lambda: install(host))
    good = host.state()
    assert count > 35
    for at in range(1, count + 1):
        for then in ("resume", "revert"):
            host = make()
            interrupt(host, at, lambda host=host: install(host))
            if then == "resume":
                install(host)
                assert host.state() == good, at
                assert applier(host).pending(PLAN) == []
            revert_all(journal(host))
            assert host.state() == before, (at, then)


def test_the_way_back_at_every_step(make):
    host = make()
    before = host.state()
    install(host)
    count = steps_of(host, lambda: revert_all(journal(host)))
    assert count > 20
    for at in range(1, count + 1):
        host = make()
        install(host)
        interrupt(host, at, lambda host=host: revert_all(journal(host)))
        revert_all(journal(host))
        assert host.state() == before, at
        assert [e for e in Receipt(host, RECEIPT).history.entries if e.active] == []


def test_the_rollback_of_a_failure_at_every_step(make):
    host = make()
    before = host.state()
    done = steps_of(host, lambda: install(host)) - 2  # less the last record

    def try_it(host: Machine) -> None:
        applier(host).apply(PLAN, {}, fail)

    host = make()

    def whole() -> None:
        with pytest.raises(LocalOpusError, match="does not answer"):
            try_it(host)

    count = steps_of(host, whole)
    assert host.state() == before
    for at in range(done + 1, count + 1):
        host = make()
        interrupt(host, at, lambda host=host: try_it(host))
        history = Receipt(host, RECEIPT).history
        assert not history.finished
        install(host)
        revert_all(journal(host))
        assert host.state() == before, at


def test_an_interrupted_rollback_names_the_failure(make):
    host = make()
    done = steps_of(host, lambda: install(host))
    host = make()
    host.at = done + 5
    with pytest.raises(InterruptedRunError, match="taken back: it does not answer"):
        applier(host).apply(PLAN, {}, fail)
    assert Event.FAILED in [record.event for record in Receipt(host, RECEIPT).records]
