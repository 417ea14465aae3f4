"""What a recording leaves out: all that tells one machine, or its owner, from others alike.

Serial numbers, host names and addresses of networks are in no file that the readers of facts read.
What else could tell is taken out here: names in paths of home folders, ids of containers and users
in the paths of cgroups, members of groups, environments, lists of programs, and OpenVINO's LUID and
those UUIDs that are not made of PCI ids alone. Long files are cut to the lines that are understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from local_opus.facts import cpu, modules, packages
from local_opus.runtime.protocol import Message

_HOMES = re.compile(r"/home/[^/\s\"':]+")
#: Where OpenVINO is installed is of no interest, and often below somebody's home folder.
_OPENVINO = re.compile(r"/[^\s\"']*/(?=libopenvino)")
#: Groups of users begin here (login.defs(5)); their names may be people's.
_FIRST_USER_GROUP = 1000
#: Names in paths of cgroups that are alike everywhere.
_COMMON = frozenset({"", ".", "..", "init.scope", "system.slice", "user.slice", "machine.slice"})
#: Of the loader's files: whoever wrote one may have signed it.
_COMMENT = re.compile(r"#.*")
_OCTAL = re.compile(r"\\([0-7]{3})")
#: UUIDs that say no more than which product it is: vendor 8086 and PCI ids and address (GPU), and
#: the one that Intel's NPU driver gives to every NPU.
_HARMLESS_UUID = re.compile(r"8680[0-9a-f]{28}|80d1d11eb73811eab3de0242ac130004", re.IGNORECASE)
_IDENTITY = re.compile(r"UUID|LUID|GUID|SERIAL")
_CPUINFO = ("processor", "vendor_id", "model name", "physical id", "core id")
_MEMINFO = re.compile(r"(MemTotal|MemFree|MemAvailable|SwapTotal|SwapFree|HugePages_Total"
                      r"|HugePages_Free|Hugepagesize):")  # fmt: skip
_RELEASE = re.compile(r"(ID|ID_LIKE|VERSION_ID|PRETTY_NAME|NAME)=")


class Scrubber:
    """Takes out of each file what does not belong in a recording.

    Names in paths of cgroups are given others; ``real_path`` leads back from those, so that the
    readers can follow the paths that they were given.
    """

    def __init__(self, home: str = "") -> None:
        self._home = home.rstrip("/")
        self._cgroups: dict[str, str] = {}
        #: The groups of the nodes that were looked at: only these are kept of /etc/group.
        self.gids: set[int] = set()
        #: Their names, once /etc/group was read.
        self.groups: dict[int, str] = {}
        self._rules: Mapping[str, Callable[[str], str]] = {
            "/proc/cpuinfo": _cpuinfo,
            "/proc/meminfo": lambda text: _lines(text, _MEMINFO.match),
            "/proc/modules": _loaded,
            "/proc/1/environ": _environment,
            "/proc/self/status": lambda text: _lines(text, re.compile("Cpus_allowed_list:").match),
            "/proc/self/cgroup": self._own_cgroups,
            "/proc/self/mountinfo": self._mounts,
            "/etc/os-release": lambda text: _lines(text, _RELEASE.match),
            "/usr/lib/os-release": lambda text: _lines(text, _RELEASE.match),
            "/etc/group": self._groups,
            packages.DPKG: _installed,
        }

    def text(self, path: str, text: str) -> str:
        """Return what is kept of a file's text."""
        if path in self._rules:
            return self._rules[path](text)
        if path.endswith(("/modules.dep", "/modules.builtin")):
            return _lines(text, _is_ours)
        if path.startswith("/etc/ld.so.conf"):
            return self.words(_COMMENT.sub("", text))
        return self.words(text)

    def names(self, path: str, names: list[str]) -> list[str]:
        """Return what is kept of the names in a folder."""
        if path == packages.PACMAN:
            return [name for name in names if packages.parse(packages.Raw(None, (name,)))]
        return names

    def words(self, text: str) -> str:
        """Return a text without the names of home folders."""
        if self._home not in {"", "/", "/root"}:
            text = re.sub(re.escape(self._home) + r"(?![\w.-])", "/home/user", text)
        return _HOMES.sub("/home/user", text)

    def real_path(self, path: str) -> str:
        """Return where a path leads that was made of names that this gave."""
        real = {given: name for name, given in self._cgroups.items()}
        return "/".join(real.get(part, part) for part in path.split("/"))

    def _given(self, path: str) -> str:
        """Return a cgroup's path with other names, the same one for the same name."""
        parts = []
        for part in path.split("/"):
            if part not in _COMMON and part not in self._cgroups:
                self._cgroups[part] = f"cgroup-{len(self._cgroups) + 1}"
            parts.append(self._cgroups.get(part, part))
        return "/".join(parts)

    def _own_cgroups(self, text: str) -> str:
        kept = []
        for line in text.splitlines():
            number, first, rest = line.partition(":")
            controllers, second, path = rest.partition(":")
            kept.append(f"{number}{first}{controllers}{second}{self._given(path)}\n")
        return "".join(kept)

    def _mounts(self, text: str) -> str:
        kept = []
        for line in text.splitlines():
            before, dash, after = line.partition(" - ")
            fields = before.split(" ")
            if dash and after.startswith("cgroup") and len(fields) > 4:  # noqa: PLR2004 - root, point
                root = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[3])
                fields[3] = self._given(root).replace(" ", "\\040")
                kept.append(f"{' '.join(fields)} - {after}\n")
        return "".join(kept)

    def _groups(self, text: str) -> str:
        kept = []
        for line in text.splitlines():
            name, *rest = line.split(":")
            if len(rest) < 2 or not rest[1].isdecimal() or int(rest[1]) not in self.gids:  # noqa: PLR2004
                continue
            gid = int(rest[1])
            self.groups[gid] = name if gid < _FIRST_USER_GROUP else f"group-{gid}"
            kept.append(f"{self.groups[gid]}:x:{gid}:\n")
        return "".join(kept)


