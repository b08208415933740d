"""What Ctrl-C, SIGTERM and SIGHUP mean to a program that must clean up: end the task, or tell whoever asked to be told."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from signal import SIGHUP, SIGINT, SIGTERM, Signals

_HANDLED = (SIGINT, SIGTERM, SIGHUP)

Receiver = Callable[[Signals], None]


class Interrupts:
    """Cancels the main task at each signal, except while somebody else receives them."""

    def __init__(self, task: asyncio.Task[int]) -> None:
        self.first: Signals | None = None
        self._task = task
        self._receiver: Receiver | None = None

    def __call__(self, signal: Signals) -> None:
        if self._receiver is not None:
            self._receiver(signal)
            return
        self.first = self.first or signal
        self._task.cancel()

    @contextmanager
    def sent_to(self, receiver: Receiver) -> Iterator[None]:
        """Inside the block signals cancel nothing: `receiver` is called with each."""
        self._receiver = receiver
        try:
            yield
        finally:
            self._receiver = None


def run(main: Callable[[Interrupts], Coroutine[None, None, int]]) -> int:
    """Runs `main` in a new event loop and returns its status, or 128 + n when signal n ended it."""
    return asyncio.run(_run(main))


async def _run(main: Callable[[Interrupts], Coroutine[None, None, int]]) -> int:
    task = asyncio.create_task(_started(main))
    return await task


async def _started(main: Callable[[Interrupts], Coroutine[None, None, int]]) -> int:
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None
    interrupts = Interrupts(task)
    loop = asyncio.get_running_loop()
    for signal in _HANDLED:
        loop.add_signal_handler(signal, interrupts, signal)
    try:
        return await main(interrupts)
    except asyncio.CancelledError:
        if interrupts.first is None:
            raise
        return 128 + interrupts.first
