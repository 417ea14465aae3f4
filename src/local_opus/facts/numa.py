"""NUMA nodes: which cores and how much memory belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host
from local_opus.values import NumaFacts

FOLDER = "/sys/devices/system/node"
_NODE = re.compile(r"node([0-9]{1,5})")
#: A line of a node's meminfo, e.g. ``Node 0 MemTotal:  32456000 kB``.
_LINE = re.compile(r"^Node \d+ ([\w()]+):\s+(\d{1,20}) kB\s*$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True)
class Raw:
    """Of each node: its number, and the texts of its files, None where one is missing."""

    nodes: tuple[tuple[int, str | None, str | None], ...]


def read(host: Host) -> Raw:
    """Read the nodes' lists of cores and their memory."""
    numbers = sorted(int(found[1]) for name in reading.names(host, FOLDER)
                     if (found := _NODE.fullmatch(name)))  # fmt: skip
    return Raw(
        tuple(
            (
                number,
                reading.text(host, f"{FOLDER}/node{number}/cpulist"),
                reading.text(host, f"{FOLDER}/node{number}/meminfo"),
            )
            for number in numbers
        )
    )


def parse(raw: Raw) -> tuple[NumaFacts, ...]:
    """Return the nodes; one whose files are gone is left out."""
    return tuple(
        NumaFacts(node=node, cpus=cpus.strip(), memory=sizes(memory).get("MemTotal"))
        for node, cpus, memory in raw.nodes
        if cpus is not None and (not cpus.strip() or reading.cpu_list(cpus) is not None)
    )


def sizes(meminfo: str | None) -> dict[str, int]:
    """Return the lines of a node's meminfo in bytes."""
    return {name: int(number) * 1024 for name, number in _LINE.findall(meminfo or "")}
