"""Files of the kernel: found, set, taken back exactly; whatever is killed, and whoever else sets."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.errors import LocalOpusError
from local_opus.locations import locate
from local_opus.machine import knobs, setting
from local_opus.values import Scope
from local_opus.values.machine_tuning import Knob
from played_kernel import BOOT_ID, CPU, NPU, THP, host_on, laptop, npu, tree

PLACES = locate(Scope.SYSTEM, {})
RECORD = PLACES.machine_record
GOVERNOR = f"{CPU}/policy0/scaling_governor"
HINT = f"{CPU}/policy1/energy_performance_preference"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return host_on(tmp_path, laptop() | npu())


def all_knobs(host: FakeHost) -> tuple[Knob, ...]:
    found: list[Knob] = []
    for reader in knobs.READERS.values():
        some = reader(host)
        assert isinstance(some, tuple), some
        found += some
    return tuple(found)


def write(host: FakeHost, path: str, text: str) -> None:
    (Path(host.root) / path.lstrip("/")).write_text(text)


# -- what there is -----------------------------------------------------------------------------


def test_every_policy_gets_governor_and_hint_in_that_order(host):
    found = knobs.governor(host)
    assert [(one.path.removeprefix(f"{CPU}/"), one.wanted) for one in found] == [
        ("policy0/scaling_governor", "performance"),
        ("policy1/scaling_governor", "performance"),
        ("policy0/energy_performance_preference", "performance"),
        ("policy1/energy_performance_preference", "performance"),
    ]


@pytest.mark.parametrize(
    ("item", "change", "reason"),
    [
        ("governor", None, "the kernel scales no frequency here"),
        ("governor", {"scaling_available_governors": "powersave\n"}, "has no governor performance"),
        ("governor", {"scaling_governor": "performance\n",
                      "energy_performance_preference": "performance\n"}, "performance already"),
        ("huge-pages", None, "no transparent huge pages"),
        ("huge-pages", {"enabled": "[always] madvise never\n"}, "has them already"),
        ("npu-clock", None, "no NPU with Intel's driver"),
        ("npu-clock", {"set_min_freq": "1950\n"}, "is its highest already"),
        ("npu-clock", {"set_min_freq": ""}, "lets nobody set its clock"),
    ],
)  # fmt: skip
def test_what_is_not_there_has_its_reason(tmp_path, item, change, reason):
    files = {} if change is None else laptop() | npu()
    files |= {path: text for path in files for name, text in (change or {}).items()
              if path.endswith(f"/{name}")}  # fmt: skip
    found = knobs.READERS[item](host_on(tmp_path, files))
    assert isinstance(found, str)
    assert reason in found


def test_another_drivers_hints_are_left_alone(tmp_path):
    files = {path: "acpi-cpufreq\n" if path.endswith("scaling_driver") else text
             for path, text in laptop(1).items()}  # fmt: skip
    assert [one.path for one in knobs.governor(host_on(tmp_path, files))] == [GOVERNOR]


def test_a_read_only_file_is_not_applicable(host, monkeypatch):
    monkeypatch.setattr(host.files, "can_open", lambda path: "read-only file system")
    assert knobs.huge_pages(host) == f"{THP}/enabled: read-only file system"


# -- there and back ----------------------------------------------------------------------------


def test_all_is_set_and_taken_back_to_the_byte(host):
    before = tree(Path(host.root))
    applied = setting.apply(host, PLACES, all_knobs(host), "unit")
    assert applied.problems == {}
    now = tree(Path(host.root))
    assert now[GOVERNOR] == "performance\n"
    assert now[HINT] == "performance\n"
    assert now[f"{THP}/enabled"] == "[always] madvise never\n"
    assert now[f"{NPU}/freq/set_min_freq"] == "1950\n"
    taken = setting.take_back(host, PLACES)
    assert taken.drifted == {}
    assert tree(Path(host.root)) == before


def test_the_record_is_there_before_anything_is_set(host):
    seen = []

    def step(what: str) -> None:
        seen.append((what, host.files.stat(RECORD) is not None))

    host.files.step = step
    setting.apply(host, PLACES, all_knobs(host), "unit")
    assert all(there for what, there in seen if what.startswith("before /sys"))


def test_what_holds_the_word_already_is_nobodys_to_take_back(host):
    write(host, GOVERNOR, "performance\n")
    some = Knob(path=GOVERNOR, before="powersave\n", wanted="performance")
    assert setting.apply(host, PLACES, [some], "unit").done == [GOVERNOR]
    assert host.files.stat(RECORD) is None
    setting.take_back(host, PLACES)
    assert host.files.read_text(GOVERNOR) == "performance\n"


def test_what_somebody_else_set_is_kept_and_named(host):
    before = tree(Path(host.root))
    setting.apply(host, PLACES, all_knobs(host), "unit")
    write(host, GOVERNOR, "schedutil\n")
    taken = setting.take_back(host, PLACES, note=True)
    assert taken.drifted == {GOVERNOR: "schedutil"}
    assert host.files.read_text(GOVERNOR) == "schedutil\n"
    assert setting.record(host, PLACES).drifted == {GOVERNOR: "schedutil"}
    setting.forget(host, PLACES)
    assert tree(Path(host.root)) == {**before, GOVERNOR: "schedutil\n"}


def test_what_is_refused_is_named_and_the_rest_is_set(host):
    some = [Knob(path=GOVERNOR, before="powersave\n", wanted="schedutil"), *knobs.huge_pages(host)]
    applied = setting.apply(host, PLACES, some, "unit")
    assert applied.problems == {GOVERNOR: "schedutil was refused: invalid argument"}
    assert f"{THP}/enabled" in applied.done
    assert GOVERNOR not in [one.path for one in setting.record(host, PLACES).files]
    setting.take_back(host, PLACES)
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_where_all_is_refused_nothing_is_on_record(host):
    some = [Knob(path=GOVERNOR, before="powersave\n", wanted="schedutil")]
    setting.apply(host, PLACES, some, "unit")
    assert host.files.stat(RECORD) is None


def test_what_the_kernel_clamps_is_no_success(host, monkeypatch):
    monkeypatch.setattr(type(host.files), "_judged", lambda *_: (0, "1800\n"))
    path = f"{NPU}/freq/set_min_freq"
    applied = setting.apply(host, PLACES, [Knob(path=path, before="400\n", wanted="1950")], "unit")
    assert applied.problems == {path: "1950 was written, and it holds '1800'"}
    assert [one.path for one in setting.record(host, PLACES).files] == [path]  # it was changed


def test_a_device_that_is_gone_is_no_problem_on_the_way_back(host):
    setting.apply(host, PLACES, all_knobs(host), "unit")
    (Path(host.root) / HINT.lstrip("/")).unlink()
    assert setting.take_back(host, PLACES).drifted == {}
    assert host.files.stat(RECORD) is None


def test_what_cannot_be_put_back_stays_recorded(host, monkeypatch):
    setting.apply(host, PLACES, all_knobs(host), "unit")

    def refuse(path: str, word: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(host.files, "tell_kernel", refuse)
    with pytest.raises(LocalOpusError, match="input/output error"):
        setting.take_back(host, PLACES)
    monkeypatch.undo()
    assert setting.take_back(host, PLACES).drifted == {}
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_a_record_of_another_boot_is_void(host):
    setting.apply(host, PLACES, all_knobs(host), "unit")
    write(host, BOOT_ID, "two\n")
    before = host.files.read_text(GOVERNOR)
    assert setting.record(host, PLACES) is None
    assert setting.take_back(host, PLACES).done == []
    assert host.files.read_text(GOVERNOR) == before
    assert host.files.stat(RECORD) is None


def record_of(path: str) -> str:
    return json.dumps({"boot_id": "one", "by": "unit", "files": [
        {"path": path, "before": "x", "wanted": "y"}]})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Invalid JSON"),
        ('{"boot_id": "one"}', "by: Field required"),
        (record_of("/etc/passwd"), "no file that is set here"),
        (record_of(f"{CPU}/policy0/../../../../../../etc/passwd"), "no file that is set here"),
    ],
)
def test_a_damaged_record_changes_nothing(host, text, problem):
    host.files.make_folders(RECORD.rpartition("/")[0])
    host.files.write_atomic(RECORD, text.encode())
    with pytest.raises(LocalOpusError, match=problem) as error:
        setting.apply(host, PLACES, all_knobs(host), "unit")
    assert RECORD in error.value.message
    assert PLACES.machine in error.value.remedy
    assert host.files.read_text(GOVERNOR) == "powersave\n"


def test_the_unit_and_a_command_beside_it_mean_the_same_boot(host):
    write(host, BOOT_ID, "0a1b-2c3d\n")
    host.environ = {**host.environ, setting.BOOT_ID_VARIABLE: "0a1b2c3d"}
    setting.apply(host, PLACES, all_knobs(host), "unit")
    host.environ = {}
    assert setting.record(host, PLACES) is not None


def test_without_a_boot_id_nothing_is_set(host):
    (Path(host.root) / BOOT_ID.lstrip("/")).unlink()
    with pytest.raises(LocalOpusError, match="nothing of this machine is set"):
        setting.apply(host, PLACES, all_knobs(host), "unit")
    assert host.files.read_text(GOVERNOR) == "powersave\n"


# -- kills -------------------------------------------------------------------------------------


class KilledError(BaseException):
    """SIGKILL: nothing of the program runs any more."""


def killed_at(host: FakeHost, number: int) -> None:
    """Have the program killed at the change of this number, counted from 0."""
    left = iter(range(number))

    def step(_what: str) -> None:
        if next(left, None) is None:
            raise KilledError

    host.files.step = step


def there_and_back(host: FakeHost, wanted: tuple[Knob, ...]) -> None:
    setting.apply(host, PLACES, wanted, "measuring")
    setting.take_back(host, PLACES)


def kill_points(tmp_path: Path) -> int:
    """Return how many places there are to kill in one time there and back."""
    host = host_on(tmp_path / "count", laptop() | npu())
    count = 0

    def step(_what: str) -> None:
        nonlocal count
        count += 1

    host.files.step = step
    there_and_back(host, all_knobs(host))
    return count


@pytest.mark.parametrize("then", ["start", "stop"])
def test_killed_anywhere_the_next_call_puts_it_back(tmp_path, then):
    points = kill_points(tmp_path)
    assert points > 20
    for number in range(points):
        host = host_on(tmp_path / f"{then}{number}", laptop() | npu())
        before = tree(Path(host.root))
        wanted = all_knobs(host)
        killed_at(host, number)
        with pytest.raises(KilledError):
            there_and_back(host, wanted)
        host.files.step = lambda _what: None
        if then == "start":
            assert setting.apply(host, PLACES, wanted, "unit").problems == {}
        setting.take_back(host, PLACES)
        assert tree(Path(host.root)) == before, number


def test_an_exception_in_the_middle_puts_it_back(host):
    before = tree(Path(host.root))
    with pytest.raises(KeyboardInterrupt), setting.held(host, PLACES, all_knobs(host)):
        raise KeyboardInterrupt
    assert tree(Path(host.root)) == before


def test_a_value_that_somebody_sets_during_a_measurement_ends_it(host):
    with (
        pytest.raises(LocalOpusError, match="set to 'schedutil' by someone else"),
        setting.held(host, PLACES, all_knobs(host)),
    ):
        write(host, GOVERNOR, "schedutil\n")
    assert host.files.read_text(GOVERNOR) == "schedutil\n"
    assert host.files.stat(RECORD) is None


def test_only_what_is_there_is_written(host):
    with pytest.raises(FileNotFoundError):
        host.files.tell_kernel("/sys/kernel/mm/other", b"1")
    assert not (Path(host.root) / "sys/kernel/mm/other").exists()
