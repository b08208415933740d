"""What services with a public port measure alike."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.http.endpoints import K


def registry_of(own: Collector) -> CollectorRegistry:
    """A registry of a service's own metrics and those of its process."""
    made = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(own)
    return made


def requests(program: str, answered: Mapping[tuple[K, int], int]) -> Metric:
    """The requests answered, from their numbers by what was asked for and status."""
    made = CounterMetricFamily(
        f"{program}_requests", "Requests answered, by what they asked for.", labels=["route", "status"]
    )
    for (route, status), count in answered.items():
        made.add_metric([route, str(status)], count)
    return made


def counts(name: str, documentation: str, label: str, by: Mapping[K, int]) -> Metric:
    """A counter for each value of a label."""
    made = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in by.items():
        made.add_metric([value], count)
    return made
