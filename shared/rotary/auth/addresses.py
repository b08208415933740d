"""Parses IP addresses, and groups those of one client."""

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """The IP address in a text, or None. An IPv4 address mapped into IPv6 is returned as IPv4."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def client_network(address: str) -> str:
    """The IPv4 address, or the /64 of an IPv6 address: one subscriber owns a whole /64. Other text is unchanged."""
    found = parse_address(address)
    if found is None:
        return address
    return found.exploded[:19] if isinstance(found, IPv6Address) else str(found)
