"""Numbers as people read them."""

from __future__ import annotations

import pytest

from local_opus.units import rate_text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.034, "0.034"), (1.44, "1.4"), (9.96, "10"), (95.4, "95"), (117.0, "120"), (12345, "12000")],
)
def test_an_expected_rate_has_two_digits_and_no_exponent(rate: float, text: str) -> None:
    assert rate_text(rate) == text
