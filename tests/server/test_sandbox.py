"""What the server says of its own sandbox, and how it bounds who asks."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import httpx
import pytest
from servers import FAKE_ENGINE, ThreadServer, settings

from local_opus.runtime import protocol
from local_opus.server.engine_client import EngineClient
from local_opus.server.sandbox import ProbeFailedError, SandboxProbe
from local_opus.values import SandboxReport


def probe(*command: str, **options: float) -> SandboxProbe:
    """A probe whose child is ``command``; without one, the real child."""
    engine = EngineClient({"op": "load", "model": "m"}, max_in_flight=1, command=FAKE_ENGINE)  # type: ignore[typeddict-item]
    chosen = {"command": command} if command else {}
    return SandboxProbe(settings(), engine, **chosen, **options)  # type: ignore[arg-type]


def child(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys, time\n{script}")


def frame(message: dict[str, object]) -> str:
    return f"sys.stdout.buffer.write({protocol.encode(message)!r}); sys.stdout.flush()"


def test_it_answers_with_a_report(fake: ThreadServer):
    answer = httpx.get(f"{fake.url}/sandbox", timeout=20)
    assert answer.status_code == 200
    report = SandboxReport.model_validate(answer.json())
    assert [view.pid for view in report.processes] == [os.getpid(), fake.engine.pid]
    assert report.interfaces
    assert report.egress_tried % 4 == 0


def test_it_passes_the_guards(fake: ThreadServer):
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert httpx.get(f"{fake.url}/sandbox", headers=headers).status_code == 403
    assert httpx.post(f"{fake.url}/sandbox").status_code == 405


def test_many_who_ask_get_one_report():
    async def ask() -> list[SandboxReport]:
        made = probe(kept=300)
        return await asyncio.gather(*(made.report() for _ in range(200)))

    answers = asyncio.run(ask())
    assert {answer.egress_tried for answer in answers} == {4}, "it was tried more than once"
    assert {answer.probes for answer in answers} == {answers[0].probes}
    assert all(answer.age_seconds >= 0 for answer in answers)


def test_what_was_tried_is_counted_since_the_start():
    async def twice() -> list[SandboxReport]:
        made = probe(kept=0)
        return [await made.report(), await made.report()]

    first, second = asyncio.run(twice())
    assert (first.egress_tried, second.egress_tried) == (4, 8)
    assert second.egress_refused == 2 * first.egress_refused


NO_REPORT = {"result": {"schema_version": 1}}
FAILURES = {
    "hangs": (child("time.sleep(60)"), "did not answer within 0.5 s"),
    "ends": (child("sys.exit(3)"), "ended without an answer (exit code 3)"),
    "crashes": (child("import os; os.kill(os.getpid(), 11)"), "ended without an answer (SIGSEGV)"),
    "no frames": (child("print('hello there, no frame at all')"), "a frame claims"),
    "half a frame": (child(r"sys.stdout.buffer.write(b'\0\0\0\x09{')"), "inside a frame"),
    "an error": (child(frame({"error": {"type": "OSError", "text": "no /proc"}})), "no /proc"),
    "no report": (child(frame(NO_REPORT)), "validation errors for SandboxReport"),
    "no program": (("/nowhere/python",), "No such file"),
}


@pytest.mark.parametrize(("command", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_a_child_that_fails_is_told(command, words):
    async def ask() -> None:
        with pytest.raises(ProbeFailedError, match=words.replace("(", r"\(").replace(")", r"\)")):
            await probe(*command, limit=0.5 if "sleep" in command[-1] else 10).report()

    begin = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - begin < 5


def test_a_failure_is_not_tried_again_at_once(tmp_path):
    log = tmp_path / "log"
    made = probe(*child(f"open({str(log)!r}, 'a').write('x')"))

    async def ask() -> None:
        for _ in range(3):
            with pytest.raises(ProbeFailedError):
                await made.report()

    asyncio.run(ask())
    assert log.read_text() == "x"


def test_whoever_stops_waiting_leaves_no_child(tmp_path):
    pid = tmp_path / "pid"
    made = probe(
        *child(f"import os\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    )

    async def leave() -> None:
        asked = asyncio.create_task(made.report())
        while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(leave())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
