"""Whether the facts can be believed, and from when they must be replayed if not.

Redis may come back empty, or older than what it had acknowledged. Three things together tell:

- `rotary:ready` holds the run id of the server process for which the facts are known to be complete. A process that
  started since has another run id, so nobody believes its facts until a consumer has replayed what it may have lost.
- `rotary:epoch` names the generation of the facts; an empty Redis has none.
- `rotary:consumers` holds, of each consumer, how far it has folded. A consumer writes it only over what it wrote last,
  so a server that went back keeps the last good moment until a replay has begun there.
"""

from collections.abc import Mapping
from secrets import token_hex

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from rotary.redis import keys
from rotary.redis.connection import check_server, load_functions, redis_answers

LOCK_SECONDS = 10
"""How long a rebuild's owner may be silent before another takes over."""


class Beat(Struct, frozen=True):
    """One consumer's heartbeat, both UTC milliseconds.

    All that reached the broker before `folded_until_ms` and was delivered to this consumer has been folded.
    """

    folded_until_ms: int
    at_ms: int


class State(Struct, frozen=True):
    """What Redis says of itself. `ready` is the marker as stored; `run_id` that of the process that answered."""

    run_id: str
    epoch: str | None
    ready: str | None
    beats: dict[str, Beat]

    @property
    def is_ready(self) -> bool:
        """Whether the facts are complete."""
        return self.epoch is not None and self.ready is not None and is_ready(self.ready.encode(), self.run_id)


class Progress(Struct, frozen=True):
    """How far a rebuild is: messages replayed of the log's total (estimated from the log's length), and since when."""

    replayed: int
    total: int
    events: int
    started_ms: int
    now_ms: int


def is_ready(marker: bytes | None, run_id: str) -> bool:
    """Whether the marker vouches for the server process with this run id."""
    return marker is not None and marker.split(b":")[0] == run_id.encode()


def decode_beats(stored: Mapping[bytes, bytes]) -> dict[str, Beat]:
    """The hash `rotary:consumers` as read."""
    return {name.decode(): _beat(value) for name, value in stored.items()}


def _beat(value: bytes) -> Beat:
    folded_until, _, at = value.partition(b":")
    return Beat(int(folded_until), int(at))


def _encode_beat(beat: Beat) -> str:
    return f"{beat.folded_until_ms}:{beat.at_ms}"


def _with_its_twin(name: bytes) -> list[bytes]:
    """The keys of facts that must go in one command with this one; none if it holds no facts.

    A day's counters and its identities: a fold between the two would find the one and not the other, and what it then
    folds would be counted twice, or never again.
    """
    customer, mark, rest = name.partition(b"}:")
    match rest.partition(b":"):
        case (b"calls" | b"seen", _, day):
            return [b"".join((customer, mark, kind, day)) for kind in (b"calls:", b"seen:")]
        case (b"flags" | b"fence", _, _):
            return [name]
        case _:
            return []


class StateStore:
    """Reads and moves the state. Every method raises UnavailableError when Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def read(self) -> State:
        """The state in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        pipeline.mget([keys.EPOCH, keys.READY])
        pipeline.hgetall(keys.CONSUMERS)
        with redis_answers():
            server, (epoch, ready), beats = await pipeline.execute()
        return State(server["run_id"], epoch and epoch.decode(), ready and ready.decode(), decode_beats(beats))

    async def begin_epoch(self, now_ms: int, after: str) -> str:
        """Names a new generation of the facts, later than `after`. Only for the owner of the rebuild."""
        fresh = f"{now_ms:013d}-{token_hex(4)}"
        epoch = fresh if fresh > after else f"{after}+"
        with redis_answers():
            await self._client.set(keys.EPOCH, epoch)
        return epoch

    async def beat(self, consumer: str, ready: str, last: Beat | None, beat: Beat) -> bool:
        """Says how far a consumer is. False, and nothing written, if Redis is not where the consumer left it."""
        with redis_answers():
            written = await self._client.fcall(
                "beat", 2, keys.CONSUMERS, keys.READY, consumer, ready, (last and _encode_beat(last)) or "",
                _encode_beat(beat),
            )  # fmt: skip
        return bool(written)

    async def forget(self, consumers: list[str]) -> None:
        """Drops the heartbeats of consumers that are gone for good."""
        if consumers:
            with redis_answers():
                await self._client.hdel(keys.CONSUMERS, *consumers)

    async def prepare(self) -> None:
        """To be called for each new server process: checks its configuration and loads our functions."""
        await check_server(self._client)
        await load_functions(self._client)

    async def distrust(self, *, all_of_it: bool = False) -> None:
        """Nobody believes the facts until a rebuild is complete; of `all_of_it`, that starts at the beginning."""
        with redis_answers():
            await self._client.delete(keys.READY, *([keys.CONSUMERS] if all_of_it else []))

    async def acquire_rebuild(self, owner: str) -> bool:
        """Takes the rebuild for `owner`, or keeps it; false while another has it."""
        with redis_answers():
            return bool(await self._client.fcall("acquire", 1, keys.REBUILD, owner, LOCK_SECONDS))

    async def release_rebuild(self) -> None:
        """Gives back a rebuild that was just acquired and is not needed."""
        with redis_answers():
            await self._client.delete(keys.REBUILD)

    async def wipe(self, owner: str) -> int:
        """Removes all facts, so that the next rebuild counts anew; `owner` must have the rebuild. Returns how many.

        What is folded meanwhile and removed with the rest is in the logs, which are replayed from later than now.
        """
        await self.distrust(all_of_it=True)
        removed, some = 0, list[bytes]()
        with redis_answers():
            async for name in self._client.scan_iter(match="{*}:*", count=2000):
                some += _with_its_twin(name)
                if len(some) >= 1000:
                    removed += await self._client.unlink(*some)
                    some.clear()
                    await self.acquire_rebuild(owner)
            removed += await self._client.unlink(*some, keys.EPOCH)
            await self._client.delete(keys.REBUILD)
        return removed

    async def report(self, owner: str, progress: Progress) -> bool:
        """Publishes the progress and holds the lock; false if it was lost, and the rebuild must begin again."""
        text = msgspec.json.encode(progress)
        with redis_answers():
            return bool(await self._client.fcall("report", 1, keys.REBUILD, owner, LOCK_SECONDS, text))

    async def progress(self) -> Progress | None:
        """The rebuild under way, once it has reported."""
        with redis_answers():
            text = await self._client.hget(keys.REBUILD, "progress")
        return msgspec.json.decode(text, type=Progress) if text else None

    async def last_progress(self) -> Progress | None:
        """How the last rebuild that was finished had gone."""
        with redis_answers():
            text = await self._client.get(keys.REBUILT)
        return msgspec.json.decode(text, type=Progress) if text else None

    async def finish_rebuild(self, owner: str, run_id: str) -> bool:
        """Vouches for the facts of the process `run_id`, if `owner` still has the rebuild; releases it."""
        with redis_answers():
            marker = f"{run_id}:{token_hex(4)}"
            finished = await self._client.fcall("finish", 3, keys.REBUILD, keys.READY, keys.REBUILT, owner, marker)
        return bool(finished)
