"""A machine for the checks of doctor: facts, an install on a fake host, and a context of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fakes import FakeHost
from local_opus.apply import Applier
from local_opus.checks.base import Check
from local_opus.checks.context import Context, Once, look
from local_opus.checks.runner import answer
from local_opus.history import Event
from local_opus.journal import Journal
from local_opus.locations import Locations, locate
from local_opus.opening import open_journal
from local_opus.receipts import Receipt
from local_opus.server.settings import Settings
from local_opus.values import (
    CheckResult,
    CpuFacts,
    DiskFacts,
    HostFacts,
    MemoryFacts,
    OpenVinoFacts,
    OsFacts,
    Plan,
    PlannedAction,
    Scope,
)

GIB = 2**30
MODEL = "smollm2-135m"
NOW = "2026-11-30T12:00:00+00:00"
PORT = 18999

CPU = CpuFacts(
    model="Intel(R) Core(TM) Ultra 7 155H", vendor="GenuineIntel", architecture="x86_64", sockets=1,
    physical_cores=4, logical_cores=8, usable_cores=8, performance_cores=None, efficiency_cores=None,
    isa=("avx2", "fma"),
)  # fmt: skip
MEMORY = MemoryFacts(total=16 * GIB, available=12 * GIB, cgroup_limit=None)
OS = OsFacts(
    id="debian", version="12", name="Debian 12", kernel="6.12", init="systemd",
    systemd_running=True, container=None, python="3.11.2",
)  # fmt: skip
OPENVINO = OpenVinoFacts(version="2026.4.1-1-x", devices=(), problem=None)


def facts(
    *,
    cpu: Mapping[str, Any] | None = None,
    memory: Mapping[str, Any] | None = None,
    os: Mapping[str, Any] | None = None,
    openvino: Mapping[str, Any] | None = None,
    **more: Any,
) -> HostFacts:
    """The facts of a sound machine, but for what is given."""
    return HostFacts(
        cpu=CPU.model_copy(update=dict(cpu or {})),
        memory=MEMORY.model_copy(update=dict(memory or {})),
        disk=DiskFacts(path="/", total=100 * GIB, free=50 * GIB, free_inodes=None),
        os=OS.model_copy(update=dict(os or {})),
        accelerators=more.pop("accelerators", ()),
        openvino=OPENVINO.model_copy(update=dict(openvino or {})),
        **more,
    )


def settings(**changes: Any) -> Settings:
    """The settings of a server of the embedded model."""
    known = {
        "schema_version": 1, "port": PORT, "model": MODEL, "model_folder": "/models/x",
        "context_length": 2048,
    }  # fmt: skip
    return Settings.model_validate({**known, **changes})


def raising(error: Exception) -> Callable[[], Any]:
    """Something whose making raises."""

    def make() -> Any:
        raise error

    return make


def context(
    host: FakeHost,
    *,
    of: HostFacts | Exception | None = None,
    server: Settings | Exception | None = None,
    scope: Scope = Scope.USER,
) -> Context:
    """A context in which facts and settings are given; the receipt is the host's own."""
    found = look(host, locate(scope, host.environ))
    wanted = facts() if of is None else of
    read_facts = raising(wanted) if isinstance(wanted, Exception) else lambda: wanted
    read_settings = found.read_settings
    if server is not None:
        kept = server
        read_settings = Once(raising(kept) if isinstance(kept, Exception) else lambda: kept)
    return Context(host, found.locations, Once(read_facts), found.read_journal, read_settings)


def one(check: Check, at: Context) -> CheckResult:
    """The only result of a check."""
    (found,) = answer(check, at)
    return found


def planned(id_: str, kind: str, **params: Any) -> PlannedAction:
    return PlannedAction(id=id_, kind=kind, summary=id_, params=params)


def plan_of(places: Locations, *more: PlannedAction) -> Plan:
    """A small install: folders, two configs, a script, and what is given."""
    config, prefix = places.config, places.prefix
    actions = (
        planned("folder:prefix", "create_folder", path=prefix, mode=0o755, group=None),
        planned("folder:bin", "create_folder", path=f"{prefix}/bin", mode=0o755, group=None),
        planned("folder:models", "create_folder", path=places.models, mode=0o755, group=None),
        planned("folder:runtime", "create_folder", path=places.runtime, mode=0o755, group=None),
        planned("folder:config", "create_folder", path=config, mode=0o700, group=None),
        planned("config:a", "write_file", path=f"{config}/a.json", content="{}\n", mode=0o600),
        planned("config:b", "write_file", path=f"{config}/b.json", content="{}\n", mode=0o600),
        planned("script:x", "write_file", path=f"{prefix}/bin/x.sh", content="#!/bin/sh\n", mode=0o755),
        planned("link", "link_command", path=f"{places.commands}/local-opus", target=f"{prefix}/bin/x.sh"),
        *more,
    )  # fmt: skip
    return Plan(
        profile="local-opus", scope=places.scope, root="/", model=None, device=None, actions=actions
    )


def install(host: FakeHost, *more: PlannedAction, scope: Scope = Scope.USER) -> Locations:
    """Install it for real, through the receipt."""
    from local_opus import __version__, state

    places = locate(scope, host.environ)
    with state.held(host, places):
        applier = Applier(open_journal(host, places, held=True))
        run = {"program": __version__, "profile": "local-opus", "model": MODEL, "device": "CPU",
               "port": PORT, "scope": scope.value}  # fmt: skip
        host.files.make_folders(places.commands)
        applier.apply(plan_of(places, *more), run, lambda: {"files": 1})
    return places


def note(host: FakeHost, places: Locations, id_: str, kind: str, **params: Any) -> None:
    """Have the receipt say that an action was done, and the run finished."""
    receipt = Receipt(host, places.receipt)
    receipt.append(Event.RUN, data=receipt.history.last_run)
    receipt.append(Event.BEGIN, id=id_, kind=kind, params=params, data={"before": {}, "found": {}})
    receipt.append(Event.DONE, id=id_)
    receipt.append(Event.FINISHED)


def write(host: FakeHost, path: str, text: str = "", mode: int = 0o644) -> None:
    """Write a file of the fake machine, and the folders on its way."""
    target = Path(f"{host.root}{path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def journal(host: FakeHost, places: Locations) -> Journal:
    return open_journal(host, places)
