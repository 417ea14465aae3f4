"""Keys on a real systemd: encrypted credentials, a server that asks, tools that know, the way back.

One machine; the tests are steps in this order. The last are an ordinary user's, whose systemd 252
encrypts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from lab import INSIDE, MODEL
from machine import Done, Machine
from nodes import LEFT_OUT, UNINSTALL, UNIT, Node
from runs import wait_for_systemd
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

FOLDER = "/var/lib/local-opus/credentials"
HOST_KEY = "/var/lib/systemd/credential.secret"
NEWER = "/srv/newer"
USER = "ann"
ROUTES = ("/health", "/ready", "/sandbox", "/v1/models", "/", "/no/such")
#: Prints the status of each path for each of the headers in its arguments.
_ASK = """
import json, sys, urllib.request
found = {}
for header in sys.argv[2:]:
    for path in sys.argv[1].split():
        name, _, value = header.partition(": ")
        request = urllib.request.Request("http://127.0.0.1:8000" + path, headers={name: value})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                found[f"{name} {path}"] = answer.status
        except urllib.error.HTTPError as error:
            found[f"{name} {path}"] = error.code
        except OSError as error:
            found[f"{name} {path}"] = str(error)
print(json.dumps(found))
"""
#: Prints where one of the words on standard input stands: files, and what /proc tells of processes.
_SEEK = """
import os, sys
words = [word.encode() for word in sys.argv[1:]]
own = {str(os.getpid()), str(os.getppid())}
def look(path):
    try:
        with open(path, "rb") as stream:
            data = stream.read(64 << 20)
    except OSError:
        return
    if any(word in data for word in words):
        print(path)
for top in ("/etc", "/var", "/run", "/tmp", "/root", "/opt/local-opus/bin", "/usr/local"):
    for folder, folders, names in os.walk(top):
        # What the units are given; how this question and those before it came here; asked below.
        if folder.startswith(("/run/credentials", "/run/systemd/transient", "/var/log/journal")):
            folders.clear()
            continue
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                look(path)
for pid in filter(str.isdecimal, os.listdir("/proc")):
    if pid not in own:
        look(f"/proc/{pid}/environ")
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            said = stream.read()
        # How this very question came here.
        if any(word in said for word in words) and b"os.walk(top)" not in said:
            print(f"/proc/{pid}/cmdline", said[:200])
