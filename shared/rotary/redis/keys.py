"""The names of all keys.

Customers are divided into buckets. All keys of a bucket begin with its tag, such as `{b17}`, and are in one slot of a
cluster. The position, which says how far the bucket's facts are complete, is one of them: facts and position are
written together.
"""

from functools import lru_cache
from zlib import crc32

BUCKETS = 64
"""The number of buckets. Each has a position that every stream updates twice a second."""
CHANGES_CHANNEL = "rotary:changes"
"""The pub/sub channel that announces every change of a projection."""
LEASES = "rotary:leases"
"""Hash: the live consumers, and the reader of each stream."""
PARKED_TO = "rotary:parked"
"""Hash: for each log, the offset before which all refused messages are on the parked queue."""
LATE = "rotary:late"
"""Set: the customers that had events about past days, whose history is to be looked at again."""
REBUILD = "rotary:rebuild"
"""Hash: the current generation, and the one that a rebuild writes."""
TOKEN_DEFINITIONS = "{token}definitions"  # noqa: S105  # a key's name
"""As `definitions`, for the tokens' documents."""
TOKEN_INDEX = "{token}index"  # noqa: S105  # a key's name
"""Set: the SHA-256, in hex, of every token with a document."""


@lru_cache(maxsize=65536)
def bucket_of(customer: int) -> int:
    """The bucket of a customer: CRC-32 of its id in decimal, modulo the number of buckets."""
    return crc32(b"%d" % customer) % BUCKETS


def tag(bucket: int) -> str:
    """The hash tag that every key of a bucket begins with."""
    return f"{{b{bucket}}}"


@lru_cache(maxsize=65536)
def facts_prefix(customer: int, generation: int = 0) -> str:
    """The prefix of the keys of a customer's facts. A rebuild writes the next generation beside this one."""
    return f"{tag(bucket_of(customer))}{_part(generation)}{customer}:"


def position(bucket: int, generation: int = 0) -> str:
    """Hash: how far each stream is folded into this bucket, and its status for readers; see positions.py."""
    return f"{tag(bucket)}{_part(generation)}position"


def generation(bucket: int) -> str:
    """The number of the generation that readers read; absent for 0."""
    return f"{tag(bucket)}generation"


def calls(customer: int, caller: int, day: int, generation: int = 0) -> str:
    """96 unsigned big-endian 32-bit counters, one for each quarter hour of the UTC day (days since 1970-01-01)."""
    return f"{facts_prefix(customer, generation)}calls:{caller}:{day}"


def seen(customer: int, caller: int, day: int, generation: int = 0) -> str:
    """Set: the identities of the calls folded into that day's counters."""
    return f"{facts_prefix(customer, generation)}seen:{caller}:{day}"


def flags(customer: int, caller: int, generation: int = 0) -> str:
    """The newest flags of each kind and the last clear, msgpack."""
    return f"{facts_prefix(customer, generation)}flags:{caller}"


def flagged(customer: int, generation: int = 0) -> str:
    """Sorted set: the caller IDs whose flags changed lately, by the version of the change in microseconds."""
    return f"{facts_prefix(customer, generation)}flagged"


def unknown(customer: int, day: int, generation: int = 0) -> str:
    """Set: the caller IDs without a definition that got facts on this UTC day, at most the customer's allowance."""
    return f"{facts_prefix(customer, generation)}unknown:{day}"


def definitions(bucket: int) -> str:
    """Hash: the version of the bucket's definitions, and whether they are complete; see documents.py."""
    return f"{tag(bucket)}definitions"


def customers(bucket: int) -> str:
    """Set: the customers of the bucket with documents."""
    return f"{tag(bucket)}customers"


def customer(customer_id: int) -> str:
    """Hash: the `version` of the customer's documents, and the daily `allowance` of unknown caller IDs."""
    return f"{facts_prefix(customer_id)}customer"


def callers(customer_id: int) -> str:
    """Set: the ids of all of the customer's caller IDs."""
    return f"{facts_prefix(customer_id)}callers"


def groups(customer: int) -> str:
    """The customer's group summaries, msgpack."""
    return f"{facts_prefix(customer)}groups"


def group_ids(customer: int) -> str:
    """Set: the ids of the customer's groups with a document."""
    return f"{facts_prefix(customer)}group-ids"


def group(customer: int, group_id: int) -> str:
    """One group's definition, msgpack."""
    return f"{facts_prefix(customer)}group:{group_id}"


def token(sha256_hex: str) -> str:
    """A bearer token's document, msgpack, under the hash of the whole token."""
    return f"{{token}}{sha256_hex}"


def ticket(sha256_hex: str) -> str:
    """The SHA-256, in hex, of the token for which a ticket stands, under the hash of the ticket. It expires."""
    return f"{{ticket:{sha256_hex}}}"


def picks(customer_id: int) -> str:
    """What the functions of functions/picks are given for a key; docs/rotation.md names the keys that they use."""
    return f"{facts_prefix(customer_id)}picks"


def _part(generation: int) -> str:
    return f"{generation}/" if generation else ""
