"""What all end-to-end tests share: the lab, one machine a file, tests of a file as steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import lab as labs
import pytest
from machine import WHEELHOUSE, Machine
from nodes import Node
from tree import Tree

_failed: dict[Path, str] = {}
#: What was measured since the last report, by the process that runs the tests.
_fresh: list[str] = []
#: What the reports of all processes came to.
_seconds: dict[str, float] = {}
_figures: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember the first step of a file that failed, and send what was measured with the report."""
    report = yield
    report.user_properties += [("measured", figure) for figure in _fresh]
    _fresh.clear()
    if report.failed:
        _failed.setdefault(item.path, item.name)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what the processes measured, and each file's time."""
    name = report.nodeid.partition("::")[0].rpartition("/")[2]
    _seconds[name] = _seconds.get(name, 0.0) + report.duration
    _figures.extend(str(value) for key, value in report.user_properties if key == "measured")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A file's tests are the steps of one story: after one that failed the rest say nothing."""
    if item.path in _failed:
        pytest.skip(f"{_failed[item.path]} failed before")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured, and what each file took."""
    for name, seconds in sorted(_seconds.items(), key=lambda one: -one[1]):
        _figures.append(f"{name}: {seconds:.0f} s")
    if _figures:
        terminalreporter.section("measured")
        for figure in _figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="session")
def measured() -> Callable[[str], None]:
    """Takes a line for the end of the report."""
    return _fresh.append


@pytest.fixture(scope="session")
def lab() -> Iterator[labs.Lab]:
    """The image and the wheels, made if they are not there."""
    if (reason := labs.why_not()) is not None:
        pytest.skip(reason)
    made, descriptor = labs.prepare()
    _fresh.extend(f"{name} made in {seconds} s" for name, seconds in made.took.items())
    yield made
    os.close(descriptor)


@pytest.fixture(scope="module")
def machine(lab: labs.Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that was just installed, with the checkout on it and no network."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")

    def prepare(tree: Path) -> None:
        labs.copy_checkout(tree / labs.INSIDE.lstrip("/"))

    with Machine(lab, name, prepare) as booted:
        yield booted


@pytest.fixture(scope="session")
def pip() -> dict[str, str]:
    """The package index of a machine without a network: a folder."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELHOUSE}


@pytest.fixture(scope="module")
def node(machine: Machine, pip: dict[str, str]) -> Node:
    """What is installed on the machine for the whole system, by a file's steps."""
    return Node(machine, pip)


@pytest.fixture(scope="module")
def before() -> Tree:
    """The machine before anything was installed; filled by a file's first step."""
    return {}
