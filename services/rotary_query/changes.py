"""What the change channel says: the messages that the Redis functions and the projector publish."""

import msgspec
from msgspec import Raw, Struct

from rotary.domain.facts import Flag
from rotary.redis.facts import decode_flags

Flags = tuple[tuple[Flag, ...], int | None]
"""Flags, ascending, and the last clear in UTC milliseconds."""


class FactsChanged(Struct, frozen=True, array_like=True, tag="facts"):
    """After one fold: of each caller ID and UTC day, [quarter, its new count, ...]; of each caller ID its new flags."""

    customer: str
    calls: list[tuple[str, int, list[int]]]
    flags: list[tuple[str, Raw]]


class GroupsChanged(Struct, frozen=True, array_like=True, tag="groups"):
    """Documents of these groups were written or removed, and the customer's list with them."""

    customer: str
    groups: list[int]


class TokensChanged(Struct, frozen=True, array_like=True, tag="tokens"):
    """Tokens were created, changed or revoked, by the SHA-256 in hex."""

    hashes: list[str]


class Beaten(Struct, frozen=True, array_like=True, tag="beat"):
    """A consumer's heartbeat, `<folded until>:<said at>`, both UTC milliseconds."""

    beat: str

    @property
    def folded_until_ms(self) -> int:
        """All that reached the broker before this and was delivered to that consumer has been folded."""
        return int(self.beat.partition(":")[0])


class BecameReady(Struct, frozen=True, array_like=True, tag="ready"):
    """A rebuild is complete, under this marker."""

    marker: str


Change = FactsChanged | GroupsChanged | TokensChanged | Beaten | BecameReady

decode_change = msgspec.msgpack.Decoder(Change).decode


def read_flags(document: Raw) -> Flags:
    """The flags document within a message. In Lua bytes are texts: it arrives as a text that is none."""
    packed = memoryview(document)
    width = {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(packed[0], 1)
    return decode_flags(bytes(packed[width:]))
