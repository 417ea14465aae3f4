"""The text of a unit, as systemd reads it."""

from __future__ import annotations

import pytest

from local_opus.unit_text import Setting, service_settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[Service]\nA=1\n\n# B=2\n; C=3\nD = 4 \n", [("A", "1"), ("D", "4")]),
        ("A=0\n[Unit]\nA=1\n[Service]\nA=2\n[Install]\nA=3\n", [("A", "2")]),
        ("[Service]\nA=1\\\n  2\nB=3\n", [("A", "1   2"), ("B", "3")]),
        ("[Service]\nA=1\\\n# no\n2\n", [("A", "1 2")]),
        ("[Service]\nA=1\\\n", [("A", "1")]),
        ("[Service]\nA=\nA=1\nA=2\n", [("A", ""), ("A", "1"), ("A", "2")]),
        ("[Service]\nE=x=y\n", [("E", "x=y")]),
        ("[Service]\nnonsense\n\x00\n", []),
        ("", []),
    ],
)  # fmt: skip
def test_settings_are_read_as_systemd_reads_them(text, found):
    assert [(one.name, one.value) for one in service_settings(text)] == found


def test_a_setting_has_the_line_that_it_begins_on():
    text = "# mine\n[Service]\n\nA=1\\\n  2\n; no\nB=3\n"
    assert service_settings(text) == [Setting(4, "A", "1   2"), Setting(7, "B", "3")]
