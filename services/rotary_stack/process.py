"""The life of one program of the stack: start until it answers, stop, kill, and say so when it ends by itself."""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Protocol

from rotary_stack.control.messages import UnitStatus
from rotary_stack.errors import NotReadyError, StartFailedError
from rotary_stack.process_tree import descendants, gone
from rotary_stack.spawn import Launch, size, spawn

_PATIENCE_SECONDS = 60.0
_GRACE_SECONDS = 10.0


class Program(Protocol):
    """What a unit must be told to run a program. The four values never change while the stack lives."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def data(self) -> Path | None:
        """The directory that `--empty` wipes; None for a program that keeps nothing."""

    @property
    def stop_signal(self) -> Signals: ...

    async def prepare(self) -> None:
        """Writes what must be there before the process starts. Run before every start."""

    def launch(self) -> Launch: ...

    async def ready(self) -> None:
        """Returns when the program answers. Raises OSError, TimeoutError or NotReadyError when it does not yet."""


class Unit:
    """Runs one program at a time; orders that arrive together are carried out one after the other."""

    def __init__(self, program: Program, log: Path, say: Callable[[str], None], hurry: asyncio.Event) -> None:
        self.program = program
        self._log = log
        self._say = say
        self._hurry = hurry
        self._process: asyncio.subprocess.Process | None = None
        self._answered = False
        self._told_to_end = False
        self._watcher: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.program.name

    def status(self) -> UnitStatus:
        alive = self._living()
        data = self.program.data
        return UnitStatus(
            name=self.name,
            state=self._state(),
            pid=alive.pid if alive else None,
            port=self.program.port,
            url=self.program.url,
            data=str(data) if data else None,
            log=str(self._log),
        )

    async def start(self, *, empty: bool = False) -> None:
        """Starts it unless it runs, and returns when it answers. Raises StartFailedError, with the process ended."""
        async with self._order:
            if empty:
                await self._end(self.program.stop_signal)
                if self.program.data is not None:
                    shutil.rmtree(self.program.data, ignore_errors=True)
            if self._living() is None:
                await self._start()

    async def stop(self) -> None:
        """Asks it to end and waits; kills it after ten seconds."""
        async with self._order:
            await self._end(self.program.stop_signal)

    async def kill(self) -> None:
        """SIGKILL, as a crash would: returns when it and all processes of its own are gone."""
        async with self._order:
            await self._end(SIGKILL)

    async def drop(self) -> None:
        """Ends it in whatever way is quickest: nobody needs its data any more."""
        async with self._order:
            await self._end(self.program.launch().leash)

    def _living(self) -> asyncio.subprocess.Process | None:
        return self._process if self._process is not None and self._process.returncode is None else None

    def _state(self) -> str:
        if self._living():
            return "running" if self._answered else "starting"
        return "stopped" if self._process is None or self._told_to_end else "ended"

    async def _start(self) -> None:
        began = time.monotonic()
        await self.program.prepare()
        offset = size(self._log)
        self._answered = self._told_to_end = False
        self._process = await spawn(self.program.launch(), self._log)
        try:
            await self._until_ready(self._process, began + _PATIENCE_SECONDS, offset)
        except BaseException:
            await self._end(SIGKILL)
            raise
        self._answered = True
        self._watcher = asyncio.create_task(self._watch(self._process))
        self._say(f"{self.name} ready in {time.monotonic() - began:.1f} s")

    async def _until_ready(self, process: asyncio.subprocess.Process, deadline: float, offset: int) -> None:
        reason = f"it did not answer in {_PATIENCE_SECONDS:.0f} s"
        while time.monotonic() < deadline:
            try:
                return await asyncio.wait_for(self.program.ready(), 5)
            except (OSError, TimeoutError, NotReadyError) as problem:
                reason = f"it did not answer in {_PATIENCE_SECONDS:.0f} s ({problem})"
            if process.returncode is not None:
                reason = f"it ended with status {process.returncode}"
                break
            await asyncio.sleep(0.03)
        raise StartFailedError(f"{self.name} did not start: {reason}", self._log, offset)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not self._told_to_end:
            self._say(f"{self.name} ended by itself with status {status}; its log: {self._log}")

    async def _end(self, how: Signals) -> None:
        process = self._living()
        self._told_to_end = True
        if process is None:
            return
        family = descendants(process.pid)
        with suppress(ProcessLookupError):
            process.send_signal(how)
        await self._ended(process)
        await gone(family)

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        """Waits for the end; SIGKILL when the grace is over or the user is in a hurry."""
        ended, hurried = asyncio.create_task(process.wait()), asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({ended, hurried}, timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await ended
