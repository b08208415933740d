"""The names of every key.

Customers are spread over buckets. All keys of a bucket begin with its tag, `{b17}`, hence lie in one slot of a cluster,
and so does the position that says how far the bucket's facts are complete: facts and position are written together.
"""

from functools import lru_cache
from zlib import crc32

BUCKETS = 64
"""How many there are. Each costs a position to be kept fresh, twice a second for each stream."""
CHANGES_CHANNEL = "rotary:changes"
"""The one pub/sub channel on which everything that changes a projection is announced."""
LEASES = "rotary:leases"
"""Hash: which consumers live, and who reads which stream."""
PARKED_TO = "rotary:parked"
"""Hash: of each log, the offset before which all that was refused is on the parked queue."""
REBUILD = "rotary:rebuild"
"""Hash: the generation that is current, and the one that is being built, if any."""
TOKEN_DEFINITIONS = "{token}definitions"  # noqa: S105  # a key's name
"""As `definitions`, of the tokens' documents."""
TOKEN_INDEX = "{token}index"  # noqa: S105  # a key's name
"""Set: the SHA-256, in hex, of every token that has a document."""


@lru_cache(maxsize=65536)
def bucket_of(customer: int) -> int:
    """The bucket of a customer: CRC-32 of its id in decimal, modulo the number of buckets."""
    return crc32(b"%d" % customer) % BUCKETS


def tag(bucket: int) -> str:
    """The hash tag that every key of a bucket begins with."""
    return f"{{b{bucket}}}"


def facts_prefix(customer: int, generation: int = 0) -> str:
    """What the keys of a customer's facts begin with. A rebuild writes the next generation beside the current one."""
    return f"{tag(bucket_of(customer))}{_part(generation)}{customer}:"


def position(bucket: int, generation: int = 0) -> str:
    """Hash: how far each stream is folded into this bucket, and what readers may believe; see positions.py."""
    return f"{tag(bucket)}{_part(generation)}position"


def generation(bucket: int) -> str:
    """The number of the generation that readers read; absent for 0."""
    return f"{tag(bucket)}generation"


def calls(customer: int, caller: int, day: int, generation: int = 0) -> str:
    """96 unsigned big-endian 32-bit counters, one a quarter hour of the UTC day `day` (days since 1970-01-01)."""
    return f"{facts_prefix(customer, generation)}calls:{caller}:{day}"


def seen(customer: int, caller: int, day: int, generation: int = 0) -> str:
    """Set: the identities of the calls folded into that day's counters."""
    return f"{facts_prefix(customer, generation)}seen:{caller}:{day}"


def flags(customer: int, caller: int, generation: int = 0) -> str:
    """The newest flags of each kind and the last clear, msgpack."""
    return f"{facts_prefix(customer, generation)}flags:{caller}"


def unknown(customer: int, day: int, generation: int = 0) -> str:
    """Set: the caller IDs without a definition that got facts on this UTC day, at most the customer's allowance."""
    return f"{facts_prefix(customer, generation)}unknown:{day}"


def definitions(bucket: int) -> str:
    """Hash: which version of the definitions the bucket holds, and whether they are complete; see documents.py."""
    return f"{tag(bucket)}definitions"


def customers(bucket: int) -> str:
    """Set: the customers of the bucket that have documents."""
    return f"{tag(bucket)}customers"


def customer(customer_id: int) -> str:
    """Hash: `version` of the customer's documents, and `allowance`, the unknown caller IDs that get facts in a day."""
    return f"{facts_prefix(customer_id)}customer"


def callers(customer_id: int) -> str:
    """Set: the ids of the customer's caller IDs, whether or not they are in a group."""
    return f"{facts_prefix(customer_id)}callers"


def groups(customer: int) -> str:
    """The customer's group summaries, msgpack."""
    return f"{facts_prefix(customer)}groups"


def group_ids(customer: int) -> str:
    """Set: the ids of the customer's groups that have a document."""
    return f"{facts_prefix(customer)}group-ids"


def group(customer: int, group_id: int) -> str:
    """One group's definition, msgpack."""
    return f"{facts_prefix(customer)}group:{group_id}"


def token(sha256_hex: str) -> str:
    """A bearer token's document, msgpack, under the hash of the whole token."""
    return f"{{token}}{sha256_hex}"


def picks(customer_id: int) -> str:
    """What the functions of functions/picks are given for a key; docs/rotation.md names the keys that they use."""
    return f"{facts_prefix(customer_id)}picks"


def _part(generation: int) -> str:
    return f"{generation}/" if generation else ""
