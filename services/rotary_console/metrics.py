"""What the service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.http.metrics import counts, registry_of, requests
from rotary_console.http.handler import Console
from rotary_console.parts import Parts


def registry(console: Console, parts: Parts) -> CollectorRegistry:
    """A registry of this service and its process."""
    return registry_of(ConsoleCollector(console, parts))


class ConsoleCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, console: Console, parts: Parts) -> None:
        self._console = console
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        yield requests("rotary_console", self._console.answered)
        sign_in = self._parts.sign_in
        outcomes = {"succeeded": sign_in.succeeded, "failed": sign_in.failed, "throttled": sign_in.throttled}
        yield counts("rotary_console_sign_ins", "Attempts to sign in, by how they ended.", "outcome", outcomes)
        yield GaugeMetricFamily(
            "rotary_console_passwords_waiting", "Passwords being hashed, or waiting.", value=self._parts.hashing.waiting
        )
        yield CounterMetricFamily(
            "rotary_console_tokens", "Short-lived tokens made for sessions.", value=self._parts.bearers.made
        )
        yield counts(
            "rotary_console_campaigns_requests",
            "Requests passed on to rotary-campaigns.",
            "outcome",
            self._parts.upstream.outcomes,
        )
