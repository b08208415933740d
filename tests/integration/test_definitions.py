"""Definitions in Redis: never older than what was there, and complete or said not to be, on real servers."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import structs
from redis.asyncio import Redis

from histories import group
from integration.definitions import incomplete, stored, version
from integration.private_database import HASH, OTHER_HASH
from integration.private_redis import RedisSnapshot, heard, names
from integration.tcp_proxy import TcpProxy
from rotary.definitions import CustomerDefinition, TokenDefinition, summary
from rotary.errors import UnavailableError
from rotary.policy import Policy
from rotary.redis import keys
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter, Round
from rotary.redis.documents import UnknownSchemaError, decode_group, decode_token, is_complete, part_of
from rotary_consumer.definitions_watch import DefinitionsWatch

TOKEN = TokenDefinition(100, 7, ("telesales_api_access",), 600, None)
PART = part_of(7)
ONE = {PART: 1, keys.TOKEN_DEFINITIONS: 1}
"""How much is in each part after `write`."""


def customer(number: int, *groups: int, name: str = "n", callers: tuple[int, ...] = (18, 19)) -> CustomerDefinition:
    defined = [msgspec.structs.replace(group(()), id=each, name=name) for each in groups]
    return CustomerDefinition(number, Policy(), defined, list(callers))


async def write(redis: Redis, at: int, *, finish: bool = True, name: str = "new") -> None:
    """Customer 7 with groups 3 and 4, and a token, read at a version."""
    writing = DefinitionWriter(redis).round(version(at))
    await writing.begin(ONE)
    await writing.put_customer(customer(7, 3, 4, name=name))
    await writing.put_tokens({HASH: TOKEN}, [OTHER_HASH])
    await writing.flush()
    assert not writing.refused
    if finish:
        assert await writing.finish_resync(ONE) == ONE.keys()


async def late(redis: Redis, at: int) -> Round:
    """A round that began when the database was at this version."""
    writing = DefinitionWriter(redis).round(version(at))
    await writing.begin(ONE)
    await writing.flush()
    return writing


# Writes.


@pytest.mark.parametrize("finished", [True, False])
async def test_an_older_write_of_a_customer_is_refused_whatever_it_writes(redis: Redis, finished: bool) -> None:
    await write(redis, 5, finish=finished)
    before = await stored(redis)
    for harm in ("all", "list", "group", "callers", "gone"):
        writing = await late(redis, 4)
        match harm:
            case "all":
                await writing.put_customer(customer(7, 3, 9, name="old", callers=(1,)))
            case "list":
                await writing.change_customer(7, 5, [summary(each) for each in customer(7, 9).groups], [], [], [])
            case "group":
                await writing.change_customer(7, 5, None, customer(7, 3, name="old").groups, [], [])
            case "callers":
                await writing.change_customer(7, 5, None, [], [1], [18])
            case _:
                await writing.remove_customer(7)
        await writing.flush()
        assert writing.refused == {PART}, harm
        assert PART not in await writing.finish_changes({PART: version(5)})
        assert await stored(redis) == before, harm


async def test_writes_of_one_version_are_pieces_of_one_state(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 5)
    await writing.change_customer(7, 5, None, customer(7, 3, name="same").groups, [20], [])
    await writing.flush()
    assert not writing.refused
    assert (await stored(redis)).callers == {7: {18, 19, 20}}


async def test_a_deleted_group_does_not_come_back(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 6)
    await writing.change_customer(7, 5, [summary(each) for each in customer(7, 4).groups], [], [], [])
    await writing.flush()
    old = await late(redis, 5)
    await old.change_customer(7, 5, None, customer(7, 3).groups, [], [])
    await old.flush()
    assert old.refused == {PART}
    assert (await stored(redis)).groups[7].keys() == {4}


async def test_a_deleted_customer_leaves_its_version_for_a_while_and_does_not_come_back(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 6)
    await writing.remove_customer(7)
    await writing.flush()
    old = await late(redis, 5)
    await old.put_customer(customer(7, 3))
    await old.flush()
    assert old.refused == {PART}
    found = await stored(redis)
    assert (found.groups, found.lists, found.callers, found.allowances) == ({}, {}, {}, {})
    assert await names(redis, f"{keys.facts_prefix(7)}*") == [keys.customer(7)]
    assert 39 * 86400 < await redis.ttl(keys.customer(7)) <= 40 * 86400
    again = await late(redis, 7)
    await again.put_customer(customer(7, 3))
    await again.flush()
    assert (await stored(redis)).groups[7].keys() == {3}
    assert await redis.ttl(keys.customer(7)) == -1


async def test_a_revoked_token_does_not_come_back(redis: Redis) -> None:
    await write(redis, 5, finish=False)
    assert await DefinitionWriter(redis).put_token(version(7), HASH, None) is None
    old = await late(redis, 6)
    await old.put_tokens({HASH: TOKEN, OTHER_HASH: TOKEN}, [])
    await old.flush()
    assert (await stored(redis)).tokens == {OTHER_HASH: TOKEN}
    assert await old.finish_resync({keys.TOKEN_DEFINITIONS: 2}) == set()  # there is one less than was read
    assert 39 * 86400 < await redis.ttl(keys.token(HASH)) <= 40 * 86400
    assert await DefinitionWriter(redis).put_token(version(8), HASH, TOKEN) == TOKEN
    assert await redis.ttl(keys.token(HASH)) == -1


async def test_an_older_write_does_not_replace_a_token_that_expires(redis: Redis) -> None:
    await write(redis, 5, finish=False)
    writer = DefinitionWriter(redis)
    for microsecond in (0, 5000):  # times are encoded in two forms
        ends = datetime(2100, 1, 1, 0, 0, 0, microsecond, UTC)
        newer, older = (structs.replace(TOKEN, expires_at=each) for each in (ends, ends + timedelta(days=1)))
        assert await writer.put_token(version(8), HASH, newer) == newer
        assert await writer.put_token(version(6), HASH, older) == newer
        assert await writer.put_token(version(9), HASH, TOKEN) == TOKEN
        await redis.delete(keys.token(HASH))


@pytest.mark.parametrize("microsecond", [0, 5000])
async def test_a_tombstone_is_kept_while_the_token_could_come_back(redis: Redis, microsecond: int) -> None:
    writer = DefinitionWriter(redis)
    at = datetime.now(UTC).replace(microsecond=microsecond)
    for ends, least_s, most_s in (
        (at - timedelta(days=1), 3500, 3600),
        (at + timedelta(minutes=10), 4100, 4201),
        (at + timedelta(days=400), 39 * 86400, 40 * 86400),
    ):
        await redis.delete(keys.token(HASH))
        await writer.put_token(version(5), HASH, structs.replace(TOKEN, expires_at=ends))
        for newer in (6, 7):  # a second one does not make it last longer
            assert await writer.put_token(version(newer), HASH, None) is None
            assert least_s < await redis.ttl(keys.token(HASH)) <= most_s


async def test_what_a_complete_part_never_had_does_not_come_late(redis: Redis) -> None:
    # Another customer of the same bucket, created and deleted between: nothing of it is left to compare with.
    other = next(number for number in range(8, 10_000) if part_of(number) == PART)
    await write(redis, 5)
    old = await late(redis, 4)
    await old.put_customer(customer(other, 30))
    await old.flush()
    assert old.refused == {PART}
    assert other not in (await stored(redis)).groups


async def test_a_resync_does_not_end_over_what_came_late(redis: Redis) -> None:
    other = next(number for number in range(8, 10_000) if part_of(number) == PART)
    old = DefinitionWriter(redis).round(version(4))
    await old.begin([PART])
    await old.put_customer(customer(other, 30))
    await old.flush()
    writing = await late(redis, 5)
    await writing.put_customer(customer(7, 3))
    assert await writing.finish_resync(ONE) == set()
    assert await DefinitionWriter(redis).customers([PART]) == {7, other}


async def test_a_large_customer_is_written_in_pieces_and_its_caller_ids_change_at_once(redis: Redis) -> None:
    writing = await late(redis, 5)
    callers = tuple(range(1, 12_001))
    await writing.put_customer(customer(7, *range(1, 1301), callers=callers))
    await writing.put_tokens({HASH: TOKEN}, [])
    assert await writing.finish_resync(ONE) == ONE.keys()
    found = await stored(redis)
    assert found.callers == {7: set(callers)}
    assert found.groups[7].keys() == {entry.id for entry in found.lists[7]} == set(range(1, 1301))
    writing = await late(redis, 6)
    await writing.change_customer(7, 9, None, [], range(20_001, 31_001), callers[1000:])
    await writing.flush()
    found = await stored(redis)
    assert found.callers == {7: {*callers[:1000], *range(20_001, 31_001)}}
    assert found.allowances == {7: 9}
    assert not await names(redis, "*next")


async def test_a_write_is_announced_with_the_groups_it_wrote_and_removed(redis: Redis) -> None:
    await write(redis, 5)
    async with heard(redis) as changes:
        writing = await late(redis, 6)
        await writing.change_customer(
            7, 5, [summary(each) for each in customer(7, 4).groups], customer(7, 4).groups, [], []
        )
        await writing.change_customer(7, 5, None, [], [18], [])
        await writing.put_tokens({}, [HASH])
        await writing.flush()
        assert [decoded(message) for message in await changes.messages()] == [
            ["groups", "7", [3, 4]],
            ["tokens", [HASH]],
        ]


def decoded(message: bytes) -> object:
    return msgspec.msgpack.decode(message)


# What was lost.


async def test_a_round_of_which_a_piece_was_lost_does_not_end(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 6)
    await writing.change_customer(7, 5, None, customer(7, 3, name="six").groups, [], [])
    await writing.flush()
    before = await RedisSnapshot.take(redis)
    await writing.change_customer(7, 5, None, customer(7, 4, name="six").groups, [], [])
    await writing.flush()
    await before.restore(redis)
    assert await writing.finish_changes(dict.fromkeys(ONE, version(5))) == {keys.TOKEN_DEFINITIONS}


async def test_a_piece_after_a_lost_one_is_refused_and_puts_no_half_of_a_set_in_place(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 6)
    before = await RedisSnapshot.take(redis)
    await writing.change_customer(7, 5, None, [], [20], [])
    await writing.flush()
    await before.restore(redis)
    await writing.put_customer(customer(7, 3, callers=tuple(range(1, 12_001))))
    await writing.flush()
    assert writing.refused == {PART}
    assert (await stored(redis)).callers == {7: {18, 19}}


async def test_nothing_is_added_to_a_round_of_which_a_piece_was_lost(redis: Redis) -> None:
    await write(redis, 5)
    writing = await late(redis, 6)
    await redis.flushdb()
    await writing.put_customer(customer(7, 3))
    await writing.flush()
    assert writing.refused == {PART}
    assert await names(redis) == []


async def test_changes_do_not_make_complete_what_was_not(redis: Redis) -> None:
    await write(redis, 5, finish=False)
    writing = await late(redis, 6)
    assert await writing.finish_changes({}) == set()
    assert await writing.finish_changes(dict.fromkeys(ONE, version(5))) == set()
    assert PART in await incomplete(redis)


async def test_a_part_that_went_back_is_closed_by_whoever_saw_it_newer(redis: Redis) -> None:
    watch = DefinitionsWatch(DefinitionWriter(redis))
    await write(redis, 5)
    before = await RedisSnapshot.take(redis)
    await watch.look()
    assert not {PART, keys.TOKEN_DEFINITIONS} & await incomplete(redis)
    await DefinitionWriter(redis).put_token(version(6), HASH, None)
    await watch.look()
    await before.restore(redis)
    await watch.look()
    assert keys.TOKEN_DEFINITIONS in await incomplete(redis)
    assert PART not in await incomplete(redis)


def test_a_reader_does_not_believe_what_is_older_than_it_has_seen() -> None:
    assert is_complete(b"1", b"5", b"5")
    assert is_complete(b"1", b"6", b"5")
    assert not is_complete(b"1", b"4", b"5")
    assert not is_complete(None, b"6", b"5")
    assert not is_complete(None, None)


async def test_another_releases_document_is_recognised() -> None:
    for document in (b"\x92\x01\x90", b"\x9a" + b"\x01" * 10, b"\xc0", b""):
        with pytest.raises(UnknownSchemaError, match="being rebuilt"):
            decode_group(document)
        with pytest.raises(UnknownSchemaError):
            decode_token(document)


async def test_redis_that_is_away_is_waited_for(redis_url: str) -> None:
    async with TcpProxy(redis_url) as proxy:
        await proxy.cut()
        async with connect(proxy.url) as client:
            with pytest.raises(UnavailableError, match="Redis is away"):
                await DefinitionWriter(client).touch({PART: version(1)})
