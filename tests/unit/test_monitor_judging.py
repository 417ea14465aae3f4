"""What a server's condition is, by what was seen of it."""

from __future__ import annotations

import pytest

from local_opus.monitor.judging import LOAD_SECONDS, Before, judge
from local_opus.monitor.sight import (
    Canary,
    Condition,
    Devices,
    Engine,
    Health,
    Memory,
    Seen,
    Weights,
)

MIB = 1024 * 1024
READY = Engine(state="ready", pid=8)
#: A server under systemd that is well.
WELL = {
    "server": "system",
    "url": "http://127.0.0.1:8000",
    "how": "systemd",
    "unit": "local-opus.service",
    "unit_state": "active",
    "pid": 7,
    "health": Health(seconds=0.01),
    "engine": READY,
    "canary": Canary(tokens=16, first_token_seconds=0.1, total_seconds=0.5, tokens_per_second=40),
    "weights": Weights(files=4),
}
DETACHED = {"how": "detached", "unit": None, "unit_state": None}
NOBODY = {**DETACHED, "how": None, "pid": None, "engine": None}
SILENT = {"engine": None, "canary": Canary(skipped="the server does not answer")}
SWAPPED = Weights(files=3, problem="/m/x.bin: changed since it was verified")

CONDITIONS = [
    ("well", {}, Before(), "healthy", ()),
    ("well without systemd", DETACHED, Before(), "healthy", ()),
    ("stopped by the user", {"unit_state": "inactive"}, Before(), "stopped", ("it was stopped",)),
    ("being stopped", {"unit_state": "deactivating", **SILENT}, Before(), "stopping",
     ("it is being stopped",)),
    ("starting", {"unit_state": "activating", **SILENT}, Before(), "loading",
     ("it is being started",)),
    ("given up by systemd", {"unit_state": "failed"}, Before(), "failed",
     ("systemd gave it up",)),
    ("given up for its weights", {"unit_state": "failed", "weights": SWAPPED,
                                  "reasons": ("systemd gave it up (exit-code)",)}, Before(),
     "failed", ("systemd gave it up (exit-code)", SWAPPED.problem)),
    ("hung", {"health": Health(problem="no answer within 5 s"), **SILENT}, Before(), "sick",
     ("/health: no answer within 5 s",)),
    ("refuses, though its unit is active", {"health": Health(problem="connection refused"),
     **SILENT}, Before(), "sick", ("/health: connection refused",)),
    ("answers 500", {"health": Health(seconds=0.1, problem="status 500"), **SILENT}, Before(),
     "sick", ("/health: status 500",)),
    ("garbage from its own port", {"health": Health(problem="what answers does not speak HTTP"),
     **SILENT}, Before(), "sick", ("/health: what answers does not speak HTTP",)),
    ("an engine that restarts", {"engine": Engine(state="restarting", reason="it ended (9)")},
     Before(), "loading", ("the engine is restarting: it ended (9)",)),
    ("an engine that loads", {"engine": Engine(state="loading", reason="loading m")}, Before(),
     "loading", ("the engine is loading: loading m",)),
    ("an engine given up: the server ends itself", {"engine": Engine(state="failed", reason="x")},
     Before(), "stopping", ("the engine is failed: x",)),
    ("an engine whose loop hangs", {"engine": Engine(state="ready", turn_age=61, turn_limit=60)},
     Before(), "sick", ("the engine's loop has not turned for 61 s (its limit is 60 s)",)),
    ("an engine that loads for long: it has no loop yet", {"engine": Engine(state="restarting",
     reason="it ended (9)", turn_age=400, turn_limit=30)}, Before(), "loading",
     ("the engine is restarting: it ended (9)",)),
    ("an engine in a long turn", {"engine": Engine(state="ready", turn_age=59, turn_limit=60)},
     Before(), "healthy", ()),
    ("slow because it has work", {"canary": Canary(skipped="busy: 9 requests")}, Before(),
     "healthy", ()),
    ("no answer to the canary", {"canary": Canary(problem="no answer within 60 s")}, Before(),
     "sick", ("canary: no answer within 60 s",)),
    ("weights swapped", {"weights": SWAPPED}, Before(), "sick", (SWAPPED.problem,)),
    ("weights swapped while the engine restarts", {"weights": SWAPPED,
     "engine": Engine(state="restarting")}, Before(), "sick", (SWAPPED.problem,)),
    ("two reasons", {"health": Health(problem="status 500"), **SILENT, "weights": SWAPPED},
     Before(), "sick", ("/health: status 500", SWAPPED.problem)),
    ("no server, nothing on its port", {**NOBODY, "health": Health(problem="connection refused")},
     Before(), "stopped", ("it does not run",)),
    ("no server, another on its port", {**NOBODY, "health": Health(seconds=0.1, problem="status 404")},
     Before(), "foreign", ("another program holds the port of http://127.0.0.1:8000",)),
    ("no server, garbage on its port", {**NOBODY,
     "health": Health(problem="what answers does not speak HTTP")}, Before(), "foreign",
     ("another program holds the port of http://127.0.0.1:8000",)),
    ("another user's server, which answers as ours does", {**NOBODY, "engine": READY}, Before(),
     "healthy", ()),
    ("detached, not listening yet", {**DETACHED, "health": Health(problem="connection refused"),
     **SILENT}, Before(age=LOAD_SECONDS - 1), "loading", ("it does not listen yet",)),
    ("detached, not listening for too long", {**DETACHED,
     "health": Health(problem="connection refused"), **SILENT}, Before(age=LOAD_SECONDS + 1),
     "sick", ("/health: connection refused",)),
    ("no systemd says it, starting", {"unit_state": "running",
     "health": Health(problem="no answer within 5 s"), **SILENT}, Before(age=9), "loading",
     ("it does not answer yet",)),
    ("no systemd says it, 40 GB of weights are hashed first", {"unit_state": "running",
     "health": Health(problem="no answer within 5 s"), **SILENT}, Before(age=1333), "loading",
     ("it does not answer yet",)),
    ("no systemd says it, starting for too long", {"unit_state": "running",
     "health": Health(problem="no answer within 5 s"), **SILENT}, Before(age=LOAD_SECONDS + 1),
     "sick", ("/health: no answer within 5 s",)),
    ("no systemd says it, it answers 500 from its start on", {"unit_state": "running",
     "health": Health(seconds=0.1, problem="status 500"), **SILENT}, Before(age=9), "sick",
     ("/health: status 500",)),
    ("refuses where it may not listen at all", {"health": Health(problem="connection refused"),
     **SILENT}, Before(elsewhere=True), "loading",
     ("connection refused at http://127.0.0.1:8000, and nothing tells where it listens",)),
    ("weights swapped, and it may listen elsewhere", {"weights": SWAPPED,
     "health": Health(problem="connection refused"), **SILENT}, Before(elsewhere=True), "sick",
     ("/health: connection refused", SWAPPED.problem)),
    ("no systemd says it, no processes", {"unit_state": "dead"}, Before(), "stopped",
     ("none of its processes runs",)),
    ("no systemd says it, hung after it had answered", {"unit_state": "running",
     "health": Health(problem="no answer within 5 s"), **SILENT}, Before(age=None), "sick",
     ("/health: no answer within 5 s",)),
    ("a server that wants a key", {"health": Health(seconds=0.01, locked=True), "engine": None,
     "canary": Canary(skipped="the server wants a key")}, Before(), "healthy", ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "before", "condition", "reasons"),
    [case[1:] for case in CONDITIONS],
    ids=[case[0] for case in CONDITIONS],
)
def test_condition(change, before, condition, reasons):
    found = judge(Seen(**{**WELL, **change}), before)
    assert (found.condition, found.reasons) == (condition, reasons)


