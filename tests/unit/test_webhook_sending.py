"""Webhooks go to public addresses alone, whatever a name resolves to, and are retried for a day."""

import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from rotary.errors import ConfigurationError
from rotary_campaigns.webhooks.addresses import AddressRefusedError, AllowedAddresses, GuardedResolver
from rotary_campaigns.webhooks.retries import GIVE_UP_AFTER, retry_seconds

BEGAN = datetime(2026, 6, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # a cloud's metadata
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fc00::1", False),
        ("fd12::1", False),
        ("fe80::1", False),
        ("fec0::1", False),  # site-local, as private networks once were
        ("192.0.0.8", False),
        ("192.88.99.1", False),
        ("3fff::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
    ],
)
def test_only_public_addresses_are_sent_to(address: str, *, allowed: bool) -> None:
    assert AllowedAddresses().allows(ip_address(address)) == allowed


def test_an_operator_may_allow_a_private_network() -> None:
    allowed = AllowedAddresses.parse("10.0.0.0/8, fd00::/8")
    assert allowed.allows(ip_address("10.1.2.3"))
    assert allowed.allows(ip_address("::ffff:10.1.2.3"))
    assert not allowed.allows(ip_address("192.168.1.1"))
    with pytest.raises(ConfigurationError, match="ROTARY_WEBHOOK_NETWORKS"):
        AllowedAddresses.parse("10.0.0.0/33")


class Names(AbstractResolver):
    """Answers with one address after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self._answers.pop(0)
        return [ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in addresses]

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_is_bound_to_a_private_address_later_leads_nowhere() -> None:
    resolver = GuardedResolver(AllowedAddresses(), Names(["93.184.216.34"], ["127.0.0.1"]))
    assert [one["host"] for one in await resolver.resolve("host", 443)] == ["93.184.216.34"]
    with pytest.raises(AddressRefusedError):
        await resolver.resolve("host", 443)


async def test_a_name_with_one_private_address_among_public_ones_leads_nowhere() -> None:
    resolver = GuardedResolver(AllowedAddresses(), Names(["93.184.216.34", "10.0.0.1"]))
    with pytest.raises(AddressRefusedError):
        await resolver.resolve("host", 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "::1", "169.254.169.254"])
def test_an_address_in_a_url_is_judged_as_well(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        AllowedAddresses().check_host(host)
    AllowedAddresses().check_host("example.com")
    AllowedAddresses().check_host("93.184.216.34")


def test_retries_come_later_and_later_until_a_day_is_over() -> None:
    now, waits = BEGAN, list[int]()
    while (seconds := retry_seconds(len(waits) + 1, BEGAN, now)) is not None:
        waits.append(seconds)
        now += timedelta(seconds=seconds)
    assert waits == sorted(waits)
    assert waits[0] == 5
    assert timedelta(hours=21) < now - BEGAN <= GIVE_UP_AFTER
