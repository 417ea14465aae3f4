"""``tune --machine``: the machine's own settings, measured anew at the user's word."""

from __future__ import annotations

from contextlib import nullcontext

from local_opus import planner, state
from local_opus.apply import Applier
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import TUNE_UNIT, Locations
from local_opus.machine import measuring, service, setting, standing
from local_opus.machine.ways import ways
from local_opus.opening import open_journal
from local_opus.tuning import Tell, retune
from local_opus.values.machine_tuning import MachineOrder, MachineTuned

#: The id of the action, in a plan and in the receipt.
ID = "machine"


def wanted(host: Host, locations: Locations, *, seconds: int) -> MachineOrder:
    """Return what would be measured for what is installed. Raises LocalOpusError."""
    profile = retune.profile_of(host, locations)
    if not profile.machine.enabled:
        raise BadInputError(
            f"the profile {profile.name} sets nothing of the machine, so nothing is measured",
            "Choose a profile that does, e.g. `install --profile military`.",
        )
    found = retune.wanted(host, locations, goal="latency", seconds=seconds)
    retune.require_device(found)
    return MachineOrder(
        items=planner.items_of(profile.machine),
        scope=locations.scope,
        seconds=seconds,
        subject=found.order.model_copy(update={"settings": ()}),
        server=profile.server.enabled,
        systemd=host.services.running(locations.scope),
    )


def require_unedited(host: Host, locations: Locations) -> None:
    """Raise LocalOpusError where the user edited what would be written: it would be kept."""
    edit = Applier(open_journal(host, locations)).edits().get(ID)
    if edit is not None:
        path = edit.partition(": ")[0]
        raise LocalOpusError(edit, f"Move {path} away, then run this again.")


def measure(host: Host, locations: Locations, order: MachineOrder, tell: Tell) -> MachineTuned:
    """Measure; nothing is written. A server that runs is stopped for it, and started again.

    Where nothing can be measured it serves on. What was set before is set again. Raises
    LocalOpusError and KeyboardInterrupt.
    """
    tries, _ = ways(host, order)
    alone = retune.machine_alone(host, locations, tell) if tries else nullcontext()
    with state.held_if_there(host, locations), alone:
        was = setting.record(host, locations)
        try:
            return measuring.measure(host, locations, order, tell)
        finally:
            if was is not None:
                _set_again(host, locations, was.by)


def _set_again(host: Host, locations: Locations, by: str) -> None:
    if by == "unit" and host.services.running(locations.scope):
        host.services.do(locations.scope, "restart", TUNE_UNIT)
    elif by == "server":  # the server's own start sets it, too, where it ran
        service.start_beside(host, locations)


def keep(host: Host, locations: Locations, order: MachineOrder, result: MachineTuned) -> None:
    """Write a result, journalled, and have it set; a server whose unit changes is started anew.

    Raises LocalOpusError.
    """
    before = standing.tuned(host, locations)
    group = retune.group_of(host, locations)
    retune.ensure(host, locations, planner.machine_action(locations, order, group, result))
    if result.unit != ({} if before is None else before.unit):
        retune.restart(host, locations)


def reset(host: Host, locations: Locations, order: MachineOrder) -> bool:
    """Set nothing any more; return whether anything was chosen."""
    now = measuring.nothing_chosen(host, order, "taken back by `tune --machine --reset`")
    found = standing.tuned(host, locations)
    if found is None or not (found.knobs or found.unit):
        return False
    keep(host, locations, order, now)
    return True