"""


def asked(machine: Machine, *headers: str, paths: tuple[str, ...] = ROUTES) -> dict[str, object]:
    done = machine.run("python3", "-I", "-c", _ASK, " ".join(paths), *headers)
    assert done.code == 0, str(done)
    found: dict[str, object] = json.loads(done.out)
    return found


def assert_closed(machine: Machine) -> None:
    """Without a key, and with a wrong one, no route answers."""
    found = asked(machine, "X-Nothing: x", "x-api-key: wrong", "Authorization: Bearer wrong")
    assert set(found.values()) == {401}, found


def assert_open_to(machine: Machine, key: str) -> None:
    for header in (f"Authorization: Bearer {key}", f"x-api-key: {key}"):
        found = asked(machine, header, paths=("/health", "/ready", "/v1/models"))
        assert set(found.values()) == {200}, found


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """The keys that were made, by name; filled by the steps."""
    return {}


def keys_of(done: Done) -> dict[str, str]:
    assert done.code == 0, str(done)
    return {one["name"]: one["key"] for one in json.loads(done.out)["keys"]}


def test_keys_that_are_there_before_the_server_close_it_from_its_start(
    node: Node, machine: Machine, before: Tree, keys: dict[str, str]
) -> None:
    before |= snapshot(machine)
    made = node.call("./installer", "keys", "add", "first", "--json")
    keys |= keys_of(made)
    assert json.loads(made.out)["encrypted"] is True
    assert json.loads(made.out)["server_restarted"] is False
    done = node.install()
    assert done.code == 0, str(done) + str(machine.run("journalctl", "-n", "30", "--no-pager"))
    assert_closed(machine)
    assert_open_to(machine, keys["first"])


def test_the_files_are_roots_alone_and_encrypted(machine: Machine, keys: dict[str, str]) -> None:
    done = machine.run("sh", "-c", f"cd {FOLDER} && stat -c '%n %a %U' . * && cat *")
    assert done.code == 0, str(done)
    for line in (". 700 root", "api-keys.cred 600 root", "node-key.cred 600 root"):
        assert line in done.out
    assert "sha256" not in done.out
    assert keys["first"] not in done.out
    unit = machine.run("systemctl", "cat", UNIT)
    assert f"\nLoadCredentialEncrypted=api-keys:{FOLDER}/api-keys.cred\n" in unit.out


def test_more_keys_cost_one_start_anew(
    node: Node, machine: Machine, keys: dict[str, str], measured: Callable[[str], None]
) -> None:
    pid = node.properties("MainPID")
    added = machine.run("local-opus", "keys", "add", "second", "third", "--json", timeout=120)
    keys |= keys_of(added)
    measured(f"two keys added, and served with, in {added.seconds:.1f} s")
    assert node.properties("MainPID") != pid
    for key in keys.values():
        assert_open_to(machine, key)


def test_the_nodes_own_tools_know_its_key(node: Node, machine: Machine) -> None:
    status = node.wait_ready()
    assert (status["ready"], status["keys"]) == (True, "required")
    node.assert_answers()
    doctor = json.loads(machine.run("local-opus", "doctor", "--json", timeout=120).out)
    found = {one["id"]: one for one in doctor["results"]}
    for id_ in ("credentials", "secrets", "server", "unit"):
        assert found[id_]["state"] == "pass", found[id_]


def test_the_monitor_is_given_the_nodes_key_and_sees_a_sound_server(machine: Machine) -> None:
    done = machine.run("systemctl", "start", "local-opus-monitor.service", timeout=120)
    assert done.code == 0, done
    state = machine.run("cat", "/var/lib/local-opus-monitor/state.json")
    assert state.code == 0, state
    assert "wants a key" not in state.out
    assert '"tokens_per_second"' in state.out


def test_an_ordinary_user_says_a_key_of_his(machine: Machine, keys: dict[str, str]) -> None:
    assert machine.run("useradd", "--create-home", USER).code == 0
    ask = ("local-opus", "chat", "What is the capital of France?", "--temperature", "0")
    done = machine.run(*ask, user=USER)
    assert done.code == 1, done
    assert "the server wants a key" in done.err
    assert "LOCAL_OPUS_API_KEY" in done.err
    status = machine.run("local-opus", "status", user=USER)
    assert status.code == 3
    assert "the server wants a key" in status.out
    own = {"LOCAL_OPUS_API_KEY": keys["second"]}
    done = machine.run(*ask, user=USER, environ=own)
    assert (done.code, "Paris" in done.out) == (0, True), done
    wrong = machine.run(*ask, user=USER, environ={"LOCAL_OPUS_API_KEY": "wrong-" * 5})
    assert wrong.code == 1
    assert "does not take this one" in wrong.err
    assert "wrong-" not in wrong.err
    denied = machine.run("local-opus", "keys", "list", user=USER)
    assert (denied.code, "root" in denied.err) == (1, True), denied
    assert machine.run("local-opus", "keys", "add", "x", "--scope", "system", user=USER).code == 2


def test_no_key_is_anywhere_else(machine: Machine, keys: dict[str, str]) -> None:
    own = machine.run("systemd-creds", "decrypt", "--name=node-key", f"{FOLDER}/node-key.cred", "-")
    assert own.code == 0, own
    words = [*keys.values(), own.out.strip()]
    assert all(len(word) > 40 for word in words)
    found = machine.run("python3", "-I", "-c", _SEEK, *words, timeout=120)
    assert (found.code, found.out, found.err) == (0, "", ""), found
    # Of what the node's own programs printed, and of every unit; not of this test's own commands.
    asked_of = "journalctl --no-pager -o cat -b -u 'local-opus*'; systemctl show 'local-opus*'"
    said = machine.run("sh", "-c", asked_of)
    assert said.code == 0
    assert "Local Opus inference server" in said.out
    assert [word for word in words if word in said.out] == []


def test_the_same_install_again_changes_nothing(node: Node, machine: Machine) -> None:
    again = node.install()
    assert (again.code, "no changes" in again.out) == (0, True), again
    assert_closed(machine)


def test_an_upgrade_keeps_the_keys_and_its_trial_asks_for_them(
    node: Node, machine: Machine, keys: dict[str, str]
) -> None:
    node.shell(
        f"mkdir {NEWER}; cd {INSIDE}; tar c --exclude ./.env . | tar x -C {NEWER}; cd {NEWER}; "
        """sed -i 's/^__version__ = .*/__version__ = "98.0.0"/' src/local_opus/__init__.py"""
    )
    run = node.start("./installer", "upgrade", "--yes", folder=NEWER)
    seen: set[object] = set()
    for event in run:
        if event["event"] == "progress" and event.get("step") in {"ask it", "canary"}:
            asking = "python3", "-I", "-c", _ASK.replace(":8000", ":8001"), "/health"
            seen |= set(json.loads(machine.run(*asking, "X-Nothing: x").out).values())
    code, said = run.end()
    assert code == 0, said
    assert 401 in seen, seen
    assert 200 not in seen, seen
    assert_closed(machine)
    for key in keys.values():
        assert_open_to(machine, key)


def test_a_key_that_is_removed_is_wrong(machine: Machine, keys: dict[str, str]) -> None:
    done = machine.run("local-opus", "keys", "remove", "third", timeout=120)
    assert done.code == 0, str(done)
    found = asked(machine, f"x-api-key: {keys.pop('third')}")
    assert set(found.values()) == {401}
    assert_open_to(machine, keys["first"])


DAMAGES = {
    "cut in half": f"truncate -s 60 {FOLDER}/api-keys.cred",
    "of another machine": f"rm {HOST_KEY}; systemd-creds setup",
    "gone": f"rm {FOLDER}/api-keys.cred",
    "not named by the unit": f"rm /etc/systemd/system/{UNIT}.d/40-local-opus-keys.conf; "
    "systemctl daemon-reload",
    "of nonsense": "mkdir -p /run/x; echo '{' | systemd-creds encrypt --name=api-keys - "
    f"{FOLDER}/api-keys.cred",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_credential_opens_nothing(
    node: Node, machine: Machine, keys: dict[str, str], damage: str
) -> None:
    kept = "/root/kept.tar"
    drop_in = f"etc/systemd/system/{UNIT}.d"
    node.shell(f"tar cf {kept} -C / {FOLDER[1:]} {drop_in} {HOST_KEY[1:]}")
    node.shell(damage)
    machine.run("systemctl", "restart", UNIT, timeout=120)
    found = asked(machine, f"x-api-key: {keys['first']}", paths=("/health",))
    assert 200 not in found.values(), found
    doctor = json.loads(machine.run("local-opus", "doctor", "--json", timeout=120).out)
    check = next(one for one in doctor["results"] if one["id"] == "credentials")
    assert check["state"] == "fail", check
    assert FOLDER in json.dumps(check), check
    node.shell(f"systemctl stop {UNIT}; rm -f {FOLDER}/*; tar xf {kept} -C /; rm {kept}")
    node.shell(f"systemctl daemon-reload; systemctl reset-failed {UNIT} || true")
    start = machine.run("local-opus", "start", timeout=120)
    assert start.code == 0, start
    assert_closed(machine)
    assert_open_to(machine, keys["first"])


def test_what_is_missing_is_made_again(node: Node, machine: Machine, keys: dict[str, str]) -> None:
    node.shell(f"rm {FOLDER}/node-key.cred /etc/systemd/system/{UNIT}.d/40-local-opus-keys.conf")
    done = machine.run("local-opus", "keys", "require", "on", timeout=120)
    assert done.code == 0, str(done)
    node.assert_answers()
    assert_closed(machine)
    assert_open_to(machine, keys["first"])


def test_after_a_reboot_it_still_asks(node: Node, machine: Machine, keys: dict[str, str]) -> None:
    assert machine.reboot() == "running"
    node.wait_ready()
    assert_closed(machine)
    assert_open_to(machine, keys["second"])
    node.assert_answers()


def test_a_clouds_key_is_kept_and_shown_to_nobody(node: Node, machine: Machine) -> None:
    key = "cloud-key-" + "c" * 40
    node.shell(f"printf %s {key} > /root/key; local-opus keys set-cloud openai < /root/key")
    node.shell("rm /root/key")
    listed = machine.run("local-opus", "keys", "list")
    assert "cloud openai" in listed.out
    assert key not in listed.out
    held = machine.run("sh", "-c", f"cat {FOLDER}/cloud-openai.cred; systemctl show '*'")
    assert key not in held.out


def test_an_uninstall_keeps_the_clouds_key_and_names_it(machine: Machine) -> None:
    done = machine.run("local-opus", "uninstall", "--yes", timeout=120)
    assert done.code == 0, str(done)
    assert "your key of openai; --purge removes it" in done.out + done.err
    assert HOST_KEY in done.out + done.err
    assert machine.run("ls", FOLDER).out == "cloud-openai.cred\n"


def test_a_purge_leaves_the_machine_as_it_was_but_for_systemds_own_key(
    node: Node, machine: Machine, before: Tree
) -> None:
    node.shell(f"rm -rf {NEWER}; userdel --remove {USER}")
    done = node.call(*UNINSTALL)
    assert done.code == 0, str(done)
    left = {
        **LEFT_OUT,
        HOST_KEY: "systemd's key for credentials, which others may use since",
        "/etc/passwd-": "of the user of this test",
        "/etc/shadow-": "the same",
        "/etc/subuid*": "the same",
        "/etc/subgid*": "the same",
    }
    assert difference(before, snapshot(machine), left) == []


# -- a user's own ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bea(machine: Machine, pip: Mapping[str, str]) -> Callable[..., Done]:
    """Runs a command as a user with a systemd of her own."""
    assert machine.run("useradd", "--create-home", "bea").code == 0
    assert machine.run("loginctl", "enable-linger", "bea").code == 0
    number = machine.run("id", "--user", "bea").out.strip()
    environ = {
        **pip,
        "LOCAL_OPUS_TUNE": "0",
        "XDG_RUNTIME_DIR": f"/run/user/{number}",
        "PATH": "/home/bea/.local/bin:/usr/local/bin:/usr/bin:/bin",
    }

    def run(*command: str, timeout: int = 60) -> Done:
        return machine.run(*command, user="bea", environ=environ, folder=INSIDE, timeout=timeout)

    return run


def test_a_users_server_is_given_a_plain_credential(
    bea: Callable[..., Done], machine: Machine
) -> None:
    install = ("./installer", "--local-opus", "--model", MODEL, "--yes")
    wait_for_systemd(bea)
    done = bea(*install, timeout=480)
    assert done.code == 0, str(done)
    made = bea("local-opus", "keys", "add", "agent", "--json", timeout=120)
    key = keys_of(made)["agent"]
    said = json.loads(made.out)
    assert (said["encrypted"], said["server_restarted"]) == (False, True)
    assert "256" in said["why_not_encrypted"]
    assert_closed(machine)
    assert_open_to(machine, key)
    chat = bea("local-opus", "chat", "What is the capital of France?", "--temperature", "0")
    assert (chat.code, "Paris" in chat.out) == (0, True), chat
    again = bea(*install, timeout=480)
    assert (again.code, "no changes" in again.out) == (0, True), again


def test_and_it_goes_with_the_install(bea: Callable[..., Done], machine: Machine) -> None:
    done = bea("local-opus", "uninstall", "--purge", "--yes", timeout=120)
    assert done.code == 0, str(done)
    left = machine.run("find", "/home/bea", "-name", "*opus*", "-not", "-path", "*/.cache/*")
    assert left.out == ""
