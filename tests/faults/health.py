"""Whether everything is as it was before a fault: not the facts alone, but speed, lag, metrics and readiness, too."""

from collections.abc import Mapping
from itertools import pairwise

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from faults.world import World

MAX_LAG_SECONDS = 1
MAX_FOLD_LAG_SECONDS = 2.0

Samples = Mapping[tuple[str, str], float]
"""Values by metric and log; the log is empty for what has none."""


async def lacking(world: World) -> list[str]:
    """What is not yet as it was; nothing when all is well. To be asked while no load runs."""
    found, scraped = [], {}
    for name, url in world.ops_urls().items():
        try:
            async with world.session.get(f"{url}/readyz") as response:
                if response.status != 200:
                    found.append(f"{name} is not ready: {(await response.text()).strip()}")
            scraped[name] = await scrape(world.session, url)
        except (aiohttp.ClientError, TimeoutError) as error:
            found.append(f"{name}: {error!r}")
    found += _folding([samples for name, samples in scraped.items() if name.startswith("consumer")])
    return found or await _reading(world)


async def scrape(session: aiohttp.ClientSession, ops_url: str) -> Samples:
    """The metrics of one service."""
    async with session.get(f"{ops_url}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
        return {(sample.name, sample.labels.get("log", "")): sample.value for one in families for sample in one.samples}


def _folding(consumers: list[Samples]) -> list[str]:
    lags: dict[str, float] = {}
    found = []
    for samples in consumers:
        for (name, log), value in samples.items():
            if name == "rotary_fold_lag_seconds":
                # What a consumer no longer reads it no longer tells.
                lags[log] = min(value, lags.get(log, value))
            elif name == "rotary_log_gap" and value:
                found.append(f"{log} has a gap")
    return found + [f"{log} is folded {lag:.1f} s late" for log, lag in lags.items() if lag > MAX_FOLD_LAG_SECONDS]


async def _reading(world: World) -> list[str]:
    """Every monitor is answered, current, and from the cache: reading it once more reads nothing from Redis."""
    url = world.query_ops_url
    cold = []
    for _ in range(2):
        for one in world.customers:
            for group in one.groups:
                reading = await world.api.monitor(one, group)
                if reading.status != 200 or reading.lag_seconds > MAX_LAG_SECONDS:
                    return [f"group {group}: {reading.status} {reading.message}, lag {reading.lag_seconds}"]
        samples = await scrape(world.session, url)
        if samples["rotary_query_watching", ""] != 1:
            return ["the query service does not watch Redis"]
        cold.append(samples["rotary_query_cold_reads_total", ""])
    return ["hot reads are not answered from the cache"] if any(a != b for a, b in pairwise(cold)) else []
