"""Ctrl-C, SIGTERM and SIGHUP for a command that cleans up before it exits."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from signal import SIGHUP, SIGINT, SIGTERM, Signals

Receiver = Callable[[Signals], None]


class SignalHandler:
    """Cancels the main task at each signal, except while `forwarded_to` passes signals on."""

    def __init__(self, task: "asyncio.Task[int]") -> None:
        self.first: Signals | None = None
        self._task = task
        self._receiver: Receiver | None = None

    def __call__(self, number: Signals) -> None:
        if self._receiver is not None:
            self._receiver(number)
            return
        self.first = self.first or number
        self._task.cancel()

    @contextmanager
    def forwarded_to(self, receiver: Receiver) -> Iterator[None]:
        """Inside the block each signal calls `receiver` and cancels nothing."""
        self._receiver = receiver
        try:
            yield
        finally:
            self._receiver = None


def run(main: Callable[[SignalHandler], Coroutine[None, None, int]]) -> int:
    """Runs `main` in a new event loop. Returns its exit status, or 128 + n when signal n ended it."""
    return asyncio.run(_run(main))


async def _run(main: Callable[[SignalHandler], Coroutine[None, None, int]]) -> int:
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None
    handler = SignalHandler(task)
    ignored = {SIGHUP} if signal.getsignal(SIGHUP) == signal.SIG_IGN else set()  # started by nohup
    for number in {SIGINT, SIGTERM, SIGHUP} - ignored:
        asyncio.get_running_loop().add_signal_handler(number, handler, number)
    try:
        return await main(handler)
    except asyncio.CancelledError:
        if handler.first is None:
            raise
        return 128 + handler.first
