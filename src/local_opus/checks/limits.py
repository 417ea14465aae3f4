"""Whether a container or cgroup gives less than the model and OpenVINO's threads count on."""

from __future__ import annotations

from local_opus.catalog.needs import serving_memory
from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.units import size_text
from local_opus.values import Needs


def ask(context: Context) -> Answer:
    """Compare the memory limit with the model, and the quota with the processors that are seen."""
    facts = context.facts()
    limit, container = facts.memory.cgroup_limit, facts.os.container
    where = f"in a container ({container})" if container else "no container"
    bounded = limit is not None and limit < facts.memory.total
    said = (
        f"memory limit {size_text(limit)}" if limit is not None and bounded else "no memory limit"
    )
    need = _need(context)
    if limit is not None and need is not None and limit < need:
        return failed(
            f"{where}, {said}, and the model needs {size_text(need)}",
            advise(
                f"Raise the limit to {size_text(need)} or more, or serve a smaller model.",
                needs=Needs.CONTAINER if container else Needs.NOTHING,
            ),
        )
    cores, seen = facts.cpu.usable_cores, context.host.cores
    if cores < seen:
        return warned(
            f"{where}, {said}, a quota of {cores:g} of {seen} processors: OpenVINO starts a"
            " thread for each that it sees, and they wait for one another",
            advise(
                "Give it whole processors (cpuset) in place of a quota, or raise the quota.",
                needs=Needs.CONTAINER if container else Needs.NOTHING,
            ),
        )
    return passed(f"{where}, {said}, {seen} of {facts.cpu.logical_cores} processors, no quota")


def _need(context: Context) -> int | None:
    try:
        return serving_memory(context.model(), context.serving(requests=1))
    except NotApplicableError:  # no model: then the limit is only told
        return None


CHECK = Check("limits", "container, cgroups", Group.MACHINE, ask, SECONDS_WITH_FACTS)
