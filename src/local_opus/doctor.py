"""``doctor``: every check on what is here, and what they come to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from local_opus import checks
from local_opus.checks.base import Check
from local_opus.checks.context import look
from local_opus.checks.runner import Tell
from local_opus.checks.runner import run as run_checks
from local_opus.errors import ExitCode
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import CheckResult, CheckState, Mended, Value

if TYPE_CHECKING:
    from local_opus.mending import Step


class Diagnosis(Value):
    """What all checks found, in the order of the registry, and the seconds that it took."""

    schema_version: int = 1
    scope: str
    results: tuple[CheckResult, ...]
    seconds: float
    #: What ``--fix`` did, or would do.
    fixes: tuple[Mended, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """A failure is a problem found; a warning is none."""
        failed = any(one.state is CheckState.FAIL for one in self.results)
        return ExitCode.PROBLEM_FOUND if failed else ExitCode.DONE

    @property
    def counts(self) -> Counter[CheckState]:
        """How many results there are of each state."""
        return Counter(one.state for one in self.results)


def examine(
    host: Host,
    locations: Locations,
    tell: Tell | None = None,
    *,
    registry: Sequence[Check] | None = None,
) -> Diagnosis:
    """Ask every check; nothing is changed."""
    begin = time.monotonic()
    asked = checks.REGISTRY if registry is None else registry
    results = run_checks(asked, look(host, locations), tell)
    return Diagnosis(
        scope=locations.scope.value,
        results=tuple(results),
        seconds=round(time.monotonic() - begin, 3),
    )


def examine_as_service(host: Host, locations: Locations) -> Diagnosis:
    """Ask for the devices alone, inside the sandbox of the server's unit.

    Raises MachineCannotError where there is none.
    """
    from local_opus import as_service  # noqa: PLC0415 - what installs, and renders, comes with it

    return examine(host, locations, registry=[as_service.check(host, locations)])


def again(
    host: Host,
    locations: Locations,
    before: Diagnosis,
    ids: Collection[str],
    done: Sequence[Mended],
) -> Diagnosis:
    """Ask the checks with these ids once more; the results of the others stay."""
    asked = [check for check in checks.REGISTRY if check.id in ids]
    now = examine(host, locations, registry=asked)
    new = {result.id: result for result in now.results}
    return Diagnosis(
        scope=before.scope,
        results=tuple(new.get(result.id, result) for result in before.results),
        seconds=round(before.seconds + now.seconds, 3),
        fixes=tuple(done),
    )


def with_steps(found: Diagnosis, todo: Sequence[Step]) -> Diagnosis:
    """Return the diagnosis with what ``--fix`` would do, and has not done."""
    fixes = (Mended(lines=step.lines, checks=step.checks, done=False) for step in todo)
    return found.model_copy(update={"fixes": tuple(fixes)})
