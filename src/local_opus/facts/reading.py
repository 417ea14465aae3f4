"""Reading files of /proc and /sys, which differ by kernel, driver and container."""

from __future__ import annotations

from local_opus.host import Host

#: Bytes of one read. /proc/sys makes a buffer of the size asked for and refuses large ones.
_CHUNK = 65536
#: 16 MiB. The longest text read is /proc/cpuinfo: about 1.6 KB a thread.
_MAX_CHUNKS = 256

#: A file of /sys holds a page at most (sysfs(5)); what is longer is no word of a kernel's.
_LONGEST_WORD = 4096
#: Characters of a device's name that are shown; the longest of a maker has about 80.
_LONGEST_NAME = 200

#: Of 64 bits; Python refuses to read numbers of thousands of digits.
MAX_DIGITS = 20

#: NR_CPUS of Linux is 8192 at most (arch/x86/Kconfig, MAXSMP); a larger number is no CPU.
MAX_CPUS = 8192


def text(host: Host, path: str) -> str | None:
    """Return a file's text; None where it is not there or can't be read.

    A missing file is an answer here: kernels, drivers and containers each leave some out, and
    some fail only when read (ENODEV, EIO, ELOOP). What None means is for the parser to say.
    """
    chunks: list[bytes] = []
    try:
        with host.files.open_read(path) as stream:
            while len(chunks) < _MAX_CHUNKS and (chunk := stream.read(_CHUNK)):
                chunks.append(chunk)
    except OSError:
        return None
    return b"".join(chunks).decode("utf-8", errors="replace")


def names(host: Host, path: str) -> tuple[str, ...]:
    """Return the sorted names in a folder; none where it is not there or can't be read."""
    try:
        return tuple(host.files.list(path))
    except OSError:
        return ()


def link_name(host: Host, path: str) -> str | None:
    """Return the last part of a link's target; None where there is no link."""
    try:
        return host.files.read_link(path).rstrip("/").rpartition("/")[2] or None
    except OSError:
        return None


def one_line(text: str) -> str:
    """Return a stranger's name as one line: no control characters, blanks joined, not too long."""
    plain = (letter if letter.isprintable() else " " for letter in text[: 10 * _LONGEST_NAME])
    return " ".join("".join(plain).split())[:_LONGEST_NAME]


def word(host: Host, path: str) -> str | None:
    """Return a file's text without the blanks around it; None where there is none."""
    return (text(host, path) or "").strip()[:_LONGEST_WORD] or None


def number(host: Host, path: str) -> int | None:
    """Return the whole number that a file holds; None where it holds none."""
    found = word(host, path) or ""
    fits = len(found) <= MAX_DIGITS and found.isascii() and found.isdecimal()
    return int(found) if fits else None


def exists(host: Host, path: str) -> bool:
    """Tell whether something is at a path. What can't be reached counts as not there."""
    try:
        return host.files.stat(path) is not None
    except OSError:
        return False


def cpu_list(given: str | None) -> frozenset[int] | None:
    """Return the numbers of a kernel list such as ``0-3,8``; None where it is no such list."""
    numbers: set[int] = set()
    for part in (given or "").strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return None
        start, end = int(first), int(last if dash else first)
        if end >= MAX_CPUS:
            return None
        numbers.update(range(start, end + 1))
    return frozenset(numbers)
