"""What a plan is made from: the profile, the machine and the program, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from local_opus.interpreter import Interpreter
from local_opus.locations import Locations
from local_opus.profiles import Profile
from local_opus.values import Device, DiskFit, MemoryFit, Model, Scope
from local_opus.values.machine_tuning import MachineOrder
from local_opus.values.tuning import TuningOrder
from local_opus.values.user_manager import UserManager


@dataclass(frozen=True)
class ProgramFacts:
    """What goes into an environment: digests of the locks (by file name) and of the program."""

    locks: Mapping[str, str]
    program_sha256: str
    python: Interpreter


@dataclass(frozen=True)
class Request:
    """What is wanted of which machine. ``templates`` maps file names to texts."""

    profile: Profile
    model: Model | None
    device: Device | None
    locations: Locations
    root: str
    is_image: bool
    systemd: bool
    program: ProgramFacts
    templates: Mapping[str, str]
    port: int
    #: Try the new server here before it takes the place of the one that serves; None: don't.
    trial_port: int | None = None
    #: What is to be tuned; None: nothing.
    tuning: TuningOrder | None = None
    #: What of the machine's own settings is to be measured; None: nothing.
    machine: MachineOrder | None = None
    #: PCI addresses of the NPUs, e.g. 0000:00:0b.0.
    npus: tuple[str, ...] = ()
    #: OpenVINO's name of the device, e.g. GPU.1; None: the device's own.
    device_name: str | None = None
    #: Groups that own the nodes of GPU and NPU.
    device_groups: tuple[str, ...] = ()
    #: What the user's systemd enforces, in the scope of a user; None: not known, or no such scope.
    user_manager: UserManager | None = None
    #: The user whose services are to go on without a login; None: nobody's.
    linger: str | None = None
    #: Why model and device are these.
    reasons: tuple[str, ...] = ()
    memory: MemoryFit | None = None
    disk: DiskFit | None = None

    @property
    def on(self) -> str:
        """The device in OpenVINO's words."""
        return self.device_name or (self.device or Device.CPU).value

    @property
    def private_network(self) -> bool:
        """Whether the server has no network, and is handed its socket by systemd.

        A user's systemd can do that where it was seen to enforce PrivateNetwork=.
        """
        managed = self.systemd or self.is_image
        can = self.locations.scope is Scope.SYSTEM or (
            self.user_manager is not None and "PrivateNetwork" in self.user_manager.enforced
        )
        return self.profile.server.private_network and managed and can
