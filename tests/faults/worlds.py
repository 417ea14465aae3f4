"""The machines that installs are tried on, before anything of ours is there, and what is planned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from played_programs import SOUND
from played_servers import GROUP_ID, PROC
from played_systemd import MANAGER

from builders import wheel_model
from local_opus import install, planner, profiles
from local_opus.interpreter import Interpreter
from local_opus.locations import UNIT, Locations, locate
from local_opus.values import CanaryBand, Device, MemoryNeed, Plan, Scope
from local_opus.values.machine_tuning import Item, MachineOrder, MachineTuned
from local_opus.values.tuning import Chosen, Tuned, TuningOrder

HOME = "/home/user"
#: A user that is not this one, and a time long ago.
OTHER = 7 if os.geteuid() == 0 else os.geteuid()
LONG_AGO = 1_000_000_000_123_456_789
MODEL = wheel_model(SOUND).model_copy(
    update={
        "parameters": "1M",
        "canary": CanaryBand(text="x", low=-3.0, high=-1.0, source="test"),
        "memory": MemoryNeed(bytes=10**7, estimated=False, source="test"),
    }
)


#: What was tuned, on a generated graph: it holds whatever the weights are.
TUNING = TuningOrder(
    goal="latency", seconds=30, settings=(), device="CPU", device_name="A CPU", driver=None, openvino="1",
    base={}, model=None,
)  # fmt: skip
TUNED = Tuned(
    tuned_for=TUNING.holds_for(None), goal="latency", base={}, seconds=1.0, at="2026-01-01T00:00:00+00:00",
    chosen=Chosen(properties={"INFERENCE_NUM_THREADS": 1}),
)  # fmt: skip


#: What was measured of the machine: a directive for the server's unit, so a drop-in of ours.
MACHINE = MachineOrder(
    items=("scheduling",), scope=Scope.SYSTEM, seconds=60, subject=TUNING, server=True, systemd=True,
)  # fmt: skip
MEASURED = MachineTuned(
    measured_on=TUNING.holds_for(None), seconds=1.0, at="2026-01-01T00:00:00+00:00",
    items=(Item(id="scheduling", decision="chosen", reason="x", unit={"Nice": "-5"}),),
)  # fmt: skip

#: What it is where no systemd runs the server.
NO_UNIT = Item(id="scheduling", decision="not applicable", reason="no systemd runs the server")


@dataclass(frozen=True)
class Variant:
    """A profile on a machine. ``lived_in``: others' files stand where an install writes."""

    profile: str
    scope: Scope
    systemd: bool
    image: bool = False
    lived_in: bool = False
    #: Whether there is memory for two servers.
    roomy: bool = True

    @property
    def name(self) -> str:
        """The words for it in the table and in a test's name."""
        manager = "image" if self.image else "systemd" if self.systemd else "no systemd"
        return f"{self.profile}, {self.scope.value}, {manager}"

    @property
    def places(self) -> Locations:
        """Where it goes."""
        return locate(self.scope, {"HOME": HOME})


#: The first has every kind of action but one, which the second has.
MAIN = Variant("local-opus", Scope.SYSTEM, systemd=True, lived_in=True)
DETACHED = Variant("local-opus", Scope.USER, systemd=False, roomy=False)
VARIANTS = (
    MAIN,
    DETACHED,
    Variant("local-opus", Scope.SYSTEM, systemd=False),
    Variant("local-opus", Scope.USER, systemd=True),
    Variant("local-opus", Scope.SYSTEM, systemd=False, image=True),
    Variant("hybrid", Scope.SYSTEM, systemd=True),
    Variant("hybrid", Scope.USER, systemd=False),
    Variant("military", Scope.SYSTEM, systemd=True),
    Variant("military", Scope.USER, systemd=False, lived_in=True),
    Variant("external-api", Scope.SYSTEM, systemd=True),
    Variant("external-api", Scope.USER, systemd=False),
)


@cache
def choice(variant: Variant, version: int = 1, root: str = "/") -> install.Choice:
    """Return what an install of ``version`` of the program does."""
    profile = profiles.load(variant.profile, lambda path: path)
    serves = profile.server.enabled
    texts = install.templates()
    if version > 1:  # a newer program has another unit
        texts[f"{UNIT}.j2"] = f"# version {version}\n{texts[f'{UNIT}.j2']}"
    request = planner.Request(
        profile=profile,
        model=MODEL if serves else None,
        device=Device.CPU if serves else None,
        locations=variant.places,
        root=root if variant.image else "/",
        is_image=variant.image,
        systemd=variant.systemd,
        program=planner.ProgramFacts(
            locks={lock: f"{number:064x}" for number, lock in enumerate(planner.LOCKS.values(), 1)},
            program_sha256=f"{version:064x}",
            python=Interpreter("/usr/bin/python3.11", "3.11"),
        ),
        templates=texts,
        port=profile.server.port,
        trial_port=profile.server.port + 1 if version > 1 else None,
        tuning=TUNING if profile.tuning.enabled else None,
        machine=MACHINE.model_copy(update={"scope": variant.scope, "systemd": variant.systemd})
        if profile.machine.enabled
        else None,
    )
    return install.Choice(
        profile=profile, facts=None, model=request.model, device=request.device,  # type: ignore[arg-type]
        locations=variant.places, port=request.port, plan=_measured(planner.plan(request), systemd=variant.systemd),
    )  # fmt: skip


