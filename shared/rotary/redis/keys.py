"""The names of every key. A customer's keys share the hash tag `{<customer_id>}`, hence one slot of a cluster."""

CHANGES_CHANNEL = "rotary:changes"
"""The one pub/sub channel on which everything that changes a projection is announced."""

EPOCH = "rotary:epoch"
"""Names the generation of the facts; absent when Redis is empty."""
READY = "rotary:ready"
"""The run id of the Redis server whose facts are known to be complete; see state.py."""
DEFINITIONS = "rotary:definitions"
"""Present once every definition document was written; its value is the run id of the server they were written to."""
REBUILD = "rotary:rebuild"
"""The rebuild under way: its owner, as a lock that expires, and its progress."""
REBUILT = "rotary:rebuilt"
"""The progress of the last rebuild as it ended."""
CONSUMERS = "rotary:consumers"
"""Hash: consumer → how far it has folded and when it said so."""


def fence(customer: int) -> str:
    """Hash: the epoch, and the last sequence number of each consumer."""
    return f"{{{customer}}}:fence"


def calls(customer: int, caller: int, day: int) -> str:
    """96 unsigned big-endian 16-bit counters, one a quarter hour of the UTC day `day` (days since 1970-01-01)."""
    return f"{{{customer}}}:calls:{caller}:{day}"


def seen(customer: int, caller: int, day: int) -> str:
    """The identities of the calls folded into that day's counters."""
    return f"{{{customer}}}:seen:{caller}:{day}"


def flags(customer: int, caller: int) -> str:
    """The newest flags and the last clear, msgpack."""
    return f"{{{customer}}}:flags:{caller}"


def groups(customer: int) -> str:
    """The customer's group summaries, msgpack."""
    return f"{{{customer}}}:groups"


def group(customer: int, group_id: int) -> str:
    """One group's definition, msgpack."""
    return f"{{{customer}}}:group:{group_id}"


def token(sha256_hex: str) -> str:
    """A bearer token's document, msgpack, under the hash of the whole token."""
    return f"token:{sha256_hex}"
