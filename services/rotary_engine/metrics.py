"""What the engine measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.http.metrics import counts, registry_of, requests
from rotary_engine.engine import Engine
from rotary_engine.http.handler import Api
from rotary_engine.statistics import LATENCY_BOUNDS, Statistics


def registry(api: Api, engine: Engine, statistics: Statistics) -> CollectorRegistry:
    """A registry of this service and its process."""
    return registry_of(EngineCollector(api, engine, statistics))


class EngineCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, api: Api, engine: Engine, statistics: Statistics) -> None:
        self._api = api
        self._engine = engine
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        yield requests("rotary_engine", self._api.answered)
        yield self._picks()
        yield self._closed()
        yield from self._reservations()
        yield self._latency()
        picks = self._engine.picks
        yield _counter(
            "rotary_engine_stale_retries",
            "Picks that were computed again, because flags or definitions changed.",
            picks.stale,
        )
        yield _counter("rotary_engine_plans_made", "Plans of groups made.", picks.plans.made)
        yield _counter("rotary_engine_plans_mended", "Plans of groups brought up to date.", picks.plans.mended)
        yield _counter("rotary_engine_function_calls", "Calls of the picking function.", picks.calls)
        yield _counter("rotary_engine_leads_forgotten", "Leads whose number was forgotten.", self._statistics.forgotten)
        yield _gauge(
            "rotary_engine_watching",
            "1 while the subscription to changes of tokens works.",
            int(self._engine.watch.is_subscribed),
        )

    def _picks(self) -> Metric:
        picks = CounterMetricFamily(
            "rotary_engine_picks",
            "Picks asked for. reason: of a pick, how it was chosen; of a refusal, what keeps most members away.",
            labels=["strategy", "outcome", "reason"],
        )
        for labels, count in self._statistics.picks.items():
            picks.add_metric(labels, count)
        return picks

    def _closed(self) -> Metric:
        return counts(
            "rotary_engine_closed", "Requests refused because nothing may be picked.", "reason", self._statistics.closed
        )

    def _reservations(self) -> Iterator[Metric]:
        yield counts(
            "rotary_engine_reservations_ended",
            "Reservations that ended, of all engines, by how. Every engine reports the same.",
            "how",
            self._engine.picks.ended._asdict(),
        )
        yield _gauge(
            "rotary_engine_reservations_live",
            "Reservations that this engine made and whose time runs, also those confirmed or released since.",
            self._statistics.live(self._engine.picks.now_ms),
        )

    def _latency(self) -> Metric:
        latency = HistogramMetricFamily("rotary_engine_pick_seconds", "From a request's head to its answer.")
        total, buckets = 0, list[tuple[str, float]]()
        for bound, count in zip([*LATENCY_BOUNDS, float("inf")], self._statistics.latencies, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
        latency.add_metric([], buckets, self._statistics.seconds)
        return latency


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
