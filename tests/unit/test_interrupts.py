"""Signals, streams and umask of a process, seen in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    script: str, *, shell: str = '"$@"', **settings: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", script],
        capture_output=True, text=True, check=False, **settings,  # type: ignore[call-overload]
    )  # fmt: skip


SEND = """
import os, signal, sys, time
from local_opus import interrupts
interrupts.raise_on_signals()
interrupts.raise_on_signals()
"""


@pytest.mark.parametrize("number", STOPPING)
def test_each_raises_once(number):
    """The second comes while the first is dealt with; it must not cut that off."""
    done = run(SEND + f"""
try:
    os.kill(os.getpid(), {int(number)})
    time.sleep(5)
except KeyboardInterrupt as error:
    os.kill(os.getpid(), {int(signal.SIGTERM)})
    time.sleep(0.05)
    print(error)
""")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{number.name}\n", "")


LOSING = {
    "a destructor": """
class Foreign:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
def lose():
    Foreign()
""",
    "a hook of fork": """
import subprocess
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
def lose():
    subprocess.run(["true"], preexec_fn=interrupts.restore_defaults)
""",
}


@pytest.mark.parametrize("losing", LOSING.values(), ids=LOSING)
def test_one_that_foreign_code_swallows_comes_again(losing):
    done = run(SEND + losing + """
try:
    lose()
    time.sleep(5)
    print("lost")
except KeyboardInterrupt as error:
    print(error)
""")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "SIGTERM\n", "")


def test_what_the_caller_ignores_stays_ignored():
    script = SEND + "os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGINT); print('on')"  # fmt: skip
    done = run(script, shell="trap '' HUP INT; \"$@\"")
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_the_end_is_not_disturbed():
    done = run(SEND + "interrupts.ignore_signals(); os.kill(os.getpid(), signal.SIGTERM); print('on')")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "on\n")


def ignored(status: str) -> set[int]:
    """The STOPPING signals in the SigIgn line of a /proc/PID/status."""
    (line,) = (line for line in status.splitlines() if line.startswith("SigIgn:"))
    mask = int(line.split()[1], 16)
    return {int(number) for number in STOPPING if mask & 1 << (number - 1)}


CHILDREN = {
    "a command": "print(processes.run(['cat', '/proc/self/status'], timeout=9).out)",
    "one that must not be disturbed": (
        "print(processes.run(['cat', '/proc/self/status'], timeout=9, undisturbed=True).out)"
    ),
    "the server": (
        "processes.start_detached(['cat', '/proc/self/status'], log=LOG, record=lambda pid: None)"
    ),
    "pip of the set-up": """
import subprocess
from local_opus import children
subprocess.run(["cat", "/proc/self/status"], preexec_fn=children.dies_with_me())
""",
}


@pytest.mark.parametrize("work", CHILDREN.values(), ids=CHILDREN)
def test_children_do_not_inherit_what_is_ignored(work, tmp_path):
    log = tmp_path / "log"
    script = f"""
import os, sys
from local_opus.host.processes import Processes
processes = Processes(os.environ)
LOG = {str(log)!r}
print(open('/proc/self/status').read(), flush=True)
print("--")
sys.stdout.flush()
{work}
"""
    done = run(script, shell="trap '' HUP INT TERM; \"$@\"")
    own, _, child = done.stdout.partition("--\n")
    assert ignored(own) == {int(number) for number in STOPPING}
    if "LOG" in work:
        child = _when_written(log)
    assert ignored(child) == set()


def _when_written(log: Path) -> str:
    for _ in range(200):
        if "SigIgn" in (text := log.read_text() if log.exists() else ""):
            return text
        os.sched_yield()
        signal.sigtimedwait([], 0.02)
    raise AssertionError("the child wrote nothing")


STREAMS = """
import os, sys
from local_opus.report import streams
streams.take_over()
"""


@pytest.mark.parametrize(
    "shell", ['"$@" | true', '"$@" > /dev/full', '"$@" >&-', '"$@" 1</dev/null']
)
def test_words_that_can_not_be_told_stop_nothing(shell, tmp_path):
    script = STREAMS + f"""
import time
time.sleep(0.2)
for _ in range(3):
    print("x" * 100_000, flush=True)
open({str(tmp_path / "done")!r}, "w").write(repr((streams.reader_left(), str(streams.lost()), streams.unseen())))
"""  # fmt: skip
    done = run(script, shell=shell)
    assert done.stderr == ""
    left, lost, unseen = eval((tmp_path / "done").read_text())
    assert unseen
    assert left == ("true" in shell)
    assert (lost != "None") == ("full" in shell or "null" in shell)


@pytest.mark.parametrize("shell", ['"$@" | cat', '"$@" > /dev/null', '"$@" 2>&-'])
def test_words_that_somebody_takes_are_not_unseen(shell, tmp_path):
    script = (
        STREAMS
        + f"""
print("x")
open({str(tmp_path / "done")!r}, "w").write(repr(streams.unseen()))
"""
    )
    run(script, shell=shell)
    assert (tmp_path / "done").read_text() == "False"


def test_a_stream_that_does_not_block_is_waited_for():
    """Another program that shares it may have made it so."""
    script = STREAMS + "os.set_blocking(1, False)\nfor _ in range(20): print('x' * 50_000)"
    done = run(script, shell='"$@" | { sleep 0.3; wc -c; }')
    assert done.stdout.strip() == str(20 * 50_001)
    assert done.stderr == ""


def test_closed_descriptors_are_not_given_to_files(tmp_path):
    script = STREAMS + f"""
with open({str(tmp_path / "receipt")!r}, "w") as file:
    print("words"); sys.stderr.write("words")
    assert file.fileno() > 2
assert sys.stdin.read() == ""
os.write(1, b"words")
"""  # fmt: skip
    assert run(script, shell='"$@" <&- >&- 2>&-').returncode == 0
    assert (tmp_path / "receipt").read_bytes() == b""


def test_characters_that_the_locale_lacks():
    script = STREAMS + "print('✓ \\udcff')"
    done = run(script, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.stdout, done.stderr) == ("\\u2713 \\udcff\n", "")


def test_a_kill_between_making_and_opening_a_folder_leaves_it_open(tmp_path):
    """Whatever the caller's umask: nobody looks again at the folders on the way to ours."""
    done = run(f"""
import os, sys
sys.argv = ["local-opus", "--version"]
from local_opus.cli import main
from local_opus.host.files import Files
main()
os.fchmod = lambda *_: os._exit(137)
Files({str(tmp_path)!r}).make_folders("/on-the-way/ours")
""", shell='umask 077; "$@"')  # fmt: skip
    assert done.returncode == 137, done.stderr
    assert (tmp_path / "on-the-way").stat().st_mode & 0o777 == 0o755
