"""The checks of ``doctor``: a new one is one module here, and one line in the registry."""

from __future__ import annotations

from local_opus.checks import (
    canary,
    clock,
    config,
    credentials,
    devices,
    disk,
    drift,
    environment,
    facts,
    foreign,
    governor,
    huge_pages,
    leftovers,
    limits,
    lingering,
    locks,
    memory,
    partials,
    port,
    posture,
    receipt,
    sandbox,
    secrets,
    server,
    swap,
    telemetry,
    throttling,
    tuned,
    unit,
    upgrade_room,
    user_manager,
    weights,
)
from local_opus.checks.base import Check

__all__ = ["CANARY", "REGISTRY"]

#: Every check there is, in the order in which they are told; one line each.
REGISTRY: tuple[Check, ...] = (
    devices.CHECK,
    foreign.CHECK,
    facts.CHECK,
    limits.CHECK,
    governor.CHECK,
    throttling.CHECK,
    swap.CHECK,
    huge_pages.CHECK,
    clock.CHECK,
    receipt.CHECK,
    drift.CHECK,
    environment.CHECK,
    telemetry.CHECK,
    posture.CHECK,
    secrets.CHECK,
    credentials.CHECK,
    leftovers.CHECK,
    locks.CHECK,
    upgrade_room.CHECK,
    weights.CHECK,
    memory.CHECK,
    disk.CHECK,
    partials.CHECK,
    config.CHECK,
    tuned.CHECK,
    unit.CHECK,
    lingering.CHECK,
    user_manager.CHECK,
    server.CHECK,
    sandbox.CHECK,
    port.CHECK,
)
#: Asked only where the user wants it.
CANARY = canary.CHECK
