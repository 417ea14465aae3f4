"""Runs all checks at the same time, each within its own limit; what one does harms no other.

A thread can't be ended from outside. One that hangs is left behind, does not keep the program from
ending, and the kernel ends its children with this process.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

from local_opus.checks.base import Answer, Check, NotApplicableError, advise
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.values import CheckResult, CheckState, Fix

#: Told of each check that has answered, and how many have not yet.
Tell = Callable[[Check, int], None]
_Outcome = list[CheckResult]
_DEBUG = "Run `local-opus detect`, which reads the same; if it works, report this check."


def run(checks: Sequence[Check], context: Context, tell: Tell | None = None) -> list[CheckResult]:
    """Return the results of all checks, in the order of ``checks``."""
    answers: queue.SimpleQueue[tuple[int, _Outcome]] = queue.SimpleQueue()
    begin = time.monotonic()
    for number, check in enumerate(checks):
        threading.Thread(
            target=_into,
            args=(answers, number, check, context),
            name=f"check-{check.id}",
            daemon=True,
        ).start()
    done: dict[int, _Outcome] = {}
    while len(done) < len(checks):
        waiting = [number for number in range(len(checks)) if number not in done]
        left = min(checks[number].seconds for number in waiting) - (time.monotonic() - begin)
        try:
            number, outcome = answers.get(timeout=max(0.0, left))
        except queue.Empty:
            for number in waiting:
                if time.monotonic() - begin >= checks[number].seconds:
                    done[number] = [_silent(checks[number])]
                    _tell(tell, checks[number], len(checks) - len(done))
            continue
        if number not in done:  # one that is given up may still answer
            done[number] = outcome
            _tell(tell, checks[number], len(checks) - len(done))
    return [result for number in range(len(checks)) for result in done[number]]


def _tell(tell: Tell | None, check: Check, left: int) -> None:
    if tell is not None:
        tell(check, left)


def _into(
    answers: queue.SimpleQueue[tuple[int, _Outcome]], number: int, check: Check, context: Context
) -> None:
    begin = time.monotonic()
    outcome = answer(check, context)
    seconds = round(time.monotonic() - begin, 3)
    answers.put((number, [one.model_copy(update={"seconds": seconds}) for one in outcome]))


def answer(check: Check, context: Context) -> list[CheckResult]:
    """Ask one check; what it raises becomes its answer."""
    try:
        found = check.ask(context)
        many = [found] if isinstance(found, Answer) else list(found)
        return [_result(check, one) for one in many]
    except NotApplicableError as reason:
        found = Answer(CheckState.NOT_APPLICABLE, str(reason))
    except LocalOpusError as error:
        fix = Fix(text=error.remedy)
        found = Answer(CheckState.FAIL, error.message, error.details, fix)
    except PermissionError as error:
        found = Answer(
            CheckState.WARN,
            f"{_path(error)}: closed to this user",
            fix=advise("Run doctor as root, for example with sudo."),
        )
    except Exception as error:  # noqa: BLE001 - a check that breaks is told, and ends no other
        said = " ".join(str(error).split())
        found = Answer(
            CheckState.FAIL,
            f"the check itself broke: {type(error).__name__}: {said}".rstrip(": "),
            fix=Fix(text=_DEBUG),
        )
    return [_result(check, found)]


def _path(error: OSError) -> str:
    return str(error.filename or "a file")


def _result(check: Check, found: Answer) -> CheckResult:
    return CheckResult(
        id=found.id or check.id,
        title=found.title or check.title,
        group=check.group.value,
        state=found.state,
        evidence=found.evidence,
        details=found.details,
        fix=found.fix,
        fixable=found.fixable,
    )


def _silent(check: Check) -> CheckResult:
    found = Answer(
        check.on_timeout,
        f"did not answer within {check.seconds:g} s",
        fix=Fix(text="Run doctor again when this machine is less busy; a driver may hang."),
    )
    return _result(check, found).model_copy(update={"seconds": check.seconds})
