"""``bench device`` on this machine's processor, with the real plugin."""

from __future__ import annotations

from typing import Any

import pytest

from local_opus.devices.measured import Measurement, What
from local_opus.host import Host
from local_opus.runtime.protocol import Message

#: As much as the smallest size of each figure takes.
_MEMORY = 300 << 20


@pytest.fixture(scope="module")
def figures() -> dict[str, Measurement]:
    found: dict[str, Any] = {}

    def keep(message: Message) -> None:
        one = Measurement.model_validate(message["figure"])
        found[one.what] = one

    request: Message = {"device": "CPU", "what": [what.value for what in What], "seconds": 3.0,
                        "limit": 60.0, "memory": _MEMORY}  # fmt: skip
    result = Host().processes.worker("device_bench", request, timeout=120, on_event=keep)
    assert str(result["openvino"]).startswith("20")
    return found


@pytest.mark.parametrize("what", list(What))
def test_every_figure_is_measured_or_says_why_not(
    figures: dict[str, Measurement], what: What
) -> None:
    one = figures[what]
    assert one.problem is None
    if one.lacks is None:
        rates = [one.best, one.high, one.median, one.low]
        assert None not in rates
        assert rates == sorted(rates, reverse=True)
        assert one.runs >= 1


@pytest.mark.parametrize(("what", "ran_as"), [
    (What.INT8, {"i8"}), (What.FP32, {"f32"}), (What.HALF, {"f16", "bf16"}), (What.DECODE, {"f32"}),
])  # fmt: skip
def test_products_ran_in_the_precision_that_is_told(
    figures: dict[str, Measurement], what: What, ran_as: set[str]
) -> None:
    one = figures[what]
    assert one.precision in ran_as or one.lacks
    assert one.kernels
    assert one.right


def test_figures_are_those_of_a_processor(figures: dict[str, Measurement]) -> None:
    """Wide limits: they find a wrong unit, not a busy machine."""
    limits = {What.FP32: (1e-3, 100), What.BLAS: (1e-3, 100), What.READ: (0.1, 5000),
              What.COPY: (0.1, 5000), What.DECODE: (0.1, 5000)}  # fmt: skip
    for what, (low, high) in limits.items():
        median = figures[what].median
        assert median is not None
        assert low < median < high, what


def test_what_there_is_no_time_for_is_not_begun() -> None:
    found: list[Measurement] = []
    request: Message = {"device": "CPU", "what": ["int8", "read"], "seconds": 1.0, "limit": 0.0,
                        "memory": _MEMORY}  # fmt: skip
    Host().processes.worker(
        "device_bench",
        request,
        timeout=60,
        on_event=lambda message: found.append(Measurement.model_validate(message["figure"])),
    )
    assert [one.lacks for one in found] == ["no time was left for it"] * 2


def test_a_device_that_is_not_there_is_told() -> None:
    request: Message = {"device": "GPU.97", "what": ["int8"], "seconds": 1.0, "limit": 60.0,
                        "memory": _MEMORY}  # fmt: skip
    with pytest.raises(Exception, match="device_bench worker"):
        Host().processes.worker("device_bench", request, timeout=60)
