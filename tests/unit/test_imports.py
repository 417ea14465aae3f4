"""The import rules of the design, read from the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Modules that reach the machine: files, processes, network, clock, environment.
MACHINE = {
    *("os", "io", "shutil", "subprocess", "socket", "ssl", "tempfile", "fcntl", "signal", "select"),
    *(
        "selectors",
        "pwd",
        "grp",
        "resource",
        "ctypes",
        "mmap",
        "multiprocessing",
        "asyncio",
        "glob",
    ),
    *("urllib.request", "http.client", "requests", "httpx", "huggingface_hub", "sqlite3", "pty"),
}
#: What planner and render are without besides: they give the same answer at any time and place.
CLOCK = {"time", "datetime", "random", "secrets", "uuid", "platform", "locale", "threading"}
NATIVE = {"openvino", "openvino_genai", "openvino_tokenizers", "model_signing", "cryptography"}
#: What works on names and memory alone.
HARMLESS = {
    *("os.PathLike", "os.fspath", "os.sep", "io.BytesIO", "io.StringIO", "io.SEEK_SET"),
    *("os.path.join", "os.path.basename", "os.path.dirname", "os.path.normpath", "os.path.isabs"),
}
#: What pathlib and the door's files are called to do; allowed on host's objects only.
FILE_EFFECTS = {
    *(
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "unlink",
        "mkdir",
        "rmdir",
        "iterdir",
    ),
    *("rglob", "symlink_to", "hardlink_to", "chmod", "touch"),
}
ROOMS_BEHIND_HOST = ("facts", "actions", "checks", "weights", "machine", "monitor")
PURE = ("values", "errors", "planner", "render", "devices")
#: serve is a program of its own: it says on standard error why it can't start.
PRINTING = ("cli", "report")
PRINTERS = {"print", "click.echo", "click.secho"}
IMPORTERS = {"__import__", "importlib.import_module", "import_module"}
#: What runs actions and takes them back.
JOURNALLED = {"apply", "journal", "making", "reverting", "rollback"}
EFFECTS = {
    "host",
    "facts",
    "checks",
    "runtime",
    "cli",
    "report",
    "server",
    "bootstrap",
    *JOURNALLED,
}
#: How host's objects are called where they are used.
HOSTS = re.compile(r"\b(?:host|_host|files|_files)\b")
SERVER_MAY = {
    *("server", "values", "errors", "weights.verify", "weights.manifest", "__version__"),
    *("runtime.protocol", "runtime.engine_protocol"),
}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name below local_opus, and its syntax."""

    name: str
    tree: ast.Module
    is_package: bool

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[tuple[str, int, bool]]:
        """Every imported name (``from a import b`` is ``a.b``), its line, and if it waits.

        It waits when it stands in a function, or is for the type checker only.
        """
        inside = {
            id(node)
            for block in ast.walk(self.tree)
            if isinstance(block, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_for_types(block)
            for node in ast.walk(block)
        }
        for node in ast.walk(self.tree):
            for name in self._names(node):
                yield name, getattr(node, "lineno", 0), id(node) in inside

    def _names(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                here = ["local_opus", *self.name.split(".")]
                up = node.level - (1 if self.is_package else 0)
                start = ".".join([*here[: len(here) - up], *([start] if start else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            yield from (str(ast.literal_eval(name)) for name in node.args[:1] if is_text(name))

    def calls(self) -> Iterator[tuple[str, int]]:
        """Every call, by the dotted text of what is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node.lineno


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        and not node.orelse
    )


def within(name: str, families: set[str]) -> bool:
    return any(name == family or name.startswith(family + ".") for family in families)


def parse(name: str, source: str, *, is_package: bool = False) -> Module:
    return Module(name, ast.parse(source), is_package)


def violations(module: Module) -> list[str]:
    """Every broken rule of one module, with its line."""
    found = []
    for name, line, waits in module.imports():
        rules = [*_machine_rules(module, name), *_room_rules(module, name)]
        if within(name, NATIVE) and not (module.room == "runtime" and waits):
            rules.append("only functions of runtime import native libraries")
        found += [f"{module.name}:{line}: {rule}: {name}" for rule in rules]
    for called, line in module.calls():
        found += [f"{module.name}:{line}: {rule}: {called}" for rule in _call_rules(module, called)]
    return found


def _machine_rules(module: Module, name: str) -> Iterator[str]:
    machine = within(name, MACHINE) and not within(name, HARMLESS)
    if module.room in PURE and (machine or within(name, CLOCK)):
        yield "rule 1, nothing outside memory"
    if module.room in ROOMS_BEHIND_HOST and machine:
        yield "rule 2, only host reaches the machine"
    if module.room not in PRINTING and within(name, {"rich", "questionary"}):
        yield "only cli and report print"


def _room_rules(module: Module, name: str) -> Iterator[str]:
    if not name.startswith("local_opus."):
        return
    ours = name.removeprefix("local_opus.")
    if module.room in PURE and within(ours, EFFECTS):
        yield "rule 1, not a room that reaches the machine"
    concrete = within(ours, {"actions"}) and not within(ours, {"actions.base"})
    if module.room in JOURNALLED and concrete:
        yield "rule 3, no concrete action"
    if module.room == "server" and not within(ours, SERVER_MAY):
        yield "rule 4, no room of the server's"


def _call_rules(module: Module, called: str) -> Iterator[str]:
    writes = called.startswith(("sys.stdout.", "sys.stderr.")) and called.endswith(".write")
    if module.room not in PRINTING and (writes or called in PRINTERS):
        yield "only cli and report print"
    if module.room in (*PURE, *ROOMS_BEHIND_HOST):
        receiver, _, last = called.rpartition(".")
        if called == "open" or (last in FILE_EFFECTS and not HOSTS.search(receiver)):
            yield "rules 1 and 2, files are reached through host"


def modules(package: Path) -> list[Module]:
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(package).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(parse(name, path.read_text(), is_package=is_package))
    return found


def test_code_keeps_the_rules(checkout):
    ours = modules(checkout / "src" / "local_opus")
    assert {"errors", "values", "environment"} <= {module.name for module in ours}
    broken = [line for module in ours for line in violations(module)]
    assert not broken, "\n".join(["", *broken])


def reached(start: str, ours: dict[str, Module]) -> list[str]:
    """What a module reaches of the machine, itself or by whatever it imports, with the way there.

    What an import waits for in a function counts too.
    """
    ways = {start: start}
    found = []
    todo = [start]
    while todo:
        here = todo.pop()
        for name, _, _ in ours[here].imports():
            if (within(name, MACHINE) and not within(name, HARMLESS)) or within(name, CLOCK):
                found.append(f"{ways[here]} -> {name}")
            below = name.removeprefix("local_opus.") if name.startswith("local_opus.") else ""
            while below and below not in ours:
                below = below.rpartition(".")[0]
            while below:  # a module's packages are imported before it
                if below in ours and below not in ways:
                    ways[below] = f"{ways[here]} -> {below}"
                    todo.append(below)
                below = below.rpartition(".")[0]
    return found


def says_it_is_pure(module: Module) -> bool:
    said = re.search(r"\bPure\b", ast.get_docstring(module.tree) or "")
    return said is not None or module.room in PURE


def test_what_says_it_is_pure_reaches_nothing_by_what_it_imports(checkout):
    ours = {module.name: module for module in modules(checkout / "src" / "local_opus")}
    pure = {name for name, module in ours.items() if says_it_is_pure(module)}
    assert {"catalog.pick", "devices.chain", "measurements", "tuning.search"} <= pure
    # The planner has each action say what it does, and actions know the host.
    pure = {name for name in pure if name.partition(".")[0] != "planner"}
    broken = [way for name in sorted(pure) for way in reached(name, ours)]
    assert not broken, "\n".join(["", *broken])


def test_what_is_reached_on_a_way_round_is_found():
    texts = {"devices.rank": "from local_opus import help_", "help_": "def f():\n    import socket"}
    ours = {name: parse(name, text) for name, text in texts.items()}
    assert reached("devices.rank", ours) == ["devices.rank -> help_ -> socket"]
    assert reached("help_", {"help_": parse("help_", "import json\nfrom os import sep")}) == []


BREAKING = [
    ("devices.rank", "from local_opus.host import Host", "rule 1"),
    ("devices.rank", "import time", "rule 1"),
    ("planner", "import os", "rule 1"),
    ("planner", "from datetime import datetime", "rule 1"),
    ("planner", "from local_opus.host import Host", "rule 1"),
    ("render", "import time", "rule 1"),
    ("values", "import os.path", "rule 1"),
    ("errors", "from os import environ", "rule 1"),
    ("render", "text = open('x').read()", "rules 1 and 2"),
    ("planner", "from pathlib import Path\nPath('x').read_text()", "rules 1 and 2"),
    ("facts.cpu", "import subprocess", "rule 2"),
    ("actions.write_file", "def f():\n    import shutil", "rule 2"),
    ("checks.port", "__import__('socket')", "rule 2"),
    ("checks.port", "import importlib\nimportlib.import_module('socket')", "rule 2"),
    ("weights.fetch", "import urllib.request", "rule 2"),
    ("weights.fetch", "from requests import get", "rule 2"),
    ("apply", "from local_opus.actions.write_file import WriteFile", "rule 3"),
    ("apply", "from local_opus import actions", "rule 3"),
    ("rollback", "from local_opus.actions.write_file import WriteFile", "rule 3"),
    ("server.app", "from local_opus.host import Host", "rule 4"),
    ("server.app", "from ..cli import main", "rule 4"),
    ("server.api.chat", "from local_opus import actions", "rule 4"),
    ("server.app", "from local_opus.weights import fetch", "rule 4"),
    ("server.app", "def f():\n    import openvino_genai", "import native"),
    ("facts.openvino", "def f():\n    import openvino", "import native"),
    ("runtime.engine", "import openvino", "import native"),
    ("signing", "def f():\n    from model_signing import signing", "import native"),
    ("apply", "print('x')", "print"),
    ("facts.cpu", "import sys\nsys.stdout.write('x')", "print"),
    ("control", "from rich.console import Console", "print"),
    ("node", "import click\nclick.echo('x')", "print"),
]


@pytest.mark.parametrize(("name", "source", "rule"), BREAKING)
def test_broken_rule_is_found(name, source, rule):
    assert any(rule in line for line in violations(parse(name, source)))


KEEPING = [
    ("planner", "from local_opus.values import Plan\nimport json"),
    ("facts.cpu", "from os.path import join"),
    ("facts.cpu", "def f(host):\n    return host.files.read_text('/proc/cpuinfo')"),
    ("apply", "from local_opus.actions.base import Action"),
    ("server.app", "from local_opus.runtime import engine_protocol\nfrom . import settings"),
    ("runtime.engine", "def f():\n    import openvino_genai"),
    ("runtime.model", "if TYPE_CHECKING:\n    import openvino"),
    ("cli.status", "import click\nclick.echo('x')"),
    ("host.files", "import os"),
]


@pytest.mark.parametrize(("name", "source"), KEEPING)
def test_kept_rules_are_no_violation(name, source):
    assert violations(parse(name, source)) == []


#: What a start must not wait for: each costs more than all the rest of ``--help`` together.
HEAVY = {"jinja2", "numpy", "openvino", "pydantic", "questionary", "requests", "rich", "fastapi"}


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "local_opus", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "local_opus.cli" in imported
    assert imported & HEAVY == set()
