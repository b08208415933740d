"""`rotary-dialer spool`: events from files that something else drops into a directory, as Asterisk's AGI scripts do.

A file is removed only after the broker has confirmed its events, and an event that has no id of its own is named after
its file: so neither we nor the machine may stop at a moment that loses a call or counts it twice.
"""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from rotary.errors import EventRefusedError
from rotary.events import Event
from rotary.publisher import BlockingPublisher, EventSource, Limits, PublishError
from rotary.publisher.source import encode_checked
from rotary_dialer.lines import Defaults, read
from rotary_dialer.program import broker_options, deadline_option

_MOST_AT_ONCE = 5_000
_REFUSED = ".refused"
# What the broker has just not taken it will hardly take at the next look.
_RETRY_SECONDS = 3.0


@click.command()
@broker_options
@deadline_option
@click.option("--once", is_flag=True, help="Publish what is there and exit.")
@click.option("--poll", default=0.2, show_default=True, type=click.FloatRange(min=0.01), help="Seconds between looks.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def spool(
    *,
    url: str,
    customer_id: int,
    source: str,
    deadline: float,
    once: bool,
    poll: float,
    directory: Path,
) -> None:
    """Publish each file that appears in DIRECTORY, then remove it.

    A file holds what `rotary-dialer publish` reads, mostly one line of JSON. Write it under a name that begins with a
    dot and rename it when it is complete. An event without a time happened when its file was written; one without an id
    is named after its file, so a file that is read twice counts once.

    A file that cannot be understood is moved to DIRECTORY/.refused, with the reason beside it. One that the broker does
    not confirm stays, and is tried again. Runs until SIGTERM or Ctrl-C; with --once the exit status is 1 when a file
    was refused or is left.
    """
    limits = Limits(deadline_seconds=deadline)
    with _stop_signal() as stop, BlockingPublisher(url, customer_id=customer_id, source=source, limits=limits) as out:
        spooler = Spooler(directory, out)
        spooler.look()
        while not stop.is_set() and not (once and spooler.is_idle()):
            stop.wait(poll)
            spooler.settle()
            if not once:
                spooler.look()
        spooler.wait()
    if once and (spooler.refused or spooler.left):
        raise SystemExit(1)


class Spooler:
    """Files on their way to the broker."""

    def __init__(self, directory: Path, publisher: BlockingPublisher) -> None:
        self.refused = 0
        """Files that could not be understood."""
        self.left = 0
        """Times that the broker did not take a file's events."""
        self._directory = directory
        self._publisher = publisher
        self._under_way: dict[Path, list[Future[None]]] = {}
        self._not_before = 0.0

    def is_idle(self) -> bool:
        return not self._under_way

    def look(self) -> None:
        """Submits the files that are new since the last look, oldest name first, as many as may be under way."""
        if time.monotonic() < self._not_before:
            return
        for path in sorted(self._directory.iterdir()):
            if len(self._under_way) >= _MOST_AT_ONCE:
                return
            if not path.name.startswith(".") and path not in self._under_way and path.is_file():
                self._submit(path)

    def settle(self) -> None:
        """Removes the files whose events are confirmed, and forgets those to be tried again."""
        done = [path for path, futures in self._under_way.items() if all(future.done() for future in futures)]
        failures = {path: failure for path in done if (failure := _failure(self._under_way.pop(path)))}
        for path in done:
            if path not in failures:
                path.unlink(missing_ok=True)
        if failures:
            self._keep(failures)

    def wait(self) -> None:
        """Returns when nothing is under way any more."""
        for futures in list(self._under_way.values()):
            for future in futures:
                future.exception()
        self.settle()

    def _submit(self, path: Path) -> None:
        try:
            events = events_of(path, self._publisher.events)
        except EventRefusedError as error:
            self._refuse(path, error.reason)
        else:
            self._under_way[path] = [self._submit_event(event) for event in events]

    def _submit_event(self, event: Event) -> Future[None]:
        try:
            return self._publisher.submit(event)
        except PublishError as error:
            failed: Future[None] = Future()
            failed.set_exception(error)
            return failed

    def _keep(self, failures: dict[Path, BaseException]) -> None:
        self.left += len(failures)
        self._not_before = time.monotonic() + _RETRY_SECONDS
        path, failure = next(iter(failures.items()))
        others = f" (and {len(failures) - 1:,} other files)" if len(failures) > 1 else ""
        click.echo(f"rotary-dialer: {path.name} stays, to be tried again{others}: {failure}", err=True)

    def _refuse(self, path: Path, reason: str) -> None:
        self.refused += 1
        folder = self._directory / _REFUSED
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
        (folder / f"{path.name}.reason").write_text(f"{reason}\n", encoding="utf-8")
        click.echo(f"rotary-dialer: {path.name} refused: {reason}", err=True)


def _failure(futures: list[Future[None]]) -> BaseException | None:
    return next((error for future in futures if (error := future.exception()) is not None), None)


def events_of(path: Path, source: EventSource) -> list[Event]:
    """The events of one file. Raises EventRefusedError for the first that breaks its type's contract: all or none."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    defaults = Defaults(path.name, written)
    events = []
    for number, event, reason in read(lines, source, defaults):
        if event is None:
            raise EventRefusedError(f"line {number}: {reason}")
        encode_checked(event)
        events.append(event)
    if len({(event.source, event.id) for event in events}) < len(events):
        raise EventRefusedError("two of its events have the same identity: give each an id, or a file of its own")
    return events


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set on SIGTERM and on Ctrl-C."""
    stop = threading.Event()

    def set_it(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        stop.set()

    before = {number: signal.signal(number, set_it) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
