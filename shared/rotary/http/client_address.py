"""The address of a client: the peer of its connection, or the address that a trusted proxy forwards."""

from ipaddress import IPv4Network, IPv6Network, ip_network

from aiohttp import hdrs, web

from rotary.auth.addresses import Address, parse_address
from rotary.errors import ConfigurationError

_FORWARDED = hdrs.X_FORWARDED_FOR


class TrustedProxies:
    """The proxies whose X-Forwarded-For header is used. There are none by default."""

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._networks = networks

    @classmethod
    def parse(cls, text: str) -> "TrustedProxies":
        """Parses addresses and CIDR networks separated by commas. Raises ConfigurationError for other text."""
        try:
            return cls(tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise ConfigurationError(
                f"ROTARY_TRUSTED_PROXIES is invalid: {error}; expected addresses or networks such as 10.0.0.0/8, ::1"
            ) from None

    def trusts(self, address: Address) -> bool:
        """True if this address is a trusted proxy."""
        return any(address in network for network in self._networks)

    def client(self, request: web.BaseRequest) -> str:
        """The client's address: the rightmost hop that is not a trusted proxy. Empty if the peer has no address.

        A proxy appends the address of its peer, so a client can forge everything left of the first untrusted hop. The
        search stops at a hop that is not an address and returns the last trusted proxy.
        """
        peer = request.remote or ""
        found = parse_address(peer)
        if found is None or not self._networks:
            return peer
        hops = ",".join(request.headers.getall(_FORWARDED, ())).split(",")
        while hops and self.trusts(found):
            hop = _parse_hop(hops.pop())
            if hop is None:
                break
            found = hop
        return str(found)


def _parse_hop(text: str) -> Address | None:
    """One entry of X-Forwarded-For. Some proxies add the port: `192.0.2.7:4711`, `[2001:db8::1]:4711`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)
