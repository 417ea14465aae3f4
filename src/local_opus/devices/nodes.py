"""The links of the device node: whether it is there, and who may open it."""

from __future__ import annotations

from local_opus.devices import fixes
from local_opus.devices.case import Case, Found, broken, holds, is_denied, noun, unknown

#: The group that owns the nodes by udev's default rules.
_GROUP = "render"


def node(case: Case) -> Found:
    """Judge whether the driver's node is there and answers."""
    item = case.item
    if item.node is None:
        if case.listed:
            return holds("OpenVINO reaches the device")
        fix = fixes.kernel_log(case.facts, noun(item.kind))
        return broken(f"its driver {item.driver} made no device node", fix)
    if case.listed or item.node_problem is None or is_denied(item):
        return holds(item.node)
    if "no such file" in item.node_problem:
        return broken(f"{item.node}: {item.node_problem}", fixes.make_node(case.facts, item.node))
    fix = fixes.kernel_log(case.facts, noun(item.kind))
    return broken(f"{item.node} is there, and does not open: {item.node_problem}", fix)


def permission(case: Case) -> Found:
    """Judge whether this user may open the node, or the service's user."""
    item = case.item
    if case.service:
        return _of_service(case)
    if item.node is None or item.node_problem is None or case.listed:
        return holds(f"this user opens {item.node or 'the device'}")
    evidence = f"{item.node}: {item.node_problem}{_owner(case)}"
    if fixes.in_container(case.facts) or _group_helps(item.node_group, item.node_mode):
        return broken(evidence, fixes.join_group(case.facts, item.node, item.node_group or _GROUP))
    return broken(evidence, fixes.udev_rule(case.facts, item.node))


def _of_service(case: Case) -> Found:
    item = case.item
    if item.node is None:
        return unknown("no node is known to judge the service's right by")
    if _all_may(item.node_mode):
        return holds(f"every user may open {item.node}{_owner(case)}")
    group = item.node_group
    if group in {None, "root"}:  # none that a service should be in
        owner = group or "no group that has a name"
        return broken(
            f"{item.node} belongs to {owner}; the service is not in it",
            fixes.udev_rule(case.facts, item.node),
        )
    if item.node_mode is not None and not _group_may(item.node_mode):
        return broken(
            f"{item.node}: the group {group} may not open it{_owner(case)}",
            fixes.udev_rule(case.facts, item.node),
        )
    if case.groups is None or group not in case.groups:
        return broken(
            f"{item.node} belongs to the group {group}; the service is not in it",
            fixes.unit_with_group(group, item.kind),
        )
    if item.node_mode is None:
        return unknown(f"{item.node} belongs to the group {group}; its mode is not told")
    return holds(f"the service, in the group {group}, may open {item.node}")


def _owner(case: Case) -> str:
    said = [f"group {case.item.node_group}"] if case.item.node_group else []
    said += [f"mode {case.item.node_mode}"] if case.item.node_mode else []
    return f" ({', '.join(said)})" if said else ""


def _group_helps(group: str | None, mode: str | None) -> bool:
    return group not in {None, "root"} and (mode is None or _group_may(mode))


def _group_may(mode: str) -> bool:
    return _bits(mode) & 0o060 == 0o060  # noqa: PLR2004 - reading and writing


def _all_may(mode: str | None) -> bool:
    return mode is not None and _bits(mode) & 0o006 == 0o006  # noqa: PLR2004 - as above


def _bits(mode: str) -> int:
    try:
        return int(mode, 8)
    except ValueError:  # no permission bits: none is granted
        return 0
