"""The messages of the change channel. The Redis functions publish them."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from rotary.domain.facts import Flags
from rotary.redis.facts import decode_flags
from rotary.redis.positions import BucketStatus, decode_bucket_status


class CustomerFacts(Struct, frozen=True, array_like=True):
    """The changed facts of a customer: [quarter, count, ...] by caller ID and UTC day, and flags by caller ID."""

    customer: str
    calls: list[tuple[str, int, list[int]]]
    flags: list[tuple[str, Raw]]


class FactsChanged(Struct, frozen=True, array_like=True, tag="facts"):
    """The changes of one fold, by customer."""

    customers: list[CustomerFacts]


class PositionsMoved(Struct, frozen=True, array_like=True, tag="positions"):
    """The statuses of buckets, as [the field `read`, [bucket, ...]], at a time of Redis' clock."""

    now_ms: int
    reads: list[tuple[str, list[int]]]

    def bucket_statuses(self) -> Iterator[tuple[int, BucketStatus]]:
        """Yields each bucket with its status."""
        for read, buckets in self.reads:
            bucket_status = decode_bucket_status(read.encode())
            for bucket in buckets:
                yield bucket, bucket_status


class GenerationSwitched(Struct, frozen=True, array_like=True, tag="generation"):
    """Readers of a bucket now read another generation of its facts."""

    bucket: int
    generation: int


class GroupsChanged(Struct, frozen=True, array_like=True, tag="groups"):
    """Documents of these groups, and the customer's list of groups, were written or removed."""

    customer: str
    groups: list[int]


class TokensChanged(Struct, frozen=True, array_like=True, tag="tokens"):
    """Tokens were created, changed or revoked, by the SHA-256 in hex."""

    hashes: list[str]


Change = FactsChanged | PositionsMoved | GenerationSwitched | GroupsChanged | TokensChanged

decode_change = msgspec.msgpack.Decoder(Change).decode


def read_flags(document: Raw) -> Flags:
    """The flags document in a message. Lua packs its bytes as a msgpack string, which may be invalid UTF-8."""
    packed = memoryview(document)
    width = {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(packed[0], 1)
    return decode_flags(bytes(packed[width:]))
