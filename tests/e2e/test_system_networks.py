"""The two ways to listen under a real systemd: the server opens its port, systemd does; and back.

One machine; the tests are steps in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from machine import Machine
from nodes import INSTALL, LEFT_OUT, UNINSTALL, UNIT, Node
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

SOCKET = "local-opus.socket"
PROFILE = "/root/open.toml"
OPEN = (*(word for word in INSTALL if word != "--local-opus"), "--profile", PROFILE)
#: systemd-analyze security of the server's unit, as measured: by who listens.
EXPOSURE = {"server": 1.2, "systemd": 0.5}


def assert_listens(node: Node, machine: Machine, who: str) -> None:
    """The server answers, ``who`` listens, and the unit is as hardened as it was measured to be."""
    node.wait_ready()
    node.assert_answers()
    listens = machine.run("systemctl", "is-active", SOCKET).out.strip()
    assert listens == ("active" if who == "systemd" else "inactive")
    done = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.out)
    assert found is not None, done
    assert float(found[1]) <= EXPOSURE[who], done
    units = machine.run(
        "find", "/etc/systemd/system", "-maxdepth", "1", "-type", "f", "-name", "local-opus*"
    ).out.split()
    done = machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.code, done.out, done.err) == (0, "", ""), done


def test_a_profile_without_a_private_network_opens_the_port_itself(
    node: Node, machine: Machine, before: Tree
) -> None:
    before |= snapshot(machine)
    text = 'name = "open"\ndescription = "x"\nextends = "local-opus"\n[server]\nprivate_network = false\n'
    node.shell(f"printf '{text}' >{PROFILE}")
    done = node.call(*OPEN)
    assert done.code == 0, done
    assert_listens(node, machine, "server")


def test_systemd_takes_over_the_port(node: Node, machine: Machine) -> None:
    done = node.install()
    assert done.code == 0, done
    assert_listens(node, machine, "systemd")


def test_another_port_is_opened_by_the_socket(node: Node, machine: Machine) -> None:
    done = node.install("--port", "8125")
    assert done.code == 0, done
    assert node.wait_ready()["url"] == "http://127.0.0.1:8125"
    node.assert_answers()
    assert machine.run("ss", "-Hltn", "sport = :8000").out == ""


def test_a_port_in_the_config_that_has_no_effect_is_told(node: Node, machine: Machine) -> None:
    path = "/etc/local-opus/server.json"
    node.shell(f"sed -i 's/8125/8126/' {path}; systemctl restart {UNIT}")
    assert node.wait_ready()["url"] == "http://127.0.0.1:8125"
    said = " ".join(machine.run("local-opus", "doctor").out.split())  # it is wrapped
    assert "say 127.0.0.1:8126, and have no effect" in said
    node.shell(f"sed -i 's/8126/8125/' {path}")


def test_the_server_takes_the_port_back(node: Node, machine: Machine) -> None:
    done = node.call(*OPEN)
    assert done.code == 0, done
    assert_listens(node, machine, "server")
    assert machine.run("ls", f"/etc/systemd/system/{SOCKET}").code == 2


def test_a_drop_in_of_the_admin_stays(
    node: Node, machine: Machine, before: Tree, measured: Callable[[str], None]
) -> None:
    folder = f"/etc/systemd/system/{UNIT}.d"
    node.shell(
        f"mkdir {folder}; printf '[Service]\\nNice=3\\n' >{folder}/mine.conf; systemctl daemon-reload"
    )
    assert node.install().code == 0
    assert f"{folder}/mine.conf" in machine.run("local-opus", "doctor").out
    done = machine.run("local-opus", *UNINSTALL[1:])
    measured(f"uninstall: {done.seconds:.1f} s")
    assert done.code == 0, done
    assert f"{folder}: mine.conf: yours, so they stay" in done.out + done.err
    node.shell(f"rm -r {folder} {PROFILE}; systemctl daemon-reload")
    assert difference(before, snapshot(machine), LEFT_OUT) == []
