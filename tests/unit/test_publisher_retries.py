"""Of the messages that the broker does not take, one is retried at a time, and every other follows."""

import asyncio

from rotary.backoff import retry_delay
from rotary.publisher.retries import Retries


class Broker:
    """Takes messages once it is open. Every retry waits for its turn, as in the publisher."""

    def __init__(self) -> None:
        self.retries = Retries()
        self.is_open = False
        self.attempts = 0

    async def deliver(self, message: str) -> None:
        confirmed = False
        try:
            while True:
                self.attempts += 1
                await asyncio.sleep(0)
                if self.is_open:
                    break
                await self.retries.wait_turn(message)
            confirmed = True
        finally:
            self.retries.finish(message, confirmed=confirmed)

    def deliver_many(self, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.deliver(f"message {number}")) for number in range(count)]

    async def until(self, attempts: int) -> None:
        async with asyncio.timeout(10):
            while self.attempts < attempts:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0)


async def test_only_one_message_is_retried_while_none_is_taken() -> None:
    broker = Broker()
    tasks = broker.deliver_many(100)
    await broker.until(103)
    assert broker.attempts == 103
    broker.is_open = True
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    assert broker.attempts == 202, "the first is taken by its third attempt, each of the others by its second"


async def test_another_message_is_retried_when_the_first_is_cancelled() -> None:
    broker = Broker()
    tasks = broker.deliver_many(3)
    for number, task in enumerate(tasks):
        await broker.until(broker.attempts + 1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), number
    late = broker.deliver_many(2)
    await broker.until(broker.attempts + 3)
    broker.is_open = True
    async with asyncio.timeout(10):
        await asyncio.gather(*late)


async def test_all_waiting_messages_can_be_cancelled_at_once() -> None:
    broker = Broker()
    tasks = broker.deliver_many(50)
    await broker.until(52)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    broker.is_open = True
    async with asyncio.timeout(10):
        await asyncio.gather(*broker.deliver_many(2))


async def test_any_confirm_releases_the_waiting_messages() -> None:
    broker = Broker()
    waiting = broker.deliver_many(10)
    await broker.until(15)  # the delays are long by now
    broker.is_open = True
    await broker.deliver("a new one")
    async with asyncio.timeout(10):
        await asyncio.wait(waiting[1:])
    assert all(task.done() for task in waiting[1:])
    await asyncio.wait(waiting)


def test_delays_double_up_to_two_seconds() -> None:
    for attempt, longest in ((0, 0.05), (1, 0.1), (4, 0.8), (6, 2.0), (10_000, 2.0)):
        assert all(longest / 2 <= retry_delay(attempt) <= longest for _ in range(100))
