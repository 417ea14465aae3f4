"""How exposed each unit of the node is, by `systemd-analyze security`; fails over its bound.

Usage: python3 bench/exposure.py [--scope system|user|both] [--json] [FILE...]

Without FILE it looks at the units that systemd has loaded, with drop-ins, in the given scopes
(both, as far as a systemd answers). A FILE is a unit that need not be installed, and no systemd has
to run. Its name may end with "-" and 8 hex digits, as goldens do; it is a user's where its command
lies in a home folder, or asks the user's systemd. The bounds are in exposure.toml beside this; a
service without one is over it. Needs Python 3.11 and nothing else, so it runs on any node.

Exit code: 0 within the bounds, 2 wrong words, 3 a unit is over its bound, 4 there is nothing to
look at (no systemd-analyze, no unit).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BOUNDS = Path(__file__).with_name("exposure.toml")
PATTERN = "local-opus*.service"
#: Lines that cost most which are shown of each unit, and of one that is over its bound.
COSTLY, COSTLY_OVER = 3, 12
OVER, NOTHING = 3, 4
_OVERALL = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")
_GOLDEN = re.compile(r"-[0-9a-f]{8}\Z")
_HOMES = ("/home/", "/root/", "/.local/")
_ACCELERATORS = {"render", "video"}


class ExposureError(Exception):
    """There is nothing to look at; the text says why."""


@dataclass(frozen=True)
class Exposure:
    """One unit's exposure; ``bound`` None: none is set for it. ``costly``: what costs most."""

    unit: str
    scope: str
    variant: str
    exposure: float
    bound: float | None
    costly: tuple[tuple[float, str, str], ...]

    @property
    def is_over(self) -> bool:
        """Whether it is too much."""
        return self.bound is None or self.exposure > self.bound


def bound_of(
    name: str, scope: str, *, network: str | None, accelerators: bool, path: Path = BOUNDS
) -> float | None:
    """Return the bound of a unit; None: there is none."""
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["unit"]:
        if (entry["name"], entry["scope"]) != (name, scope):
            continue
        if entry.get("network", network) == network:
            return float(entry.get("accelerators", entry["bound"]) if accelerators
                         else entry["bound"])  # fmt: skip
    return None


def call(*command: str) -> str:
    """Return what a command prints. Raises ExposureError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise ExposureError(f"{' '.join(command[:4])}: {said}")
    return done.stdout


def loaded(scope: str) -> Iterator[Exposure]:
    """Yield the exposure of each loaded unit of a scope. Raises ExposureError."""
    user = ("--user",) if scope == "user" else ()
    listed = call("systemctl", *user, "list-unit-files", "--no-legend", "--plain", PATTERN)
    for line in listed.splitlines():
        name, state = line.split()[:2]
        if state == "masked":
            continue
        shown = call("systemctl", *user, "show", "--property=PrivateNetwork,SupplementaryGroups",
                     name)  # fmt: skip
        values = dict(one.split("=", 1) for one in shown.splitlines())
        words = ("systemd-analyze", *user, "security", "--no-pager", name)
        yield _judged(name, scope, values, words)


def offline(file: Path) -> Exposure:
    """Return the exposure of a unit's file that need not be installed. Raises ExposureError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExposureError(f"{file}: {error}") from error
    name = _GOLDEN.sub("", file.name)
    values: dict[str, str] = {"SupplementaryGroups": ""}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        values[key] = f"{values[key]} {value}" if key == "SupplementaryGroups" else value
    command = values.get("ExecStart", "")
    of_user = "--user" in command.split() or any(home in command for home in _HOMES)
    with tempfile.TemporaryDirectory(prefix="exposure-") as folder:
        copy = Path(folder) / name
        copy.write_text(text, encoding="utf-8")
        words = ("systemd-analyze", "security", "--offline=true", "--no-pager", str(copy))
        return _judged(name, "user" if of_user else "system", values, words)


def _judged(name: str, scope: str, values: Mapping[str, str], words: Sequence[str]) -> Exposure:
    overall = _OVERALL.search(call(*words))
    if overall is None:
        raise ExposureError(f"{' '.join(words)}: says no overall exposure level")
    rows = json.loads(call(*words[:-1], "--json=short", words[-1]))
    costs = sorted(
        ((float(row["exposure"]), row["name"], row["description"])
         for row in rows if row["exposure"] is not None),
        key=lambda row: -row[0],
    )  # fmt: skip
    network = "none" if values.get("PrivateNetwork") == "yes" else "loopback"
    groups = _ACCELERATORS & set(values.get("SupplementaryGroups", "").split())
    variant = f"{network}, accelerators" if groups else network
    bound = bound_of(name, scope, network=network, accelerators=bool(groups))
    return Exposure(name, scope, variant, float(overall[1]), bound,
                    tuple(costs))  # fmt: skip


def show(found: Sequence[Exposure]) -> None:
    """Print the table, and what costs most."""
    print(f"{'unit':<30} {'scope':<7} {'network':<23} {'exposure':>8} {'bound':>6}")
    for one in found:
        bound = "none" if one.bound is None else f"{one.bound:.1f}"
        over = "  OVER" if one.is_over else ""
        print(
            f"{one.unit:<30} {one.scope:<7} {one.variant:<23} {one.exposure:>8.1f} {bound:>6}{over}"
        )
    for one in found:
        print(f"\n{one.unit} ({one.scope}): what costs most")
        for cost, name, words in one.costly[: COSTLY_OVER if one.is_over else COSTLY]:
            print(f"  {cost:.1f}  {name:<44} {words}")


def look(scopes: Sequence[str], files: Sequence[Path]) -> list[Exposure]:
    """Return the exposure of what is asked for. Raises ExposureError where there is none."""
    if shutil.which("systemd-analyze") is None:
        raise ExposureError("systemd-analyze: not installed")
    if files:
        return [offline(file) for file in files]
    found: list[Exposure] = []
    silent = []
    for scope in scopes:
        try:
            found += loaded(scope)
        except ExposureError as error:
            if len(scopes) == 1:
                raise
            silent.append(f"the scope {scope}: {error}")
    for line in silent:
        print(f"not looked at: {line}", file=sys.stderr)
    if not found:
        raise ExposureError(f"no unit {PATTERN} is installed in the scope {' or '.join(scopes)}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, print, and say by the exit code whether all is within the bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scope", choices=("system", "user", "both"), default="both")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    scopes = ("system", "user") if given.scope == "both" else (given.scope,)
    try:
        found = look(scopes, given.files)
    except ExposureError as error:
        print(error, file=sys.stderr)
        return NOTHING
    if given.json:
        print(json.dumps([asdict(one) | {"over": one.is_over} for one in found], indent=2))
    else:
        show(found)
    return OVER if any(one.is_over for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
