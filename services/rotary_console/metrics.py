"""What the service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary_console.http.handler import Console
from rotary_console.parts import Parts


def registry(console: Console, parts: Parts) -> CollectorRegistry:
    """A registry of this service and its process."""
    made = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(ConsoleCollector(console, parts))
    return made


class ConsoleCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, console: Console, parts: Parts) -> None:
        self._console = console
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        requests = CounterMetricFamily(
            "rotary_console_requests", "Requests answered, by what they asked for.", labels=["route", "status"]
        )
        for (route, status), count in self._console.answered.items():
            requests.add_metric([route, str(status)], count)
        yield requests
        sign_in = self._parts.sign_in
        attempts = CounterMetricFamily(
            "rotary_console_sign_ins", "Attempts to sign in, by how they ended.", labels=["outcome"]
        )
        outcomes = {"succeeded": sign_in.succeeded, "failed": sign_in.failed, "throttled": sign_in.throttled}
        for outcome, count in outcomes.items():
            attempts.add_metric([outcome], count)
        yield attempts
        yield GaugeMetricFamily(
            "rotary_console_passwords_waiting", "Passwords being hashed, or waiting.", value=self._parts.hashing.waiting
        )
        yield CounterMetricFamily(
            "rotary_console_tokens", "Short-lived tokens made for sessions.", value=self._parts.bearers.made
        )
        passed = CounterMetricFamily(
            "rotary_console_campaigns_requests", "Requests passed on to rotary-campaigns.", labels=["outcome"]
        )
        for ended, count in self._parts.upstream.outcomes.items():
            passed.add_metric([ended], count)
        yield passed
