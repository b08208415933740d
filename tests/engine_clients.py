"""Both clients of the engine behind one interface, so that one test runs with each."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from rotary.engine import BlockingEngine, BlockingPick, Engine, EngineLimits, NothingEligible, Pick, PickRequest

PATIENT = EngineLimits(deadline_seconds=60, attempt_seconds=10)
"""So that a slow machine fails no test."""
HASTY = EngineLimits(deadline_seconds=0.3, attempt_seconds=0.3)
PICKED = {
    "id": "01JD-18",
    "group_id": 3,
    "caller_id_id": 18,
    "number": "0900000010",
    "display_name": None,
    "carrier": "viettel",
    "trunk_name": "Trunk-Viettel-01",
    "reason": "sticky",
    "expires_at": "2026-06-06T12:00:30Z",
}
"""A pick as the engine writes it."""
KINDS = ("asynchronous", "blocking")
AnyPick = Pick | BlockingPick


class Client:
    """Either client, awaited: the blocking one runs in a thread."""

    def __init__(self, engine: Engine | BlockingEngine) -> None:
        self._engine = engine

    async def _call(self, method: str, *arguments: object, **named: object) -> Any:  # whatever the method returns
        function = getattr(self._engine, method)
        if isinstance(self._engine, Engine):
            return await function(*arguments, **named)
        return await asyncio.to_thread(function, *arguments, **named)

    async def pick(self, group: int, **asked: object) -> AnyPick:
        picked: AnyPick = await self._call("pick", group, **asked)
        return picked

    async def pick_many(
        self, group: int, requests: Sequence[PickRequest], **named: object
    ) -> list[AnyPick | NothingEligible]:
        outcomes: list[AnyPick | NothingEligible] = await self._call("pick_many", group, requests, **named)
        return outcomes

    async def hold_many(self, group: int, requests: Sequence[PickRequest], placed: int) -> list[AnyPick]:
        """Enters a batch's context, places the first calls of it, and leaves it with an error."""
        if isinstance(self._engine, BlockingEngine):
            return await asyncio.to_thread(_hold_many, self._engine, group, requests, placed)
        held: list[AnyPick] = []
        with suppress(ZeroDivisionError):
            async with self._engine.pick_many(group, requests) as outcomes:
                _dial_many(outcomes, held, placed)
        return held

    async def release(self, group: int, pick_id: str) -> None:
        await self._call("release", group, pick_id)

    async def forget_lead(self, group: int, lead_id: str) -> None:
        await self._call("forget_lead", group, lead_id)

    async def hold(self, group: int, *, is_placed: bool = False, error: Exception | None = None) -> AnyPick:
        """Enters a pick's context, says whether the call was placed, and leaves it, with the error if there is one."""
        if isinstance(self._engine, BlockingEngine):
            return await asyncio.to_thread(_hold, self._engine, group, is_placed, error)
        async with self._engine.pick(group) as pick:
            _dial(pick, is_placed, error)
        return pick


def _hold(engine: BlockingEngine, group: int, is_placed: bool, error: Exception | None) -> AnyPick:
    with engine.pick(group) as pick:
        _dial(pick, is_placed, error)
    return pick


def _hold_many(engine: BlockingEngine, group: int, requests: Sequence[PickRequest], placed: int) -> list[AnyPick]:
    held: list[AnyPick] = []
    with suppress(ZeroDivisionError), engine.pick_many(group, requests) as outcomes:
        _dial_many(outcomes, held, placed)
    return held


def _dial_many(outcomes: Iterable[AnyPick | NothingEligible], held: list[AnyPick], placed: int) -> None:
    held.extend(one for one in outcomes if not isinstance(one, NothingEligible))
    for one in held[:placed]:
        one.placed()
    raise ZeroDivisionError


def _dial(pick: AnyPick, is_placed: bool, error: Exception | None) -> None:
    if is_placed:
        pick.placed()
    if error:
        raise error


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
            return Client(blocking)
        engine = Engine(url, token, limits=limits, ssl_context=ssl_context)
        self._opened.append(await engine.__aenter__())
        return Client(engine)

    async def close(self) -> None:
        for one in self._opened:
            if isinstance(one, Engine):
                await one.__aexit__(None, None, None)
            else:
                one.__exit__(None, None, None)
