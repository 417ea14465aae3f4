"""The metrics of a look, as Prometheus reads them: names and units by its conventions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from local_opus import __version__
from local_opus.monitor.history import HOUR, History
from local_opus.monitor.sight import Condition, Look, Seen

_PREFIX = "local_opus"


def render(look: Look, histories: Mapping[str, History], written_at: float) -> str:
    """Return the text of a look; ``written_at`` is in seconds since the epoch."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Look(look, histories, written_at))
    return generate_latest(registry).decode()


class _Look(Collector):
    """Gives the families of one look."""

    def __init__(self, look: Look, histories: Mapping[str, History], written_at: float) -> None:
        self._look = look
        self._histories = histories
        self._written_at = written_at

    def collect(self) -> Iterator[Metric]:
        """Yield every family; a value that is not known is left out."""
        about = GaugeMetricFamily(
            f"{_PREFIX}_monitor_info", "The monitor's version.", labels=["version"]
        )
        about.add_metric([__version__], 1)
        yield about
        yield GaugeMetricFamily(
            f"{_PREFIX}_monitor_last_look_timestamp_seconds",
            "When the monitor last looked.",
            value=self._written_at,
        )
        yield self._conditions()
        for name, text, value in _GAUGES:
            family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["server"])
            for seen in self._look.servers:
                if (found := value(seen)) is not None:
                    family.add_metric([seen.server], float(found))
            yield family
        yield from self._counters()

    def _conditions(self) -> Metric:
        family = GaugeMetricFamily(
            f"{_PREFIX}_server_condition",
            "1 for the condition that the server is in, else 0.",
            labels=["server", "condition"],
        )
        for seen in self._look.servers:
            for one in Condition:
                family.add_metric([seen.server, one.value], float(seen.condition is one))
        return family

    def _counters(self) -> Iterable[Metric]:
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["server"])
            for server, history in self._histories.items():
                field = name.removeprefix("monitor_").removeprefix("server_")
                family.add_metric([server], float(getattr(history.counts, field)))
            yield family
        engine = CounterMetricFamily(
            f"{_PREFIX}_engine_restarts",
            "How often the server started its engine anew.",
            labels=["server"],
        )
        for seen in self._look.servers:
            if seen.engine is not None:
                engine.add_metric([seen.server], float(seen.engine.restarts))
        yield engine


def _engine(seen: Seen, name: str) -> float | None:
    found = getattr(seen.engine, name) if seen.engine is not None else None
    return None if found is None else float(found)


def _growth(seen: Seen) -> float | None:
    found = seen.memory.growth_bytes_per_hour
    return None if found is None else found / HOUR


def _verified(seen: Seen) -> float | None:
    if seen.weights.skipped is not None or seen.weights.files is None:
        return None if seen.weights.problem is None else 0.0
    return float(seen.weights.problem is None)


#: Name, help, and where its value is; base units: seconds and bytes.
_GAUGES = (
    ("server_sick_in_a_row_looks", "Looks in a row that found the server sick.",
     lambda seen: seen.sick_in_a_row),
    ("server_health_seconds", "How long /health took.", lambda seen: seen.health.seconds),
    ("server_canary_first_token_seconds", "How long the canary's first token took.",
     lambda seen: seen.canary.first_token_seconds),
    ("server_canary_seconds", "How long the canary's whole answer took.",
     lambda seen: seen.canary.total_seconds),
    ("server_canary_tokens_per_second", "Rate at which the canary was decoded.",
     lambda seen: seen.canary.tokens_per_second),
    ("server_baseline_tokens_per_second", "Rate that the install measured.",
     lambda seen: seen.baseline_tokens_per_second),
    ("server_requests_in_flight", "Requests that the engine has not answered.",
     lambda seen: _engine(seen, "requests_in_flight")),
    ("server_engine_turn_age_seconds", "Time since the engine's loop last turned.",
     lambda seen: _engine(seen, "turn_age")),
    ("server_memory_resident_bytes", "Resident memory of server and engine.",
     lambda seen: seen.memory.rss_bytes),
    ("server_memory_proportional_bytes", "Proportional memory of server and engine.",
     lambda seen: seen.memory.pss_bytes),
    ("server_memory_current_bytes", "Memory of the unit's cgroup, with caches.",
     lambda seen: seen.memory.current_bytes),
    ("server_memory_anonymous_bytes", "Memory of the unit's cgroup, without files.",
     lambda seen: seen.memory.anonymous_bytes),
    ("server_memory_peak_bytes", "Peak of the unit's cgroup.",
     lambda seen: seen.memory.peak_bytes),
    ("server_memory_limit_bytes", "Limit of the unit's cgroup.",
     lambda seen: seen.memory.limit_bytes),
    ("server_memory_growth_bytes_per_second", "Growth within the last hour, by a robust slope.",
     _growth),
    ("server_weights_verified", "1 where the weights are as verified, 0 where not.", _verified),
)  # fmt: skip
#: Fields of ``Counts``; the exposition adds ``_total``.
_COUNTERS = {
    "monitor_looks": "Looks at the server.",
    "server_sick": "Looks that found the server sick.",
    "server_canaries": "Canaries that were answered.",
    "server_canaries_failed": "Canaries that were not answered.",
    "server_device_errors": "Errors of GPU and NPU that were met.",
    "server_recoveries": "How often the monitor had the server started anew.",
}
