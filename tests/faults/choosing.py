"""Which faults are tried: by default one action of each kind, with ``LOCAL_OPUS_FAULTS=all`` all.

By default, on the machine that others live on, with systemd: every call and every fault of one
action of each kind (of those that take the place of others' files, where there are such), of the
self-test, and of the journal around the first action and between actions. The journal around the
others is the same code: there its first call alone is refused, and met by a kill, which finds the
action done and not recorded. On a second machine, of a user without systemd and with
little memory: the same of the two actions that differ there, but for a full disk, which ends as an
I/O error does. Only calls that take space find none; a kill before a sync leaves what one before
the next call leaves, and is tried there. Left out are the further actions of a kind, which go the same way through the code,
and the nine other variants, which are run without faults.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import worlds
from cases import Campaign
from points import Kind, Point

EVERYTHING = os.environ.get("LOCAL_OPUS_FAULTS") == "all"
#: Steps of the journal and of the test, in the words of the table.
NOT_ACTIONS = {
    "begin": "receipt and lock, at the start",
    "between": "receipt between actions, receipt and lock at the end",
    "self-test": "self-test",
}
#: What takes the place of others' files on the first machine.
REPLACING = {"folder:prefix", "folder:config", "config:generation", "link"} | {
    "unit:local-opus.service"
}
#: A folder that is not there yet, and the step whose journal is looked at closely.
NEW, FIRST = "folder:models", "group"
#: Kinds of actions that no machine here has, and why.
LEFT_OUT = {
    "enable_linger": "logind is not played; tests/unit/test_enable_linger.py",
    "set_mode": "of a repair, where a mode was changed; tests/unit/test_mending.py",
    "make_host_key": "of `local-opus keys`, not of an install; tests/unit/test_keys.py",
    "keep_credential": "of `local-opus keys`, not of an install; tests/unit/test_keys.py",
}
#: The receipt and what anchors it, and what is tried of them around the further actions.
JOURNAL, ONCE = ("/receipt.jsonl", "/receipt.head"), (Kind.KILL, Kind.EIO)
#: Refusals that go the same way through the code as an I/O error, but for the exit code.
SAME_WAY = {Kind.ENOSPC, Kind.FULL}
#: Calls that change nothing that a later run sees: a kill before them is one before the next.
SYNCS = {"fsync", "fdatasync", "sync"}
#: What is done in another way on the second machine.
OTHERWISE = {"start_server", "try_server"}


def kind_of(campaign: Campaign, step: str) -> str:
    """Return the kind of a step's action, or what else the step is, in the table's words."""
    if step in NOT_ACTIONS:
        return NOT_ACTIONS[step]
    plans = [worlds.choice(campaign.variant, version).plan for version in (1, 2)]
    return next(one.kind for plan in plans for one in plan.actions if one.id == step)


def wanted(campaign: Campaign, operation: str) -> Callable[[Point], tuple[Kind, ...]]:
    """Return what is tried at each point of an operation."""
    points = campaign.points[operation]
    first = 0
    if operation == "rollback":  # up to the test that fails it is an install
        first = next(point.number for point in points if point.step == "self-test")
    steps = {point.step for point in points[first:]}
    if not EVERYTHING:
        steps &= _chosen(campaign, points[first:])

    def of(point: Point) -> tuple[Kind, ...]:
        if point.step not in steps or point.number < first:
            return ()
        if EVERYTHING:
            return point.faults
        again = point.step not in {*NOT_ACTIONS, points[first].step, FIRST}
        if again and point.target.endswith(JOURNAL):
            begins = point.name == "open" and point.target.endswith(JOURNAL[0])
            return tuple(kind for kind in point.faults if kind in ONCE) if begins else ()
        left_out = SAME_WAY if campaign.variant != worlds.MAIN else set()
        if Kind.FULL not in point.faults:
            left_out = {*left_out, Kind.ENOSPC}
        if point.name in SYNCS:
            left_out = {*left_out, Kind.KILL}
        return tuple(kind for kind in point.faults if kind not in left_out)

    return of


def _chosen(campaign: Campaign, points: tuple[Point, ...]) -> set[str]:
    """Return a step of each kind (before the self-test, and after): all that replace, or one."""
    chosen: dict[tuple[str, bool], str] = {}
    tested = False
    replacing = {kind_of(campaign, step) for step in {one.step for one in points} & REPLACING}
    for point in points:
        tested = tested or point.step == "self-test"
        kind = kind_of(campaign, point.step)
        if kind not in replacing or point.step in REPLACING:
            chosen.setdefault((kind, tested), point.step)
    if campaign.variant == worlds.MAIN:
        return {*chosen.values(), *REPLACING, NEW}
    return {step for (kind, _), step in chosen.items() if kind in OTHERWISE}
