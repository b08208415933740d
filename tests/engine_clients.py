"""Both clients of the engine behind one interface, so that one test runs with each."""

import asyncio
from collections.abc import Sequence
from ssl import SSLContext
from typing import Protocol

from rotary.engine import BlockingEngine, Engine, EngineLimits, NothingEligible, PickRequest
from rotary.engine.picks import PickedCallerId

PATIENT = EngineLimits(deadline_seconds=60, attempt_seconds=10)
"""So that a slow machine fails no test."""
KINDS = ("asynchronous", "blocking")


class Client(Protocol):
    """Either client, as these tests use it: pick a number, hold it while something happens, and leave its context."""

    async def pick(
        self, group: int, *, lead_id: str | None = None, prefix: str | None = None, idempotency_key: str | None = None
    ) -> PickedCallerId: ...
    async def pick_many(
        self, group: int, requests: Sequence[PickRequest]
    ) -> Sequence[PickedCallerId | NothingEligible]: ...
    async def hold(self, group: int, *, is_placed: bool = False, error: Exception | None = None) -> PickedCallerId: ...
    async def release(self, group: int, pick_id: str) -> None: ...
    async def forget_lead(self, group: int, lead_id: str) -> None: ...


class AsyncClient:
    def __init__(self, engine: Engine) -> None:
        self.pick_many = engine.pick_many
        self.release = engine.release
        self.forget_lead = engine.forget_lead
        self._engine = engine

    async def pick(
        self, group: int, *, lead_id: str | None = None, prefix: str | None = None, idempotency_key: str | None = None
    ) -> PickedCallerId:
        return await self._engine.pick(group, lead_id=lead_id, prefix=prefix, idempotency_key=idempotency_key)

    async def hold(self, group: int, *, is_placed: bool = False, error: Exception | None = None) -> PickedCallerId:
        async with self._engine.pick(group) as pick:
            if is_placed:
                pick.placed()
            if error:
                raise error
        return pick


class BlockingClient:
    def __init__(self, engine: BlockingEngine) -> None:
        self._engine = engine

    async def pick(
        self, group: int, *, lead_id: str | None = None, prefix: str | None = None, idempotency_key: str | None = None
    ) -> PickedCallerId:
        return await asyncio.to_thread(
            self._engine.pick, group, lead_id=lead_id, prefix=prefix, idempotency_key=idempotency_key
        )

    async def pick_many(
        self, group: int, requests: Sequence[PickRequest]
    ) -> Sequence[PickedCallerId | NothingEligible]:
        return await asyncio.to_thread(self._engine.pick_many, group, requests)

    async def hold(self, group: int, *, is_placed: bool = False, error: Exception | None = None) -> PickedCallerId:
        return await asyncio.to_thread(self._hold, group, is_placed, error)

    def _hold(self, group: int, is_placed: bool, error: Exception | None) -> PickedCallerId:
        with self._engine.pick(group) as pick:
            if is_placed:
                pick.placed()
            if error:
                raise error
        return pick

    async def release(self, group: int, pick_id: str) -> None:
        await asyncio.to_thread(self._engine.release, group, pick_id)

    async def forget_lead(self, group: int, lead_id: str) -> None:
        await asyncio.to_thread(self._engine.forget_lead, group, lead_id)


class Clients:
    """Makes clients of one kind, and closes them."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._opened: list[Engine | BlockingEngine] = []

    async def open(
        self, url: str, token: str, limits: EngineLimits = PATIENT, ssl_context: SSLContext | None = None
    ) -> Client:
        if self._kind == "blocking":
            blocking = BlockingEngine(url, token, limits=limits, ssl_context=ssl_context)
            self._opened.append(blocking.__enter__())
            return BlockingClient(blocking)
        engine = Engine(url, token, limits=limits, ssl_context=ssl_context)
        self._opened.append(await engine.__aenter__())
        return AsyncClient(engine)

    async def close(self) -> None:
        for one in self._opened:
            if isinstance(one, Engine):
                await one.__aexit__(None, None, None)
            else:
                one.__exit__(None, None, None)
