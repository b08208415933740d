"""What the service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary_campaigns.http.handler import Api
from rotary_campaigns.imports.runner import ImportRunner
from rotary_campaigns.parts import Parts


def registry(api: Api, parts: Parts, runner: ImportRunner) -> CollectorRegistry:
    """A registry of this service and its process."""
    made = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(CampaignsCollector(api, parts, runner))
    return made


class CampaignsCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, api: Api, parts: Parts, runner: ImportRunner) -> None:
        self._api = api
        self._parts = parts
        self._runner = runner

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        requests = CounterMetricFamily(
            "rotary_campaigns_requests", "Requests answered, by what they asked for.", labels=["route", "status"]
        )
        for (route, status), count in self._api.answered.items():
            requests.add_metric([route, str(status)], count)
        yield requests
        yield GaugeMetricFamily("rotary_campaigns_streams", "Event streams open.", value=self._parts.streams.count)
        yield CounterMetricFamily(
            "rotary_campaigns_import_workers", "Import workers started.", value=self._runner.started
        )