SLOW_RATES = Before(rates=(40, 9, 8, 10))
WARNINGS = [
    ("restarts since the last look", {"engine": Engine(state="ready", restarts=3)},
     Before(engine_restarts=1), ("the engine was started anew 2 times since the last look",)),
    ("restarts of an earlier process", {"engine": Engine(state="ready", restarts=0)},
     Before(engine_restarts=4), ()),
    ("slow three times", {"baseline_tokens_per_second": 40.0}, SLOW_RATES,
     ("slow: 9.0 tokens/s, 22% of the install's 40.0",)),
    ("slow once", {"baseline_tokens_per_second": 40.0}, Before(rates=(40, 39, 9)), ()),
    ("slow, and no baseline", {}, SLOW_RATES, ()),
    ("growth", {"memory": Memory(growth_bytes_per_hour=100 * MIB)}, Before(),
     ("memory grows by 100 MiB an hour",)),
    ("growth of caches that settle", {"memory": Memory(growth_bytes_per_hour=10 * MIB)}, Before(), ()),
    ("near the limit", {"memory": Memory(anonymous_bytes=97, current_bytes=99, limit_bytes=100)},
     Before(), ("memory: 97% of its limit is in use",)),
    ("files that the kernel keeps", {"memory": Memory(anonymous_bytes=10, current_bytes=99,
     limit_bytes=100)}, Before(), ()),
    ("a crash dump", {"devices": Devices(dumps=("xe left a crash dump, devcd1",))}, Before(),
     ("device error: xe left a crash dump, devcd1",)),
    ("an unexpected file", {"weights": Weights(files=4, warning="/m/x: unexpected")}, Before(),
     ("/m/x: unexpected",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "before", "warnings"),
    [case[1:] for case in WARNINGS],
    ids=[case[0] for case in WARNINGS],
)
def test_what_is_no_sickness_is_told_and_starts_nothing(change, before, warnings):
    found = judge(Seen(**{**WELL, **change}), before)
    assert (found.condition, found.warnings) == (Condition.HEALTHY, warnings)
