"""The check of the sandbox: what the server says, what the kernel says, and what the files say."""

from __future__ import annotations

import pytest
from checks_host import context, install, note, one, settings, write

from local_opus.checks.sandbox import CHECK
from local_opus.errors import LocalOpusError
from local_opus.locations import UNIT as NAME
from local_opus.values import CheckState, Scope
from sandboxes import NAMESPACES, PID, STATUS, UID_MAP, probe, report

UNIT = f"/etc/systemd/system/{NAME}"
DROP_IN = f"{UNIT}.d/mine.conf"
OWN = "[Service]\nNoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\n"


class Server:
    """Answers as the server does."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: object = report().model_dump(mode="json")
        self.asked: list[str] = []

    def request_json(self, address, port, path, **settings):  # type: ignore[no-untyped-def]
        self.asked.append(path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.status, self.answer

    def says(self, *more, **changes) -> None:  # type: ignore[no-untyped-def]
        self.answer = report(*more, **changes).model_dump(mode="json")

    def refuses(self, status: int, message: str) -> None:
        self.status, self.answer = status, {"error": {"message": message}}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def node(host, server):  # type: ignore[no-untyped-def]
    """A machine with an installed and running service."""
    places = install(host, scope=Scope.SYSTEM)
    note(
        host,
        places,
        "server",
        "enable_service",
        scope="system",
        units=[NAME],
        inputs_sha256="0" * 64,
    )
    host.services.runs = True
    host.services.values = {
        "MainPID": str(PID), "LoadState": "loaded", "FragmentPath": UNIT, "DropInPaths": "",
    }  # fmt: skip
    host.network = server
    write(host, UNIT, OWN)
    write(host, f"/proc/{PID}/status", STATUS.format(pid=PID))
    write(host, f"/proc/{PID}/uid_map", UID_MAP)
    return host


def drop_in(node, text: str) -> None:  # type: ignore[no-untyped-def]
    write(node, DROP_IN, text)
    node.services.values["DropInPaths"] = DROP_IN


def found(node, scope: Scope = Scope.SYSTEM):  # type: ignore[no-untyped-def]
    return one(CHECK, context(node, server=settings(), scope=scope))


def test_a_sandbox_that_holds_passes(node):
    result = found(node)
    assert result.state is CheckState.PASS, result
    assert result.evidence == "holds: 7 tries from inside, 5 refused, and each that has to be"


def test_what_is_open_fails_with_the_directive(node, server):
    server.says(
        probe(
            "write-etc",
            allowed=True,
            evidence="done",
            directive="ProtectSystem=strict",
            tried="/etc",
        )
    )
    result = found(node)
    assert result.state is CheckState.FAIL
    assert result.evidence == (
        "1 of 7 tries from inside succeed that should not: write /etc: done; ProtectSystem=strict forbids it"
    )
    assert result.fix.commands == ("local-opus upgrade",)


def test_the_line_of_the_unit_itself_is_named(node, server):
    write(node, UNIT, OWN.replace("ProtectSystem=strict", "ProtectSystem=no"))
    server.says(
        probe(
            "write-etc",
            allowed=True,
            evidence="done",
            directive="ProtectSystem=strict",
            tried="/etc",
        )
    )
    result = found(node)
    assert f"{UNIT}:3: ProtectSystem=no" in result.details[0]
    assert f"{UNIT} (line 3)" in result.fix.text


def test_the_drop_in_that_opens_it_is_named_with_its_line(node, server):
    drop_in(node, "# mine\n[Service]\nMemoryMax=8G\nProtectSystem=no\n")
    server.says(
        probe(
            "write-etc",
            allowed=True,
            evidence="done",
            directive="ProtectSystem=strict",
            tried="/etc",
        )
    )
    result = found(node)
    assert result.state is CheckState.FAIL
    assert f"{DROP_IN}:4: ProtectSystem=no" in result.evidence
    assert result.details == (
        f"write /etc: done; ProtectSystem=strict forbids it; {DROP_IN}:4: ProtectSystem=no",
        f"{DROP_IN}:4: ProtectSystem=no opens the sandbox",
        f"{DROP_IN}:3: MemoryMax=8G: harmless",
    )
    assert result.fix.text == f"Correct {DROP_IN} (line 4); then have systemd read it."
    assert result.fix.commands == (
        f"sudo ${{EDITOR:-vi}} {DROP_IN}", "sudo systemctl daemon-reload", f"sudo systemctl restart {NAME}"
    )  # fmt: skip


def test_a_drop_in_that_takes_effect_at_the_next_start_fails_too(node):
    drop_in(node, "[Service]\nNoNewPrivileges=no\nUser=root\n")
    result = found(node)
    assert result.state is CheckState.FAIL
    assert result.evidence == f"a drop-in opens the sandbox: {DROP_IN}:2: NoNewPrivileges=no"
    assert result.fix.text.startswith(f"Correct {DROP_IN} (lines 2, 3)")


def test_a_harmless_drop_in_is_told(node):
    drop_in(node, "[Service]\nMemoryMax=8G\nEnvironment=A=b\n")
    result = found(node)
    assert result.state is CheckState.PASS
    assert result.details == (
        f"{DROP_IN}:2: MemoryMax=8G: harmless",
        f"{DROP_IN}:3: Environment=A=b: harmless",
    )


def test_a_server_that_lies_fails(node, server):
    write(node, f"/proc/{PID}/status", STATUS.format(pid=PID).replace("Seccomp:\t2", "Seccomp:\t0"))
    result = found(node)
    assert result.state is CheckState.FAIL
    assert result.evidence == (
        "the server does not tell the truth: Seccomp: the server says 2, the kernel says 0"
    )


def test_a_server_of_another_process_fails(node):
    node.services.values["MainPID"] = "99"
    write(node, "/proc/99/status", STATUS.format(pid=99))
    assert f"PID: the server says {PID}, the kernel says 99" in found(node).evidence


def test_what_it_needs_and_is_refused_warns(node, server):
    server.says(probe("write-state", expected=True, evidence="EROFS", tried="/var/lib/private/x"))
    result = found(node)
    assert result.state is CheckState.WARN
    assert result.evidence == "the server is refused what it needs: write /var/lib/private/x: EROFS"


@pytest.mark.parametrize(
    ("status", "message", "state", "words"),
    [
        (404, "There is no GET /sandbox here.", CheckState.WARN, "of a version that can't tell"),
        (403, "No such name.", CheckState.WARN, "/sandbox: No such name."),
        (503, "it did not answer within 10 s", CheckState.WARN, "did not answer within 10 s"),
        (200, "", CheckState.WARN, "no report of a sandbox"),
    ],
)
def test_a_server_that_does_not_tell_warns(node, server, status, message, state, words):
    server.refuses(status, message)
    result = found(node)
    assert result.state is state
    assert words in result.evidence
    assert result.fix is not None


def test_a_server_that_is_silent_warns(node, server):
    server.answer = LocalOpusError("http://127.0.0.1:1/sandbox: no answer", "Start it.")
    assert found(node).state is CheckState.WARN


def test_without_a_running_server_there_is_nothing_to_try(node, server):
    node.services.values["MainPID"] = "0"
    result = found(node)
    assert result.state is CheckState.NOT_APPLICABLE
    assert "does not run" in result.evidence
    assert server.asked == []


def test_a_drop_in_that_opens_it_fails_without_a_running_server(node):
    node.services.values["MainPID"] = "0"
    drop_in(node, "[Service]\nPrivateNetwork=no\nIPAddressDeny=\n")
    result = found(node)
    assert result.state is CheckState.FAIL
    assert result.evidence == (
        f"the server does not run; at its next start a drop-in opens the sandbox: {DROP_IN}:2: PrivateNetwork=no"
    )


def test_without_systemd_there_is_no_sandbox(node):
    node.services.runs = False
    result = found(node)
    assert result.state is CheckState.NOT_APPLICABLE
    assert "ordinary process" in result.evidence


def test_of_a_users_unit_only_what_it_has_must_hold(host, server):
    places = install(host)
    note(
        host, places, "server", "enable_service", scope="user", units=[NAME], inputs_sha256="0" * 64
    )
    unit = f"{places.units}/{NAME}"
    host.services.runs = True
    host.services.values = {
        "MainPID": str(PID), "LoadState": "loaded", "FragmentPath": unit, "DropInPaths": "",
    }  # fmt: skip
    host.network = server
    write(host, unit, "[Service]\nNoNewPrivileges=yes\n")
    opened = probe(
        "write-etc", allowed=True, evidence="done", directive="ProtectSystem=strict", tried="/etc"
    )
    server.says(opened)
    result = found(host, Scope.USER)
    assert result.state is CheckState.PASS, result
    assert "does not enforce ProtectSystem" in result.evidence
    write(host, unit, "[Service]\nProtectSystem=strict\n")
    assert found(host, Scope.USER).state is CheckState.FAIL


def test_without_a_server_it_does_not_arise(host):
    install(host)
    assert found(host, Scope.USER).state is CheckState.NOT_APPLICABLE


def test_the_namespaces_are_compared(node, server):
    from pathlib import Path

    links = Path(f"{node.root}/proc/{PID}/ns")
    links.mkdir(parents=True)
    (links / "mnt").symlink_to("mnt:[1]")
    assert f"the server says {NAMESPACES['mnt']}, the kernel says mnt:[1]" in found(node).evidence
