"""Whose request it is: the peer, or the rightmost hop that is no proxy of ours."""

from collections.abc import Sequence

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from rotary.auth.addresses import client_network
from rotary.errors import ConfigurationError
from rotary.http.client_address import TrustedProxies

PROXIES = "10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.1"


def client(peer: str, forwarded: Sequence[str], proxies: str = PROXIES) -> str:
    headers = CIMultiDict([("X-Forwarded-For", line) for line in forwarded])
    return TrustedProxies.parse(proxies).client(make_mocked_request("GET", "/", headers).clone(remote=peer))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.9.9.9,192.0.2.1"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.9.9.9"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:ffff::2", ["2001:db8:1::9"], "2001:db8:1::9"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8:1::9]:4711"], "2001:db8:1::9"),
        ("198.51.100.7", ["203.0.113.5"], "198.51.100.7"),  # no proxy of ours says so
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7, x, 10.0.0.2"], "10.0.0.2"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_client_is_the_rightmost_untrusted_hop(peer: str, forwarded: Sequence[str], expected: str) -> None:
    assert client(peer, forwarded) == expected


def test_nobody_is_believed_by_default() -> None:
    assert client("10.0.0.1", ["198.51.100.7"], proxies="") == "10.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0", "1.2.3.4 5.6.7.8"])
def test_what_is_no_network_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="ROTARY_TRUSTED_PROXIES"):
        TrustedProxies.parse(text)


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("", ""),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_one_subscriber_is_one_address(address: str, counted_as: str) -> None:
    assert client_network(address) == counted_as
