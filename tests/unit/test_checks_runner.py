"""How checks are run: at the same time, each within its limit, and none harms another."""

from __future__ import annotations

import threading
import time

import pytest
from checks_host import context

from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Once, begin
from local_opus.checks.runner import run
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.values import CheckState


def check(id_: str, ask, seconds: float = 5.0, on_timeout: CheckState = CheckState.WARN) -> Check:  # type: ignore[no-untyped-def]
    return Check(id_, id_, Group.MACHINE, ask, seconds, on_timeout)


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def ask(_context: object) -> Answer:
        raise error

    return ask


def fine(_context: object) -> Answer:
    return passed("fine")


@pytest.mark.parametrize(
    ("ask", "state", "evidence"),
    [
        (fine, "pass", "fine"),
        (lambda _: warned("so so"), "warn", "so so"),
        (lambda _: failed("bad"), "fail", "bad"),
        (raising(NotApplicableError("no GPU")), "not applicable", "no GPU"),
        (raising(LocalOpusError("x: broken", "mend it")), "fail", "x: broken"),
        (raising(PermissionError(13, "Permission denied", "/etc/x")), "warn", "/etc/x: closed to this user"),
        (raising(ValueError("what\n a mess")), "fail", "the check itself broke: ValueError: what a mess"),
        (raising(KeyError("swap")), "fail", "the check itself broke: KeyError: 'swap'"),
        (lambda _: None, "fail", "the check itself broke: TypeError: 'NoneType' object is not iterable"),
        (raising(RecursionError()), "fail", "the check itself broke: RecursionError"),
    ],
)  # fmt: skip
def test_whatever_a_check_does_is_an_answer_and_the_others_go_on(host, ask, state, evidence):
    checks = [check("before", fine), check("it", ask), check("after", fine)]
    before, it, after = run(checks, context(host))
    assert (before.state, after.state) == ("pass", "pass")
    assert (it.state, it.evidence) == (state, evidence)
    if it.state == "fail" and "broke" not in it.evidence and it.evidence != "bad":
        assert it.fix is not None


def test_a_remedy_and_further_problems_come_along(host):
    error = BadInputError("x: wrong", "correct it", details=["y: wrong too"])
    (found,) = run([check("it", raising(error))], context(host))
    assert found.fix is not None
    assert (found.fix.text, found.details) == ("correct it", ("y: wrong too",))


@pytest.mark.parametrize("state", [CheckState.WARN, CheckState.FAIL])
def test_a_check_that_hangs_is_given_up_at_its_limit(host, state):
    forever = threading.Event()

    def hang(_context: object) -> Answer:
        forever.wait(30)
        return passed("too late")

    begin = time.monotonic()
    hung, other = run([check("hang", hang, 0.1, state), check("it", fine)], context(host))
    assert time.monotonic() - begin < 2
    forever.set()
    assert (hung.state, hung.evidence, hung.seconds) == (state, "did not answer within 0.1 s", 0.1)
    assert hung.fix is not None
    assert other.state is CheckState.PASS


def test_a_thread_that_hangs_does_not_keep_the_program_from_ending(host):
    forever = threading.Event()
    run([check("hang", lambda _: forever.wait(30) and fine(_), 0.05)], context(host))
    (left,) = [one for one in threading.enumerate() if one.name == "check-hang"]
    assert left.daemon
    forever.set()


def test_checks_run_at_the_same_time(host):
    both = threading.Barrier(2, timeout=5)

    def meet(_context: object) -> Answer:
        both.wait()
        return passed("met")

    assert {one.evidence for one in run([check("a", meet), check("b", meet)], context(host))} == {
        "met"
    }


def test_answers_keep_the_order_of_the_registry_and_one_check_may_have_several(host):
    def several(_context: object) -> list[Answer]:
        return [Answer(CheckState.PASS, "1", id="x-1", title="X 1"), Answer(CheckState.FAIL, "2")]

    def slow(_context: object) -> Answer:
        time.sleep(0.05)
        return passed("slow")

    found = run([check("slow", slow), check("x", several)], context(host))
    assert [(one.id, one.title, one.group) for one in found] == [
        ("slow", "slow", "Machine"), ("x-1", "X 1", "Machine"), ("x", "x", "Machine"),
    ]  # fmt: skip
    assert found[0].seconds >= 0.05


def test_who_watches_is_told_of_each(host):
    heard: list[tuple[str, int]] = []
    run(
        [check("a", fine), check("b", fine)],
        context(host),
        lambda one, left: heard.append((one.id, left)),
    )
    assert {name for name, _ in heard} == {"a", "b"}
    assert [left for _, left in heard] == [1, 0]


def test_what_several_need_is_made_once_and_its_error_is_everyones():
    made: list[int] = []

    def make() -> int:
        made.append(1)
        time.sleep(0.02)
        if len(made) > 1:
            raise AssertionError
        raise LocalOpusError("no facts", "mount /proc")

    it = Once(make)
    seen: list[str] = []

    def want() -> None:
        try:
            it()
        except LocalOpusError as error:
            seen.append(error.message)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (seen, len(made)) == (["no facts"] * 4, 1)


def test_what_is_begun_keeps_nobody_from_ending_and_its_error_is_for_who_asks():
    forever = threading.Event()
    before = set(threading.enumerate())
    begin(Once(lambda: forever.wait(30)))
    assert all(one.daemon for one in set(threading.enumerate()) - before)
    forever.set()

    def make() -> int:
        raise LocalOpusError("no", "way")

    it = begin(Once(make))
    with pytest.raises(LocalOpusError, match="no"):
        it()
