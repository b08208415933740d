"""Merging reads: one call for many, one answer each."""

import asyncio

import pytest

from rotary.runtime.read_batcher import PendingResult, ReadBatcher


class Reads:
    """A read that a test lets finish."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go_on = asyncio.Event()

    async def read(self, batch: list[PendingResult[int, int]]) -> None:
        self.calls.append([waiting.asked for waiting in batch])
        await self.go_on.wait()
        for waiting in batch:
            if waiting.asked == 13:
                raise ValueError("13")
            waiting.give(waiting.asked * 10)


async def test_what_is_asked_in_one_turn_goes_in_one_call() -> None:
    reads = Reads()
    reads.go_on.set()
    batches = ReadBatcher(reads.read, size=4, in_flight=2)
    assert await asyncio.gather(*(batches.ask(number).answer() for number in range(10))) == [10 * n for n in range(10)]
    assert reads.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_calls_under_way_are_bounded() -> None:
    reads = Reads()
    batches = ReadBatcher(reads.read, size=1, in_flight=2)
    answers = asyncio.gather(*(batches.ask(number).answer() for number in range(5)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reads.calls == [[0], [1]]
    reads.go_on.set()
    assert await answers == [0, 10, 20, 30, 40]


async def test_who_asks_again_at_once_is_answered() -> None:
    reads = Reads()
    reads.go_on.set()
    batches = ReadBatcher(reads.read, size=4, in_flight=1)
    async with asyncio.timeout(5):
        assert [await batches.ask(number).answer() for number in range(3)] == [0, 10, 20]


async def test_one_that_goes_away_takes_the_answer_from_nobody() -> None:
    reads = Reads()
    waiting = ReadBatcher(reads.read, size=4).ask(1)
    leaving, staying = waiting.answer(), waiting.answer()
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    reads.go_on.set()
    assert await staying == 10
    assert await waiting.answer() == 10, "who comes after the answer has it, too"
    assert leaving.cancelled()


async def test_an_error_is_the_answer_of_those_that_have_none() -> None:
    reads = Reads()
    reads.go_on.set()
    batches = ReadBatcher(reads.read, size=4)
    asked = [batches.ask(number) for number in (1, 13, 2)]
    first, *failed = await asyncio.gather(*(waiting.answer() for waiting in asked), return_exceptions=True)
    assert first == 10
    assert [str(error) for error in failed] == ["13", "13"]
    with pytest.raises(ValueError, match="13"):
        await asked[2].answer()
    assert await batches.ask(3).answer() == 30, "the next call is not affected"


@pytest.mark.parametrize("turns", [0, 1])
async def test_who_asks_after_closing_is_answered(turns: int) -> None:
    reads = Reads()
    reads.go_on.set()
    batches = ReadBatcher(reads.read, size=4, in_flight=1)
    batches.ask(1).answer()
    for _ in range(turns):
        await asyncio.sleep(0)
    await batches.close()
    async with asyncio.timeout(5):
        assert await batches.ask(2).answer() == 20


async def test_closing_cancels_who_waits() -> None:
    reads = Reads()
    batches = ReadBatcher(reads.read, size=4)
    waiting = batches.ask(1).answer()
    await asyncio.sleep(0)
    await batches.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
