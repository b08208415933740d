"""What the service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary_campaigns.http.handler import Api
from rotary_campaigns.imports.runner import ImportRunner
from rotary_campaigns.parts import Parts
from rotary_campaigns.webhooks.watcher import Watcher


def registry(api: Api, parts: Parts, runner: ImportRunner, watcher: Watcher) -> CollectorRegistry:
    """A registry of this service and its process."""
    made = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(CampaignsCollector(api, parts, runner, watcher))
    return made


class CampaignsCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, api: Api, parts: Parts, runner: ImportRunner, watcher: Watcher) -> None:
        self._api = api
        self._parts = parts
        self._runner = runner
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        requests = CounterMetricFamily(
            "rotary_campaigns_requests", "Requests answered, by what they asked for.", labels=["route", "status"]
        )
        for (route, status), count in self._api.answered.items():
            requests.add_metric([route, str(status)], count)
        yield requests
        yield GaugeMetricFamily("rotary_campaigns_streams", "Event streams open.", value=self._parts.streams.count)
        yield GaugeMetricFamily(
            "rotary_campaigns_uploads", "Large bodies held in memory.", value=self._parts.uploads.count
        )
        yield CounterMetricFamily(
            "rotary_campaigns_import_workers", "Import workers started.", value=self._runner.started
        )
        attempts = CounterMetricFamily(
            "rotary_campaigns_webhook_attempts",
            "Attempts to deliver, by how they ended. pending: there will be another one.",
            labels=["status"],
        )
        for ended, count in self._parts.sender.attempted.items():
            attempts.add_metric([ended], count)
        yield attempts
        yield CounterMetricFamily(
            "rotary_campaigns_webhook_deliveries", "Deliveries put on record by this replica.", value=self._watcher.told
        )
        yield GaugeMetricFamily(
            "rotary_campaigns_webhook_leader",
            "1 on the replica that looks for what began and ended.",
            value=int(self._watcher.is_leading),
        )