def _lines(text: str, keep: Callable[[str], object]) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if keep(line))


def _is_ours(line: str) -> bool:
    return any(modules.has(line, name) for name in modules.MODULES)


def _loaded(text: str) -> str:
    names = (line.partition(" ")[0] for line in text.splitlines())
    return "".join(f"{name} \n" for name in names if name in modules.MODULES)


def _environment(text: str) -> str:
    return "\0".join(one for one in text.split("\0") if one.startswith("container="))


def _cpuinfo(text: str) -> str:
    """Keep the fields and flags that are understood: Arm's has a serial number, for one."""
    kept = []
    for line in text.splitlines():
        name = line.partition(":")[0].strip()
        if not line.strip():
            kept.append("")
        elif name in _CPUINFO:
            kept.append(line)
        elif name == "flags":
            words = [word for word in line.partition(":")[2].split() if word in {"lm", *cpu.ISA}]
            kept.append(f"flags\t\t: {' '.join(words)}")
    return "\n".join(kept) + "\n"


def _installed(text: str) -> str:
    fields = re.compile(r"(Package|Status|Version): ")
    return "".join(_lines(paragraph, fields.match) + "\n"
                   for _, paragraph in packages.paragraphs(text))  # fmt: skip


def scrub_openvino(answer: Message, scrubber: Scrubber) -> Message:
    """Return the probe's answer without what tells this machine from others alike."""
    found = {name: _scrubbed(name, value, scrubber) for name, value in answer.items()}
    if isinstance(named := found.get("cpu"), dict) and isinstance(named.get("flags"), list):
        found["cpu"] = {**named, "flags": [word for word in named["flags"] if word in cpu.ISA]}
    return found


def _scrubbed(name: str, value: object, scrubber: Scrubber) -> object:
    if isinstance(value, dict):
        return {key: _scrubbed(str(key), item, scrubber) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(name, item, scrubber) for item in value]
    if not isinstance(value, str):
        return value
    if _IDENTITY.search(name) and not _HARMLESS_UUID.fullmatch(value):
        return re.sub(r"\w", "0", value)
    return scrubber.words(_OPENVINO.sub("", value))
