"""The action that measures the machine: what it writes, what it holds for, and its way back."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from fakes import FakeHost
from local_opus import control, sealed
from local_opus.actions import build
from local_opus.actions.base import Record, State
from local_opus.actions.tune_machine import TuneMachine
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.locations import TUNE_UNIT, locate
from local_opus.machine import again, decided, knobs, measuring, service, setting, standing
from local_opus.values import Scope
from local_opus.values.machine_tuning import ITEMS, Item, MachineOrder, MachineTuned
from local_opus.values.tuning import Ratio, TuningOrder
from played_kernel import CPU, host_on, laptop, tree

PLACES = locate(Scope.SYSTEM, {})
PATH, DROP_IN = PLACES.machine, PLACES.machine_drop_in
GOVERNOR = f"{CPU}/policy0/scaling_governor"
SUBJECT = TuningOrder(
    goal="latency", seconds=60, settings=(), device="CPU", device_name="A CPU", driver=None,
    openvino="2026.4.1", base={}, model=None,
)  # fmt: skip
ORDER = MachineOrder(
    items=ITEMS, scope=Scope.SYSTEM, seconds=60, subject=SUBJECT, server=True, systemd=True
)
GAIN = Ratio(median=1.2, low=1.1, high=1.3, rounds=12, confidence=0.99)


def result(host: FakeHost, **changes: dict[str, Any]) -> MachineTuned:
    """Return a result; ``changes``: fields of items, by their ids with underscores."""
    chosen: dict[str, dict[str, Any]] = {
        "governor": {"decision": "chosen", "knobs": knobs.governor(host), "gain": GAIN},
        "scheduling": {"decision": "chosen", "unit": {"Nice": "-5", "CPUWeight": "305"}},
    }
    chosen |= {name.replace("_", "-"): change for name, change in changes.items()}
    items = tuple(
        Item.model_validate({"id": id_, "decision": "no gain measured", "reason": "x",
                             **chosen.get(id_, {})})
        for id_ in ITEMS
    )  # fmt: skip
    return MachineTuned(
        measured_on=SUBJECT.holds_for(None),
        items=items,
        seconds=1.0,
        at="2026-01-01T00:00:00+00:00",
    )


NOTHING: dict[str, dict[str, Any]] = {"governor": {}, "scheduling": {}}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    found = host_on(tmp_path, laptop())
    found.services.runs = True
    found.files.make_folders("/etc/local-opus")
    found.files.make_folders(PLACES.units)
    return found


def action(found: MachineTuned | None = None, **more: Any) -> TuneMachine:
    order = ORDER.model_copy(update=more)
    return TuneMachine(path=PATH, drop_in=DROP_IN, order=order, result=found)


def do(host: FakeHost, todo: TuneMachine) -> tuple[Record, Record]:
    before = todo.capture(host)
    return before, todo.execute(host, before, lambda _step, _done, _total: None)


def etc(host: FakeHost) -> dict[str, str]:
    top = Path(host.root) / "etc"
    return {str(path): path.read_text() if path.is_file() else "" for path in top.rglob("*")}


# -- the action --------------------------------------------------------------------------------


def test_it_writes_what_was_decided_and_the_units_drop_in(host):
    _, after = do(host, action(result(host)))
    there = decided.parse(host.files.read_text(PATH), PATH)
    assert [one.id for one in there.chosen] == ["governor", "scheduling"]
    text = host.files.read_text(DROP_IN)
    assert text.splitlines()[1:] == ["[Service]", "Nice=-5", "CPUWeight=305"]
    assert ("daemon-reload",) in host.services.verbs
    assert after["before"][GOVERNOR] == "powersave\n"
    assert action().inspect(host).state is State.PRESENT
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_it_survives_the_receipt(host):
    for todo in (action(), action(result(host))):
        assert build("tune_machine", todo.model_dump(mode="json")) == todo


@pytest.mark.parametrize("admins", [False, True])
def test_revert_leaves_nothing_but_the_admins_own(host, admins):
    if admins:
        host.files.make_folders(DROP_IN.rpartition("/")[0])
        host.files.write_atomic(f"{DROP_IN.rpartition('/')[0]}/own.conf", b"[Service]\n")
    before_all = etc(host)
    todo = action(result(host))
    before, after = do(host, todo)
    assert todo.revert(host, before, after).kept is None
    assert etc(host) == before_all


def test_a_kill_anywhere_is_taken_back(tmp_path):
    class KilledError(BaseException):
        pass

    for number in range(40):
        host = host_on(tmp_path / str(number), laptop())
        for folder in ("/etc/local-opus", PLACES.units):
            host.files.make_folders(folder)
        before_all, kernel = etc(host), tree(Path(host.root))
        todo = action(result(host))
        left = iter(range(number))

        def step(_what: str, left=left) -> None:  # type: ignore[no-untyped-def]
            if next(left, None) is None:
                raise KilledError

        before = todo.capture(host)
        host.files.step = step
        try:
            todo.execute(host, before, lambda *_: None)
        except KilledError:
            host.files.step = lambda _what: None
            assert todo.revert(host, before, None).kept is None
            assert (etc(host), tree(Path(host.root))) == (before_all, kernel)
        else:
            assert number > 3
            return
    pytest.fail("it never came to its end")


def test_an_edit_is_kept(host):
    todo = action(result(host))
    before, after = do(host, todo)
    text = host.files.read_text(PATH).replace('"decision": "chosen"', '"decision": "not measured"')
    host.files.write_atomic(PATH, text.encode())
    assert todo.edited(host, after) == f"{PATH}: edited since it was written"
    assert todo.revert(host, before, after).kept is not None
    assert host.files.read_text(PATH) == text


def test_an_edited_drop_in_is_kept(host):
    todo = action(result(host))
    _, after = do(host, todo)
    host.files.write_atomic(DROP_IN, b"[Service]\nNice=0\n")
    assert todo.edited(host, after) == f"{DROP_IN}: edited since it was written"


def test_an_uninstall_puts_back_what_is_set_though_systemd_is_gone(host):
    todo = action(result(host))
    before, after = do(host, todo)
    kernel = tree(Path(host.root))
    service.start(host, PLACES, "unit")
    assert host.files.read_text(GOVERNOR) == "performance\n"
    host.services.runs = False
    assert todo.revert(host, before, after).kept is None
    assert tree(Path(host.root)) == kernel


def test_an_uninstall_names_what_somebody_else_set(host):
    todo = action(result(host))
    before, after = do(host, todo)
    service.start(host, PLACES, "unit")
    (Path(host.root) / GOVERNOR.lstrip("/")).write_text("schedutil\n")
    kept = todo.revert(host, before, after).kept
    assert kept == f"{GOVERNOR}: somebody else has set schedutil"
    assert host.files.stat(PATH) is None
    assert host.files.stat(PLACES.machine_record) is None


def test_measuring_again_has_the_unit_set_it_again(host):
    host.services.units[TUNE_UNIT] = {"ActiveState": "active"}
    do(host, action(result(host)))
    assert host.services.verbs[-1] == ("restart", TUNE_UNIT)


def test_a_new_result_without_a_drop_in_removes_the_old_one(host):
    do(host, action(result(host)))
    do(host, action(result(host, **NOTHING)))
    assert host.files.stat(DROP_IN) is None
    assert host.files.stat(DROP_IN.rpartition("/")[0]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"items": ("governor",)},
        {"subject": SUBJECT.model_copy(update={"openvino": "2027.0.0"})},
        {"subject": SUBJECT.model_copy(update={"device_name": "Another"})},
    ],
)
def test_another_order_is_measured_anew(host, change):
    do(host, action(result(host)))
    assert action(**change).inspect(host).state is State.DIFFERENT
    assert not action(**change).covers(action())


def test_what_was_not_measured_is_measured_when_it_may_be(host, monkeypatch):
    host.processes.dialogue = lambda _module: pytest.fail("nothing is to be measured")
    do(host, action(measure=False))
    assert action(measure=False).inspect(host).state is State.PRESENT
    assert action().inspect(host).state is State.DIFFERENT
    assert not action().covers(action(measure=False))
    assert action(measure=False).covers(action())
    assert action(seconds=5).covers(action())


def test_the_summary_tells_what_is_done(host):
    assert "governor, huge-pages" in action().summary()
    assert "60 s at most" in action().summary()
    assert "nothing was measured" in action(measure=False).summary()
    assert "this user's" in action(scope=Scope.USER).summary()


# -- the file ----------------------------------------------------------------------------------

EVIL = [
    ('"path": "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"', '"path": "/etc/shadow"',
     "items.0.knobs.0.path: '/etc/shadow' is no file that is set here"),
    ("policy0/scaling_governor", "policy0/../../../../../etc/x", "is no file that is set here"),
    ('"wanted": "performance"', '"wanted": "a b\\\\n"', "is no value of one"),
    ('"Nice": "-5"', '"Nice": "-5\\\\nExecStart=/bin/x"', "unit.Nice"),
    ('"CPUWeight": "305"', '"ExecStart": "/bin/x"', "unit.ExecStart: '/bin/x' is not set here"),
    ('"schema_version": 1', '"schema_version": 2', "schema_version"),
    ('"seconds"', '"secs"', "unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "problem"), EVIL)
def test_root_writes_nothing_else_whatever_the_file_says(host, old, new, problem):
    text = sealed.dump(result(host)).decode()
    assert old in text
    host.files.write_atomic(PATH, text.replace(old, new).encode())
    with pytest.raises(BadInputError) as error:
        service.start(host, PLACES, "unit")
    assert problem in f"{error.value.message} {error.value.details}"
    assert PATH in error.value.message
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_an_item_that_is_chosen_says_what_is_set(host):
    """By hand it is easily forgotten, and status would call it applied."""
    found = result(host)
    bare = found.items[0].model_copy(update={"decision": "chosen", "knobs": (), "unit": {}})
    text = sealed.dump(found.model_copy(update={"items": (bare,)})).decode()
    host.files.write_atomic(PATH, text.encode())
    with pytest.raises(BadInputError, match="neither knobs nor unit say what to set"):
        service.start(host, PLACES, "unit")


def test_a_damaged_file_still_has_taken_back_what_is_set(host):
    setting.apply(host, PLACES, knobs.governor(host), "measuring")
    host.files.write_atomic(PATH, b"{")
    with pytest.raises(BadInputError):
        service.start(host, PLACES, "unit")
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_where_nothing_can_be_measured_the_server_serves_on(host, monkeypatch):
    monkeypatch.setattr(again.retune, "machine_alone", lambda *_: pytest.fail("it is stopped"))
    order = ORDER.model_copy(update={"scope": Scope.USER})
    found = again.measure(host, PLACES, order, lambda _what, _seconds: None)
    assert found.chosen == ()


@pytest.mark.parametrize(
    ("nice", "restarts"),
    [({}, [1]), ({"scheduling": {"decision": "no gain measured", "unit": {}}}, [])],
)
def test_a_server_whose_unit_stays_as_it_is_serves_on(host, monkeypatch, nice, restarts):
    started: list[int] = []
    for name in ("group_of", "ensure"):
        monkeypatch.setattr(again.retune, name, lambda *_: None)
    monkeypatch.setattr(again.retune, "restart", lambda *_: started.append(1))
    again.keep(host, PLACES, ORDER, result(host, **nice))
    assert started == restarts


# -- what stands -------------------------------------------------------------------------------


def stands(host: FakeHost) -> dict[str, tuple[str, str]]:
    found = standing.report(host, PLACES, "CPU")
    assert found is not None
    return {one.id: (one.state, one.reason) for one in found.items}


def test_status_tells_each_item(host):
    do(host, action(result(host)))
    not_set = f"{GOVERNOR}: it holds powersave; {TUNE_UNIT} does not run"
    assert stands(host)["governor"] == ("not applied", not_set)
    service.start(host, PLACES, "unit")
    host.services.values |= {"Nice": "-5", "CPUWeight": "305", "LimitMEMLOCK": "8388608"}
    found = stands(host)
    assert found["governor"] == ("applied", "1.20 times as fast (1.10-1.30)")
    assert found["scheduling"][0] == "applied"
    assert found["huge-pages"][0] == "no gain measured"
    assert found["device-access"] == ("not applicable", "the model is served on the CPU")


def test_status_names_what_drifted_and_by_what(host):
    do(host, action(result(host)))
    service.start(host, PLACES, "unit")
    (Path(host.root) / GOVERNOR.lstrip("/")).write_text("schedutil\n")
    host.services.values |= {"Nice": "0", "CPUWeight": "305"}
    found = stands(host)
    assert found["governor"] == ("drifted", f"{GOVERNOR}: performance was set, and somebody set schedutil")  # fmt: skip
    assert found["scheduling"] == ("drifted", "Nice=0 in local-opus.service, and -5 was chosen")
    service.stop(host, PLACES)
    assert stands(host)["governor"] == ("drifted", f"{GOVERNOR}: somebody had set schedutil, so it was left so")  # fmt: skip


@pytest.mark.parametrize(
    ("systemd", "who"),
    [(True, f"{TUNE_UNIT} could not set it, and its log says why"), (False, "the start of the server sets it, as root")],
)  # fmt: skip
def test_a_write_that_was_refused_is_no_drift(host, monkeypatch, systemd, who):
    do(host, action(result(host)))
    monkeypatch.setattr(type(host.files), "_judged", lambda *_: (errno.EACCES, ""))
    service.start(host, PLACES, "unit")
    host.services.runs = systemd
    host.services.units[TUNE_UNIT] = {"ActiveState": "active"}
    assert stands(host)["governor"] == ("not applied", f"{GOVERNOR}: it holds powersave; {who}")


def test_what_is_closed_to_this_user_is_not_told_as_unmeasured(host, monkeypatch):
    def closed(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", PATH)

    monkeypatch.setattr(standing, "tuned", closed)
    with pytest.raises(PermissionError):
        standing.report(host, PLACES, None)
    assert f"{PATH}: closed to this user" in str(control._machine(host, PLACES, None))


def test_status_survives_a_damaged_file(host):
    host.files.write_atomic(PATH, b"[]")
    found = standing.report(host, PLACES, None)
    assert found.items == ()
    assert PATH in found.problem


def test_where_nothing_is_to_be_set_there_is_nothing_to_tell(host):
    assert standing.report(host, PLACES, None) is None


def test_a_measurement_that_failed_says_why(host, monkeypatch):
    def fail(*_: object) -> None:
        raise LocalOpusError("no memory", "r")

    monkeypatch.setattr(measuring.tuner, "require_memory", fail)
    found = measuring.measure(host, PLACES, ORDER)
    assert found.problem == "no memory"
    assert found.item("governor").decision == "not measured"
    assert found.item("governor").knobs[0].path == GOVERNOR
