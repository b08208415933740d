"""One managed process: start it until it answers, stop it, kill it, and report when it exits unexpectedly."""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Protocol

from rotary_stack.control.messages import ProcessStatus
from rotary_stack.errors import NotReadyError, StartFailedError
from rotary_stack.process_tree import descendants, wait_until_gone
from rotary_stack.spawn import LaunchConfig, spawn
from rotary_stack.workspace import log_size

_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 10.0


class ProcessSpec(Protocol):
    """What a ManagedProcess needs to know of a server or service. The properties never change."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def data(self) -> Path | None:
        """The directory that `--empty` deletes. None for a process that stores nothing."""

    @property
    def stop_signal(self) -> Signals: ...

    async def prepare(self) -> None:
        """Writes the files that the process needs. Called before every start."""

    def launch_config(self) -> LaunchConfig: ...

    async def check_ready(self) -> None:
        """Returns if the process answers. Raises OSError, TimeoutError or NotReadyError if it does not yet."""


class ManagedProcess:
    """Starts and stops one process. Concurrent calls run one after the other."""

    def __init__(self, spec: ProcessSpec, log: Path, report: Callable[[str], None], force_stop: asyncio.Event) -> None:
        """`report` takes lines of progress. Once `force_stop` is set, stopping uses SIGKILL and does not wait."""
        self.spec = spec
        self._log = log
        self._report = report
        self._force_stop = force_stop
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False
        self._stop_requested = False
        self._exit_watcher: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.spec.name

    def status(self) -> ProcessStatus:
        running = self._running()
        data = self.spec.data
        return ProcessStatus(
            name=self.name,
            state=self._state(),
            pid=running.pid if running else None,
            port=self.spec.port,
            url=self.spec.url,
            data=str(data) if data else None,
            log=str(self._log),
        )

    async def start(self, *, empty: bool = False) -> None:
        """Starts the process unless it runs, and returns when it answers. `empty` deletes its data first.

        Raises StartFailedError; the process has then been killed.
        """
        async with self._lock:
            if empty:
                await self._end(self.spec.stop_signal)
                if self.spec.data is not None:
                    shutil.rmtree(self.spec.data, ignore_errors=True)
            if self._running() is None:
                await self._start()

    async def stop(self) -> None:
        """Sends the stop signal and waits for the exit. Kills the process after ten seconds."""
        async with self._lock:
            await self._end(self.spec.stop_signal)

    async def kill(self) -> None:
        """Sends SIGKILL, as a crash would. Returns when the process and its children are gone."""
        async with self._lock:
            await self._end(SIGKILL)

    async def discard(self) -> None:
        """Ends the process as quickly as possible. Its data can be lost."""
        async with self._lock:
            await self._end(self.spec.launch_config().parent_death_signal)

    def _running(self) -> asyncio.subprocess.Process | None:
        return self._process if self._process is not None and self._process.returncode is None else None

    def _state(self) -> str:
        if self._running():
            return "running" if self._ready else "starting"
        return "stopped" if self._process is None or self._stop_requested else "ended"

    async def _start(self) -> None:
        began = time.monotonic()
        await self.spec.prepare()
        offset = log_size(self._log)
        self._ready = self._stop_requested = False
        self._process = await spawn(self.spec.launch_config(), self._log)
        try:
            await self._wait_until_ready(self._process, began + _START_TIMEOUT_SECONDS, offset)
        except BaseException:
            await self._end(SIGKILL)
            raise
        self._ready = True
        self._exit_watcher = asyncio.create_task(self._watch_exit(self._process))
        self._report(f"{self.name} ready in {time.monotonic() - began:.1f} s")

    async def _wait_until_ready(self, process: asyncio.subprocess.Process, deadline: float, offset: int) -> None:
        reason = f"no answer within {_START_TIMEOUT_SECONDS:.0f} s"
        while time.monotonic() < deadline:
            try:
                return await asyncio.wait_for(self.spec.check_ready(), 5)
            except (OSError, TimeoutError, NotReadyError) as error:
                reason = f"no answer within {_START_TIMEOUT_SECONDS:.0f} s ({error})"
            if process.returncode is not None:
                reason = f"it exited with status {process.returncode}"
                break
            await asyncio.sleep(0.03)
        raise StartFailedError(f"{self.name} did not start: {reason}", self._log, offset)

    async def _watch_exit(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not self._stop_requested:
            self._report(f"{self.name} exited unexpectedly with status {status}; see its log: {self._log}")

    async def _end(self, number: Signals) -> None:
        process = self._running()
        self._stop_requested = True
        if process is None:
            return
        children = descendants(process.pid)
        with suppress(ProcessLookupError):
            process.send_signal(number)
        await self._wait_for_exit(process)
        await wait_until_gone(children)

    async def _wait_for_exit(self, process: asyncio.subprocess.Process) -> None:
        """Waits for the exit. Sends SIGKILL after the timeout, or as soon as `force_stop` is set."""
        exited, forced = asyncio.create_task(process.wait()), asyncio.create_task(self._force_stop.wait())
        try:
            await asyncio.wait({exited, forced}, timeout=_STOP_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            forced.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await exited
