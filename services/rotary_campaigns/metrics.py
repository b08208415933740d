"""What the service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.http.metrics import counts, registry_of, requests
from rotary_campaigns.http.handler import Api
from rotary_campaigns.imports.runner import ImportRunner
from rotary_campaigns.parts import Parts
from rotary_campaigns.webhooks.watcher import Watcher


def registry(api: Api, parts: Parts, runner: ImportRunner, watcher: Watcher) -> CollectorRegistry:
    """A registry of this service and its process."""
    return registry_of(CampaignsCollector(api, parts, runner, watcher))


class CampaignsCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, api: Api, parts: Parts, runner: ImportRunner, watcher: Watcher) -> None:
        self._api = api
        self._parts = parts
        self._runner = runner
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        yield requests("rotary_campaigns", self._api.answered)
        yield GaugeMetricFamily("rotary_campaigns_streams", "Event streams open.", value=self._parts.streams.count)
        yield GaugeMetricFamily(
            "rotary_campaigns_uploads", "Large bodies held in memory.", value=self._parts.uploads.count
        )
        yield CounterMetricFamily(
            "rotary_campaigns_import_workers", "Import workers started.", value=self._runner.started
        )
        yield counts(
            "rotary_campaigns_webhook_attempts",
            "Attempts to deliver, by how they ended. pending: there will be another one.",
            "status",
            self._parts.sender.attempted,
        )
        yield CounterMetricFamily(
            "rotary_campaigns_webhook_deliveries", "Deliveries put on record by this replica.", value=self._watcher.told
        )
        yield GaugeMetricFamily(
            "rotary_campaigns_webhook_leader",
            "1 on the replica that looks for what began and ended.",
            value=int(self._watcher.is_leading),
        )