def _measured(plan: Plan, *, systemd: bool) -> Plan:
    """Have the plan keep a result that is there: what a measurement says differs each time."""
    measured = MEASURED if systemd else MEASURED.model_copy(update={"items": (NO_UNIT,)})
    results = {
        "tuning": {"result": TUNED.model_dump(mode="json")},
        "machine": {"result": measured.model_dump(mode="json")},
    }
    actions = (
        one.model_copy(update={"params": {**one.params, **results.get(one.id, {})}})
        for one in plan.actions
    )
    return plan.model_copy(update={"actions": tuple(actions)})


def build(root: Path, variant: Variant) -> None:
    """Make the machine below the folder ``root``, which is not there yet."""
    root.mkdir()
    for folder in ("opt", "proc", "run", "tmp", "usr/local/bin", "usr/bin", "var/cache", "var/lib",
                   "var/log", "etc/systemd/system/multi-user.target.wants", "home/user/.cache"):  # fmt: skip
        (root / folder).mkdir(parents=True)
    _file(root / "etc/group", f"root:x:0:\nusers:x:{GROUP_ID + 1}:user\n")
    _file(root / "etc/hosts", "127.0.0.1 localhost\n")
    _file(root / "etc/systemd/system/other.service", "[Service]\n", 0o600)
    (root / "etc/systemd/system/multi-user.target.wants/other.service").symlink_to(
        "../other.service"
    )
    _file(root / "usr/local/bin/other", "#!/bin/sh\n", 0o755)
    _file(root / "usr/bin/python3.11", "", 0o755)
    _file(root / "var/lib/other/data", "data\n", 0o640)
    _file(root / "home/user/.profile", "PATH=x\n", 0o640)
    free = 10**6 if variant.roomy else 1
    _file(root / "proc/meminfo", f"MemTotal: {10**7} kB\nMemAvailable: {free} kB\n")
    (root / "home/user").chmod(0o711)
    (root / "var/log").chmod(0o775)
    if variant.lived_in:
        _live_in(root, variant)


def _live_in(root: Path, variant: Variant) -> None:
    """Put what others left in the places of an install: it must be there again in the end."""
    places = variant.places
    prefix, config = Path(f"{root}{places.prefix}"), Path(f"{root}{places.config}")
    prefix.mkdir(parents=True)
    prefix.chmod(0o711)
    commands = Path(f"{root}{places.commands}")
    commands.mkdir(parents=True, exist_ok=True)
    commands.chmod(0o770)
    (commands / "local-opus").symlink_to("/opt/other/bin/local-opus")
    if not choice(variant).profile.server.enabled:
        return
    _file(config / "generation.json", '{"theirs": 1}\n', 0o604, owner=OTHER)
    _file(config / "notes.txt", "theirs\n", 0o600)
    config.chmod(0o705)
    os.chown(config, OTHER, -1)
    _file(Path(f"{root}{places.units}/{UNIT}"), "[Service]\nExecStart=/bin/theirs\n", 0o600)
    # An identical file is `preexisting`: never ours to remove.
    same = next(
        one for one in choice(variant).plan.actions if one.id == "script:start_local_opus.sh"
    )
    (prefix / "bin").mkdir()
    _file(Path(f"{root}{same.params['path']}"), str(same.params["content"]), 0o755)


def _file(path: Path, text: str, mode: int = 0o644, owner: int = -1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, -1)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def left_out(path: str) -> bool:
    """Tell what trees are compared without: what the played kernel and manager know.

    The servers that run, and the unit that the manager has loaded, are compared by themselves.
    """
    return path in {f"/{PROC}", f"/{MANAGER}"}


def may_stay(path: str, places: Locations) -> bool:
    """Tell whether a failed install, or an uninstall without ``--purge``, may leave a path.

    That is the store of weights, the receipt and the lock, and the folders on the way to them.
    """
    own = f"{path}/".startswith(f"{places.models}/") or is_state(path, places)
    return own or any(kept.startswith(f"{path}/") for kept in (places.models, places.receipt))


def is_state(path: str, places: Locations) -> bool:
    """Tell whether a path is the receipt, what anchors it, or the lock."""
    return path == places.lock or path.startswith(f"{places.receipt.rpartition('.')[0]}.")


def of_one_run(path: str, places: Locations) -> bool:
    """Tell whether a file's content differs from run to run: process numbers, inodes, times."""
    own = {places.pid_file, places.server_log}
    return path in own or path.endswith("/weights.stat.json") or is_state(path, places)
