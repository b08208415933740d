"""`rotary-dialer spool`: events from files that something else drops into a directory, as Asterisk's AGI scripts do.

A file is removed only after the broker has confirmed its events, and an event that has no id of its own is named after
its file: so neither we nor the machine may stop at a moment that loses a call or counts it twice.
"""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import click

from rotary.errors import EventRefusedError
from rotary.events import Event
from rotary.publisher import BlockingPublisher, Limits, PublishError
from rotary_dialer.command_line import broker_options, deadline_option, printable
from rotary_dialer.event_reader import Defaults, Lines, NotUnderstoodError, Numbered
from rotary_dialer.rejected_lines import REASONS, RejectedFile, unused

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
    is named after its file and its place there, so a file that is read twice counts once.

    A file that cannot be understood, an empty one too, is moved to DIRECTORY/.refused, with the reason in NAME.reason.
    Of a file that can be understood in part, the events are published and the other lines kept as
    .refused/NAME.rejected, with their reasons. A file that the broker does not confirm stays, and is tried again.

    Runs until SIGTERM or Ctrl-C; with --once the exit status is 1 when anything was refused or is left.
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


class _UnderWay(NamedTuple):
    """A file whose events are on their way: what it was when it was read, and what is to be kept of it."""

    version: tuple[int, ...]
    futures: list[Future[None]]
    rejected: list[Numbered]
    header: bytes


class Spooler:
    """Files on their way to the broker."""

    def __init__(self, directory: Path, publisher: BlockingPublisher) -> None:
        self.refused = 0
        """Files that were not understood, as a whole or in part."""
        self.left = 0
        """Times that a file stayed: the broker did not take its events, or it cannot be read or moved."""
        self._directory = directory
        self._publisher = publisher
        self._under_way: dict[Path, _UnderWay] = {}
        self._stuck = set[Path]()
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
        ended = [path for path, file in self._under_way.items() if all(future.done() for future in file.futures)]
        failures: dict[Path, BaseException] = {}
        for path in ended:
            file = self._under_way.pop(path)
            if (failure := _failure(file.futures)) is not None:
                failures[path] = failure
            else:
                self._finish(path, file)
        if failures:
            self._keep(failures)

    def wait(self) -> None:
        """Returns when nothing is under way any more."""
        for file in list(self._under_way.values()):
            for future in file.futures:
                future.exception()
        self.settle()

    def _submit(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                status, content = os.fstat(file.fileno()), file.read()
        except OSError as error:
            self._stay(path, error)
            return
        defaults = Defaults(path.name, datetime.fromtimestamp(status.st_mtime, UTC))
        lines = Lines(io.BytesIO(content), self._publisher.events, defaults)
        try:
            rejected, futures = self._submit_lines(lines)
        except NotUnderstoodError as error:
            self._refuse(path, [error.reason])
            return
        if futures:
            self._under_way[path] = _UnderWay(_version(status), futures, rejected, lines.header)
        else:
            self._refuse(path, [f"line {line.number}: {line.reason}" for line in rejected])

    def _submit_lines(self, lines: Lines) -> tuple[list[Numbered], list[Future[None]]]:
        """Submits the events among the lines; returns the other lines, and when the events are confirmed."""
        rejected, futures = list[Numbered](), list[Future[None]]()
        known: dict[tuple[str, str], tuple[int, Event]] = {}
        for line in lines:
            if line.event is None:
                rejected.append(line)
                continue
            number, same = known.setdefault((line.event.source, line.event.id), (line.number, line.event))
            if same != line.event:
                rejected.append(line._replace(reason=f"line {number} is another event of the same source and id"))
                continue
            try:
                futures.append(self._submit_event(line.event))
            except EventRefusedError as error:
                rejected.append(line._replace(reason=error.reason))
        return rejected, futures

    def _submit_event(self, event: Event) -> Future[None]:
        try:
            return self._publisher.submit(event)
        except PublishError as error:
            failed: Future[None] = Future()
            failed.set_exception(error)
            return failed

    def _finish(self, path: Path, file: _UnderWay) -> None:
        """All of its events are confirmed: keeps the other lines, then removes the file."""
        try:
            if _version(path.stat()) != file.version:
                return  # something was added since it was read: it is read again, and its events count once
            if file.rejected:
                self._reject(path, file)
            path.unlink()
        except OSError as error:
            self._stay(path, error)

    def _reject(self, path: Path, file: _UnderWay) -> None:
        self.refused += 1
        with RejectedFile(self._refused_folder() / f"{path.name}.rejected") as kept:
            for line in file.rejected:
                kept.keep(line, file.header)
        first = file.rejected[0]
        self._say(f"{path.name}: kept {kept.count} lines in {kept.path}: line {first.number}: {first.reason}")

    def _refuse(self, path: Path, reasons: Sequence[str]) -> None:
        """Moves a file that holds no event."""
        try:
            kept = unused(self._refused_folder() / path.name)
            path.rename(kept)
        except OSError as error:
            self._stay(path, error)
            return
        self.refused += 1
        more = f" (and {len(reasons) - 1:,} other lines)" if len(reasons) > 1 else ""
        self._say(f"{path.name} refused: {reasons[0]}{more}; it is kept as {kept}")
        try:
            kept.with_name(kept.name + REASONS).write_text("".join(f"{reason}\n" for reason in reasons), "utf-8")
        except OSError as error:
            self._say(f"its reasons cannot be written: {error.strerror}")

    def _refused_folder(self) -> Path:
        folder = self._directory / _REFUSED
        folder.mkdir(exist_ok=True)
        return folder

    def _keep(self, failures: dict[Path, BaseException]) -> None:
        self.left += len(failures)
        self._not_before = time.monotonic() + _RETRY_SECONDS
        path, failure = next(iter(failures.items()))
        others = f" (and {len(failures) - 1:,} other files)" if len(failures) > 1 else ""
        self._say(f"{path.name} stays, to be tried again{others}: {failure}")

    def _stay(self, path: Path, error: OSError) -> None:
        """It cannot be read, moved or removed: said once, and tried again at every look."""
        if isinstance(error, FileNotFoundError) and not path.exists():
            return  # somebody else has taken it
        self.left += 1
        self._not_before = time.monotonic() + _RETRY_SECONDS
        if path not in self._stuck:
            self._stuck.add(path)
            self._say(f"{path.name} stays, to be tried again: {error.strerror}: {error.filename}")

    def _say(self, text: str) -> None:
        click.echo(f"rotary-dialer: {printable(text)}", err=True)


def _failure(futures: list[Future[None]]) -> BaseException | None:
    return next((error for future in futures if (error := future.exception()) is not None), None)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns


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
