"""What the query service measures. Requests only bump plain integers; Prometheus' types are made when it asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.http.metrics import registry_of, requests
from rotary_query.cache.group_reader import GroupReader
from rotary_query.http.handler import Api


def registry(api: Api, reader: GroupReader) -> CollectorRegistry:
    """A registry of this service and its process."""
    return registry_of(QueryCollector(api, reader))


class QueryCollector(Collector):
    """Reads the counts where they are kept."""

    def __init__(self, api: Api, reader: GroupReader) -> None:
        self._api = api
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        yield requests("rotary_query", self._api.answered)
        loader, cache, subscriber = self._reader.loader, self._reader.cache, self._reader.subscriber
        yield _counter("rotary_query_cold_reads", "Entries that had to be read from Redis.", loader.entries_read)
        yield _counter("rotary_query_cold_batches", "Batches in which they were read.", loader.batches_read)
        yield _counter("rotary_query_changes", "Change messages heard.", subscriber.changes_heard)
        yield _counter("rotary_query_watch_losses", "Times the subscription to changes was lost.", subscriber.losses)
        yield _gauge("rotary_query_cache_bytes", "What the cache holds, about.", cache.bytes_held)
        yield _gauge("rotary_query_cache_entries", "Groups and lists cached.", len(cache))
        yield _gauge("rotary_query_streams", "Streams open.", self._reader.streams.count)
        yield _gauge(
            "rotary_query_watching", "1 while the subscription to changes works.", int(subscriber.is_subscribed)
        )
        yield _gauge(
            "rotary_query_stale_streams",
            "Streams whose readers were told of old facts.",
            self._reader.streams.stale_count,
        )
        if (age_ms := self._reader.bucket_statuses.oldest_ms()) is not None:
            yield _gauge(
                "rotary_query_projection_lag_seconds", "The greatest age of any bucket's facts.", age_ms / 1000
            )


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
