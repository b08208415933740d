"""The address of a client: the peer of its connection, or the one that a trusted proxy vouches for."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import hdrs, web

from rotary.errors import ConfigurationError

Address = IPv4Address | IPv6Address

_FORWARDED = hdrs.X_FORWARDED_FOR


class TrustedProxies:
    """The proxies whose X-Forwarded-For header is believed; none by default."""

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._networks = networks

    @classmethod
    def parse(cls, text: str) -> "TrustedProxies":
        """From addresses and CIDR networks separated by commas. Raises ConfigurationError for anything else."""
        try:
            return cls(tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise ConfigurationError(
                f"ROTARY_TRUSTED_PROXIES is invalid: {error}; expected addresses or networks such as 10.0.0.0/8, ::1"
            ) from None

    def trusts(self, address: Address) -> bool:
        """Whether this address is a proxy of ours."""
        return any(address in network for network in self._networks)

    def client(self, request: web.BaseRequest) -> str:
        """The client's address: the rightmost hop that is not a proxy of ours; empty if the peer has none.

        A proxy appends the address of its peer, so everything left of the first untrusted hop may be invented. A hop
        that is no address ends the walk: the last trusted one stands for whoever is behind it.
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


def parse_address(text: str) -> Address | None:
    """The address that a text spells, an IPv4 one also where it is mapped into IPv6; None if it spells none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def network(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber owns."""
    found = parse_address(address)
    if found is None:
        return address
    return found.exploded[:19] if isinstance(found, IPv6Address) else str(found)


def _parse_hop(text: str) -> Address | None:
    """One entry of X-Forwarded-For. Some proxies add the port: `192.0.2.7:4711`, `[2001:db8::1]:4711`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)
