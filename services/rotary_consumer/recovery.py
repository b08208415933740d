"""Keeping the facts believable: notices that Redis lost something, replays it, and only then vouches for the facts.

How it is noticed, and from when to replay, is told in rotary/redis/state.py. One consumer rebuilds at a time; all go on
folding live events meanwhile, because the fold is order-free and remembers what it has seen.
"""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.process.backoff import Backoff
from rotary.redis.fold import FenceError, Folder
from rotary.redis.state import Beat, State, StateStore
from rotary_consumer import metrics
from rotary_consumer.progress import ProgressReport, RebuildLostError
from rotary_consumer.replay import Replay, Report
from rotary_consumer.watermark import Watermark

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
MARGIN_MS = 30_000
"""How much earlier than the last good moment a replay begins: clocks differ, and streams seek by whole chunks."""
OVERLAP_MS = 5_000
"""How much of the logs a start replays although nothing seems to be missing."""
SETTLED_MS = 60_000
"""How long a consumer must have run before it judges others dead."""


class Recovery:
    """One per consumer; `run` it beside the fold loop, which asks it whether folding makes sense."""

    def __init__(  # the one place that joins Redis and the logs
        self,
        name: str,
        store: StateStore,
        folder: Folder,
        replaying: Folder,
        url: str,
        watermark: Watermark,
        clock: Clock,
    ) -> None:
        self._name = name
        self._store = store
        self._folder = folder
        self._replaying = replaying
        self._url = url
        self._watermark = watermark
        self._clock = clock
        self._started_ms = clock()
        self._run_id = ""
        self._marker: str | None = None
        self._last_beat: Beat | None = None
        self._unanswered: set[Beat] = set()
        self._broken: FenceError | None = None
        self._announced: int | None = None
        self._settled = asyncio.Event()
        self._wake = asyncio.Event()

    async def settled(self) -> None:
        """Returns once the generation to fold into is known."""
        await self._settled.wait()

    def missing(self) -> list[str]:
        """What readiness lacks."""
        return [] if self._marker else ["Redis: the facts are being rebuilt"]

    def unsettle(self, error: FenceError) -> None:
        """A fold found Redis elsewhere than we left it."""
        logger.warning("Redis is not where this consumer left it: %s", error)
        self._broken = error
        self._settled.clear()
        self._wake.set()

    async def run(self) -> None:
        """Watches, beats and rebuilds, for as long as the process lives."""
        backoff = Backoff(most=1.0)
        while True:
            try:
                self._wake.clear()
                await self._step()
                backoff.reset()
                await self._pause(BEAT_SECONDS if self._marker else 0.2)
            except UnavailableError as error:
                await backoff.wait(error.what)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _step(self) -> None:
        state = await self._read()
        if state.is_ready and state.ready != self._marker:
            await self._adopt(state)
        elif not (state.is_ready and self._broken is None and await self._beat(state)):
            await self._recover(state)

    async def _read(self) -> State:
        state = await self._store.read()
        if state.run_id != self._run_id:
            await self._store.prepare()
            self._run_id = state.run_id
        return state

    async def _adopt(self, state: State) -> None:
        """Somebody vouched for the facts since we last looked: what we remember of the time before means nothing."""
        assert state.epoch is not None
        starting = not self._folder.epoch
        self._marker = state.ready
        self._last_beat = state.beats.get(self._name)
        self._unanswered.clear()
        self._settle(state.epoch)
        if starting:
            # Cheap, and it covers whatever reached Redis and the broker in another order than we think.
            with contextlib.suppress(FenceError):
                await self._replay(state, self._clock() - OVERLAP_MS, _unreported)

    def _settle(self, epoch: str) -> None:
        self._broken = None
        self._folder.begin(epoch)
        self._settled.set()

    async def _beat(self, state: State) -> bool:
        """Says how far we are, once we know. False if Redis went back without anybody having noticed."""
        assert self._marker is not None
        if not self._watermark.folded_until_ms:
            return True
        beat = Beat(self._watermark.folded_until_ms, self._clock())
        self._unanswered.add(beat)
        if not await self._store.beat(self._name, self._marker, self._last_beat, beat):
            return self._is_explained(await self._store.read())
        self._last_beat = beat
        self._unanswered.clear()
        await self._store.forget(self._dead(state.beats, beat))
        return True

    def _is_explained(self, state: State) -> bool:
        """Why a beat did not find what we wrote last; false if only a server that went back can be the reason."""
        if state.ready != self._marker:
            return True  # it changed since we read it
        stored = state.beats.get(self._name)
        if stored is None or stored not in self._unanswered:
            return False
        self._last_beat = stored  # it was written, and the reply was lost
        return True

    def _dead(self, beats: dict[str, Beat], mine: Beat) -> list[str]:
        """Those who fell silent before all that we hold arrived: what they had not folded has long been delivered."""
        if mine.at_ms - self._started_ms < SETTLED_MS:
            return []
        return [name for name, beat in beats.items() if beat.at_ms < mine.folded_until_ms - MARGIN_MS]

    async def _recover(self, state: State) -> None:
        self._marker = None
        emptied = self._broken is not None and self._broken.kind == "EPOCH"
        if state.is_ready:
            await self._store.distrust(all_of_it=emptied)
        if await self._store.acquire_rebuild(self._name):
            state = await self._read()
            if state.is_ready:  # by another's rebuild, which ended after we had looked
                await self._store.release_rebuild()
            else:
                await self._begin(state, emptied=emptied)
        elif state.epoch is not None and state.epoch > self._folder.epoch:
            # Another rebuilds: live events belong to its generation.
            self._settle(state.epoch)

    async def _begin(self, state: State, *, emptied: bool) -> None:
        """Settles on a generation that no fence is ahead of, and rebuilds it."""
        # Redis may have come back from before a generation that fences, or we, know already: then only a newer will do.
        outdated = state.epoch is None or state.epoch < self._folder.epoch
        if outdated or (emptied and state.epoch == self._folder.epoch):
            await self._store.begin_epoch(self._clock(), max(self._folder.epoch, state.epoch or ""))
            state = await self._read()
        assert state.epoch is not None
        if state.epoch != self._folder.epoch or self._broken is not None:
            self._settle(state.epoch)
        await self._rebuild(state)

    async def _rebuild(self, state: State) -> None:
        since_ms = min((beat.folded_until_ms for beat in state.beats.values()), default=MARGIN_MS) - MARGIN_MS
        began = time.monotonic()
        if self._announced != since_ms:
            logger.warning("rebuilding the facts from %s", _moment(since_ms))
            self._announced = since_ms
        metrics.REBUILDING.set(1)
        try:
            await self._replay(state, since_ms, ProgressReport(self._store, self._name, self._clock).report)
            if await self._store.finish_rebuild(self._name, state.run_id):
                self._announced = None
                logger.warning("the facts are complete again after %.1f s", time.monotonic() - began)
        except (FenceError, RebuildLostError) as error:
            logger.warning("the rebuild must begin again: %s", error)
            self._broken = error if isinstance(error, FenceError) else self._broken
        finally:
            metrics.REBUILDING.set(0)

    async def _replay(self, state: State, since_ms: int, report: Report) -> None:
        assert state.epoch is not None
        self._replaying.begin(state.epoch)
        replay = Replay(self._url, self._replaying.fold, report, self._clock)
        await replay.run(since_ms if since_ms > 0 else None)


async def _unreported(_replayed: int, _total: int, _events: int) -> None:
    return


def _moment(since_ms: int) -> str:
    return datetime.fromtimestamp(since_ms // 1000, UTC).isoformat() if since_ms > 0 else "the beginning of the logs"
