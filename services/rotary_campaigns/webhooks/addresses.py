"""Which addresses webhooks may be sent to: public ones, and the private networks that the operator names.

The check is made on the address that a connection is opened to, after the name was resolved: a name that resolves to a
public address when a webhook is registered, and to a private one later, leads nowhere.
"""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from rotary.errors import ConfigurationError

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20")))
"""Protocol assignments, 6to4 relays, site-local addresses, documentation: to Python 3.11 they are global."""


class AddressRefusedError(OSError):
    """The name leads to an address that webhooks must not be sent to."""

    def __init__(self) -> None:
        super().__init__("The address is not public.")


class AllowedAddresses:
    """Public addresses, and those in `networks`."""

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._networks = networks

    @classmethod
    def parse(cls, text: str) -> "AllowedAddresses":
        """Parses addresses and CIDR networks separated by commas. Raises ConfigurationError for other text."""
        try:
            return cls(tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise ConfigurationError(
                f"ROTARY_WEBHOOK_NETWORKS is invalid: {error}; expected networks such as 10.0.0.0/8, fd00::/8"
            ) from None

    def allows(self, address: Address) -> bool:
        """Whether a webhook may be sent there. An IPv6 address that stands for an IPv4 one is judged as that."""
        inner = _embedded(address)
        if any(address in network or (inner is not None and inner in network) for network in self._networks):
            return True
        return _is_public(address) and (inner is None or _is_public(inner))

    def check_host(self, host: str) -> None:
        """Raises AddressRefusedError for an address, as a URL has it, that is not allowed. Names are not looked up."""
        try:
            address = ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return
        if not self.allows(address):
            raise AddressRefusedError


class GuardedResolver(AbstractResolver):
    """Resolves names to allowed addresses alone."""

    def __init__(self, allowed: AllowedAddresses, inner: AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises AddressRefusedError if one is not allowed: a mixture is an attempt."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            if not self._allowed.allows(ip_address(one["host"].partition("%")[0])):
                raise AddressRefusedError
        return found

    async def close(self) -> None:
        """Releases what resolving needed."""
        await self._inner.close()


def _is_public(address: Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not is_special and not any(address in network for network in _NOT_PUBLIC)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
