"""The monitor: its settings, the timer that has it look, and what starts a sick server anew."""

from __future__ import annotations

from local_opus.locations import GROUP, MONITOR_TIMER, MONITOR_UNIT, RECOVER_UNIT
from local_opus.planner.listing import Listing, write_file
from local_opus.planner.request import Request
from local_opus.planner.units import Unit

#: Seconds for the rest of a look: several short questions, and weights that have to be read again.
_LOOK_SECONDS = 600


def units(request: Request, environment: str) -> tuple[Unit, ...]:
    """Return the monitor's units; none where the profile wants no monitor."""
    wanted = request.profile.monitor
    if not wanted.enabled:
        return ()
    values = {
        "python": f"{environment}/bin/python",
        "config": request.locations.config,
        "group": GROUP,
        "timeout": wanted.canary_seconds + _LOOK_SECONDS,
    }
    return (
        Unit(MONITOR_UNIT, values),
        Unit(MONITOR_TIMER, {"interval": wanted.interval_seconds}),
        Unit(RECOVER_UNIT, {}),
    )


def add_baseline(todo: Listing, request: Request, group: str | None, inputs: str) -> None:
    """Add the measurement that later looks are compared with; ``inputs``: the start's digest."""
    if not request.profile.monitor.enabled or request.model is None or request.is_image:
        return
    todo.add(
        "baseline",
        "record_baseline",
        scope=request.locations.scope.value,
        path=f"{request.locations.config}/baseline.json",
        model=request.model.id,
        inputs_sha256=inputs,
        mode=0o640 if group else 0o600,
        group=group,
    )


def add_monitor(todo: Listing, request: Request, group: str | None) -> list[str]:
    """Add the monitor's settings and return what is written; nothing without a monitor."""
    if not request.profile.monitor.enabled:
        return []
    content = write_file(
        todo,
        request,
        "config:monitor",
        f"{request.locations.config}/monitor.json",
        "monitor.json.j2",
        {"monitor": request.profile.monitor},
        mode=0o640 if group else 0o600,
        group=group,
    )
    return [content]
