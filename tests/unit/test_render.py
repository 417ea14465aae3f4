"""Rendering: a value is data, whatever it holds."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.render import as_setting, as_unit, render

NASTY = ['a"b', "a'b", "a%nb", "a$b", "a b", "a\\b", "{{ 7*7 }}", "a;b", "`id`", "$(id)"]


@pytest.mark.parametrize("value", [*NASTY, "a\nb"])
def test_json_holds_the_value(value: str) -> None:
    assert json.loads(render("t", {"t": '{"x": {{ x | json }}}'}, {"x": value})) == {"x": value}


@pytest.mark.parametrize("value", NASTY)
def test_a_shell_sees_one_word(value: str) -> None:
    assert shlex.split(render("t", {"t": "run {{ x | shell }}"}, {"x": value})) == ["run", value]


@pytest.mark.parametrize("value", NASTY)
def test_a_unit_sees_no_specifier_and_no_variable(value: str) -> None:
    text = render("t", {"t": "ExecStart=/bin/x {{ x | unit }}"}, {"x": value})
    assert "%" not in text.replace("%%", "")
    assert "$" not in text.replace("$$", "")
    assert text.count("\n") == 0


@pytest.mark.parametrize("language", ["shell", "unit", "setting"])
@pytest.mark.parametrize("value", ["a\nExecStart=/bin/evil", "a\rb", "a\0b", "a\x85b", "a\u2028b"])
def test_a_control_character_is_refused(language: str, value: str) -> None:
    with pytest.raises(BadInputError, match="can't stand in"):
        render("t", {"t": f"{{{{ x | {language} }}}}"}, {"x": value})


@given(st.text())
def test_no_text_makes_a_second_line_of_a_unit(value: str) -> None:
    for quote in (as_unit, as_setting):
        try:
            quoted = quote(value)
        except BadInputError:
            continue
        assert len(f"X={quoted}".splitlines()) == 1


def test_a_value_without_a_filter_is_an_error() -> None:
    with pytest.raises(LocalOpusError, match="without a filter"):
        render("t", {"t": "{{ x }}"}, {"x": "plain"})


def test_an_unknown_value_is_an_error() -> None:
    with pytest.raises(LocalOpusError, match="'y' is undefined"):
        render("t", {"t": "{{ y | json }}"}, {"x": 1})
