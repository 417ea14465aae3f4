"""The offline posture on a node that is really installed: what runs by itself calls no other host.

Every connect(2), sendto(2) and sendmsg(2) of a command and of all its children is recorded by
strace(1), and every address in them must be of this machine.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from node_program import MODEL, Program

from hub import Hub
from local_opus.values.posture import VARIABLES

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
#: An address in a call, as strace 6 writes it.
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


@pytest.fixture(scope="module")
def program(seeded: Callable[..., Program]) -> Program:
    made = seeded("gguf-q4_1", "cpu-q4_1")
    made.install()
    return made


def called(program: Program, log: Path, *words: str, **extra: str) -> tuple[int, list[str]]:
    """Run the installed command under strace; return its exit code and the addresses called."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    command = str(program.home / ".local/bin/local-opus")
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", calls, "-o", str(log), command, *words],
        env={**program.environ, **extra}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [
        first or second for first, second in _ADDRESS.findall(log.read_text(errors="replace"))
    ]


def others(addresses: list[str]) -> list[str]:
    return [one for one in addresses if not ipaddress.ip_address(one).is_loopback]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "--json"), 0),
        (("doctor", "--json"), None),
        (("detect", "--json"), 0),
        (("verify", "--quick"), 0),
        (("verify", "--canary"), 0),
        (("models", "list"), 0),
        (("chat", "Say hello.", "--temperature", "0"), 0),
        (("tune", "--dry-run"), None),
        (("monitor", "--once", "--json"), None),
    ],
)
def test_what_fetches_nothing_calls_nobody(
    program: Program, tmp_path: Path, words: tuple[str, ...], code: int | None
) -> None:
    ended, addresses = called(program, tmp_path / "calls", *words)
    assert others(addresses) == []
    assert code is None or ended == code


def test_the_recorder_sees_a_call(program: Program, tmp_path: Path) -> None:
    """The same recorder, on a command that is told to call: a check that can fail."""
    words = ("verify", MODEL, "--against", "org/model")
    _, addresses = called(program, tmp_path / "calls", *words, HF_ENDPOINT="http://127.0.0.1:9")
    assert "127.0.0.1" in addresses
    assert others([*addresses, "192.0.2.1", "2001:db8::1"]) == ["192.0.2.1", "2001:db8::1"]


def test_the_server_and_its_engine_have_the_variables(program: Program) -> None:
    pid = json.loads(program.run("status", "--json").stdout)["pid"]
    found = Path(f"/proc/{pid}/environ").read_text().split("\0")
    assert {f"{name}={value}" for name, value in VARIABLES.items()} <= set(found)


def environment_of(program: Program, tmp_path: Path, **extra: str) -> dict[str, str]:
    """Return the environment that the installed command gives its program."""
    script = (program.prefix / "bin/local-opus").read_text()
    script = re.sub(r"^exec .*$", "exec env", script, flags=re.MULTILINE)
    copy = tmp_path / "command"
    copy.write_text(script)
    done = subprocess.run(
        ["sh", str(copy)], env={"PATH": "/usr/bin:/bin", **extra}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_the_command_itself_is_offline_and_minds_what_its_caller_says(
    program: Program, tmp_path: Path
) -> None:
    found = environment_of(program, tmp_path)
    assert {name: found[name] for name in VARIABLES} == VARIABLES
    assert found["LOCAL_OPUS_ASKED_HF_HUB_OFFLINE"] == ""
    asked = environment_of(program, tmp_path, HF_HUB_OFFLINE="1")
    assert asked["LOCAL_OPUS_ASKED_HF_HUB_OFFLINE"] == "1"
    # Called by the command itself, e.g. from launch_local_system.sh: still nobody's wish.
    again = environment_of(program, tmp_path, **found)
    assert again["LOCAL_OPUS_ASKED_HF_HUB_OFFLINE"] == ""


@pytest.mark.parametrize(
    ("said", "forbidden"), [({}, False), ({"HF_HUB_OFFLINE": "1"}, True), ({"TRANSFORMERS_OFFLINE": "yes"}, True)],
)  # fmt: skip
def test_what_a_user_asks_to_fetch_is_asked_for_unless_he_forbids_it(
    program: Program, tmp_path: Path, said: dict[str, str], forbidden: bool
) -> None:
    with Hub() as hub:
        words = ("verify", MODEL, "--against", "org/model")
        _, addresses = called(program, tmp_path / "calls", *words, HF_ENDPOINT=hub.url, **said)
        asked = bool(hub.requests)
    assert asked is not forbidden
    assert others(addresses) == []


def test_without_a_network_it_works_all_the_same(program: Program, tmp_path: Path) -> None:
    """In a network namespace that has nothing but its own loopback."""
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    command = str(program.home / ".local/bin/local-opus")
    for words in (("detect", "--json"), ("verify", "--canary"), ("models", "list")):
        done = subprocess.run(
            ["unshare", "--net", command, *words], env=program.environ, capture_output=True,
            text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)


def test_an_address_that_others_reach_is_refused_in_an_edited_config(program: Program) -> None:
    config = program.config / "server.json"
    text = config.read_text()
    try:
        config.write_text(text.replace('"127.0.0.1"', '"0.0.0.0"'))
        found = json.loads(program.run("status", "--json").stdout)
        assert "server.json: host: " in found["problem"]
        parts = {part["id"]: part for part in found["posture"]["parts"]}
        assert parts["loopback"]["state"] == "drifted"
        assert "loopback" in parts["loopback"]["evidence"]
    finally:
        config.write_text(text)
