"""The accelerators' software on this machine: modules, libraries, files for them, packages."""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.facts import libraries, modules, packages
from local_opus.host import Host
from local_opus.values import SoftwareFacts


@dataclass(frozen=True)
class Raw:
    """What each part read."""

    modules: modules.Raw
    libraries: libraries.Raw
    packages: packages.Raw


def read(host: Host) -> Raw:
    """Read each part."""
    return Raw(modules.read(host), libraries.read(host), packages.read(host))


def parse(raw: Raw) -> SoftwareFacts:
    """Return the facts."""
    installed = packages.parse(raw.packages)
    return SoftwareFacts(
        modules=modules.parse(raw.modules),
        libraries=libraries.parse(raw.libraries, installed),
        icds=libraries.parse_icds(raw.libraries),
        packages=installed,
    )
