"""Definition documents, and the check that readers make before they use them.

Every document is a msgpack array that begins with the schema number, so that a reader recognises another release's. The
documents are divided into parts: one for each bucket of customers, and one for the tokens. Each part has a hash that
says whether it is complete; definitions.lua describes its fields. A reader reads `DEFINITIONS_FIELDS` of the part in
the same round trip as the document, and passes the values to `is_complete`.
"""

from collections.abc import Sequence

import msgspec

from rotary.definitions import GroupDefinition, GroupSummary, TokenDefinition
from rotary.errors import UnavailableError
from rotary.redis import keys

SCHEMA = 2
"""The number of the documents' form. It changes with every struct that is in them."""
PARTS = (*(keys.definitions(bucket) for bucket in range(keys.BUCKETS)), keys.TOKEN_DEFINITIONS)
"""The keys of the hashes, one for each part."""
DEFINITIONS_FIELDS = ("complete", "newest")
"""The fields of a part's hash that a reader reads."""
REBUILDING = "The definitions are being rebuilt"
"""The public message while a part is not complete."""

_encode = msgspec.msgpack.Encoder().encode
_group = msgspec.msgpack.Decoder(tuple[int, GroupDefinition])
_groups = msgspec.msgpack.Decoder(tuple[int, tuple[GroupSummary, ...]])
_token = msgspec.msgpack.Decoder(tuple[int, str, TokenDefinition | None])
_PAIR, _TRIPLE = _encode((SCHEMA, None))[:2], _encode((SCHEMA, None, None))[:2]


class UnknownSchemaError(UnavailableError):
    """Another release wrote the document. A projector of this release replaces it."""

    def __init__(self) -> None:
        super().__init__(REBUILDING)


def part_of(customer: int) -> str:
    """The part with the customer's documents."""
    return keys.definitions(keys.bucket_of(customer))


def is_complete(complete: bytes | None, newest: bytes | None, seen: bytes = b"") -> bool:
    """Whether the part's documents are complete and current, by the values of `DEFINITIONS_FIELDS`.

    `seen` is the highest `newest` that the caller has seen in this part. A lower one means that Redis lost writes, and
    a revoked token may be valid again. Keep `newest` only when this returns True.
    """
    return complete is not None and newest is not None and newest >= seen


def encode_group(group: GroupDefinition) -> bytes:
    """The document of a group."""
    return _encode((SCHEMA, group))


def encode_groups(groups: Sequence[GroupSummary]) -> bytes:
    """The document of a customer's list of groups."""
    return _encode((SCHEMA, groups))


def encode_token(version: str, token: TokenDefinition | None) -> bytes:
    """The document of a token, with its version. None stands for a revoked token."""
    return _encode((SCHEMA, version, token))


def decode_group(document: bytes) -> GroupDefinition:
    """Raises UnknownSchemaError for another release's document."""
    _check(document, _PAIR)
    return _group.decode(document)[1]


def decode_groups(document: bytes) -> tuple[GroupSummary, ...]:
    """Raises UnknownSchemaError for another release's document."""
    _check(document, _PAIR)
    return _groups.decode(document)[1]


def decode_token(document: bytes) -> TokenDefinition | None:
    """None for a token that was revoked or deleted. Raises UnknownSchemaError for another release's document."""
    _check(document, _TRIPLE)
    return _token.decode(document)[2]


def _check(document: bytes, head: bytes) -> None:
    if not document.startswith(head):
        raise UnknownSchemaError
