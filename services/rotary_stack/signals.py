"""What Ctrl-C, SIGTERM and SIGHUP mean to a program that has to clean up."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from signal import SIGHUP, SIGINT, SIGTERM, Signals

Receiver = Callable[[Signals], None]


class Interrupts:
    """Cancels the main task at each signal, except while somebody else receives them."""

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
    def sent_to(self, receiver: Receiver) -> Iterator[None]:
        """Inside the block signals cancel nothing: `receiver` is called with each."""
        self._receiver = receiver
        try:
            yield
        finally:
            self._receiver = None


def run(main: Callable[[Interrupts], Coroutine[None, None, int]]) -> int:
    """Runs `main` in a new event loop. Returns its status, or 128 + n when signal n ended it."""
    return asyncio.run(_run(main))


async def _run(main: Callable[[Interrupts], Coroutine[None, None, int]]) -> int:
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None
    interrupts = Interrupts(task)
    ignored = {SIGHUP} if signal.getsignal(SIGHUP) == signal.SIG_IGN else set()  # started by nohup
    for number in {SIGINT, SIGTERM, SIGHUP} - ignored:
        asyncio.get_running_loop().add_signal_handler(number, interrupts, number)
    try:
        return await main(interrupts)
    except asyncio.CancelledError:
        if interrupts.first is None:
            raise
        return 128 + interrupts.first
