"""Memory of Intel's cards by PCI id, for where neither OpenVINO nor the kernel states it."""

from __future__ import annotations

from types import MappingProxyType

_GIB = 2**30
#: What a driver leaves of a card's memory for programs: intel/compute-runtime's FAQ.
_LEFT = 0.95


def _left(gib: int) -> int:
    return int(gib * _GIB * _LEFT)


#: Bytes that programs may use, of the smallest card that is sold under an id. Sources: A580, A750,
#: A770 (8 GB from board makers, 16 GB from Intel), A380: svethardware.cz 58344, Intel's published
#: specifications; A310: fpsbench.com; B570, B580: elotrolado.net; B50: technical.city; B60:
#: havefunesports.com on Computex 2025; B65, B70: zolotukhin.ai, citing Intel's product pages.
CARD_MEMORY = MappingProxyType(
    {
        "8086:56a6": _left(4),  # A310
        "8086:56a5": _left(6),  # A380
        "8086:56a2": _left(8),  # A580
        "8086:56a1": _left(8),  # A750
        "8086:56a0": _left(8),  # A770
        "8086:e20c": _left(10),  # B570
        "8086:e20b": _left(12),  # B580
        "8086:e212": _left(16),  # B50
        "8086:e211": _left(24),  # B60
        "8086:e222": _left(32),  # B65
        "8086:e223": _left(32),  # B70
    }
)
#: What an unknown card is counted with: the smallest of the table. A rule.
UNKNOWN_CARD = _left(4)
