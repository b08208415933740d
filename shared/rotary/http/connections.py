"""Who is connected: a limit for all clients together, and one for each address, so that nobody shuts out the others."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rotary.auth.addresses import client_network, parse_address
from rotary.http.client_address import TrustedProxies

LOG_SECONDS = 10.0
"""One line in so many seconds for each kind of trouble: a flood of connections is no flood of log lines."""

Trouble = Literal["too many connections from an address", "too many connections", "request head too slow"]
_log = structlog.get_logger("rotary_http")


class Connections:
    """Counts the connections of the public port and says which of them are refused."""

    def __init__(self, proxies: TrustedProxies, most: int, most_per_address: int) -> None:
        self._proxies = proxies
        self._most = most
        self._most_per_address = most_per_address
        self._by_address: Counter[str] = Counter()
        self._logged: dict[Trouble, tuple[float, int]] = {}
        self.count = 0
        self.troubles: Counter[Trouble] = Counter()

    def admit(self, peer: str) -> str | None:
        """Counts a connection; returns what to give to `leave` when it ends, or None if it is refused."""
        address = self._counted_as(peer)
        if self.count >= self._most:
            self.tell("too many connections", peer)
            return None
        if address and self._by_address[address] >= self._most_per_address:
            self.tell("too many connections from an address", peer)
            return None
        self.count += 1
        if address:
            self._by_address[address] += 1
        return address

    def leave(self, address: str) -> None:
        """A connection that was admitted under this address has ended."""
        self.count -= 1
        if address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def tell(self, trouble: Trouble, peer: str) -> None:
        """Counts it, and logs it unless that was done just now."""
        self.troubles[trouble] += 1
        now = asyncio.get_running_loop().time()
        logged_at, before = self._logged.get(trouble, (now - LOG_SECONDS, 0))
        if now - logged_at >= LOG_SECONDS:
            times = self.troubles[trouble] - before
            self._logged[trouble] = now, self.troubles[trouble]
            _log.warning(trouble, times=times, last_from=peer, connections=self.count)

    def _counted_as(self, peer: str) -> str:
        """Nothing for a trusted proxy, behind which many clients may be."""
        found = parse_address(peer)
        return "" if found is not None and self._proxies.trusts(found) else client_network(peer)


class ConnectionCollector(Collector):
    """The same for Prometheus, in metrics whose names begin with the program's."""

    def __init__(self, connections: Connections, program: str) -> None:
        self._connections = connections
        self._program = program

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client for each scrape."""
        yield GaugeMetricFamily(f"{self._program}_connections", "Clients connected.", value=self._connections.count)
        refused = CounterMetricFamily(
            f"{self._program}_connections_refused", "Connections closed by us, by reason.", labels=["reason"]
        )
        reasons: dict[Trouble, str] = {
            "too many connections": "total",
            "too many connections from an address": "address",
            "request head too slow": "slow",
        }
        for trouble, reason in reasons.items():
            refused.add_metric([reason], self._connections.troubles[trouble])
        yield refused
