"""Publishes the files of a spool directory, such as those that Asterisk's AGI script writes.

A file is removed only after the broker has confirmed its events. An event without an id gets an id from the name of its
file. A crash at any moment therefore loses no call and counts none twice.
"""

import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from rotary.errors import EventRefusedError
from rotary.events import Event
from rotary.publisher import BlockingPublisher, PublishError
from rotary_dialer.command_line import printable
from rotary_dialer.event_reader import EventDefaults, EventReader, InputFormatError, InputLine
from rotary_dialer.rejected_lines import REASON_SUFFIX, RejectedLinesFile, unused_path

_MAX_PENDING_FILES = 5_000
_REFUSED_FOLDER = ".refused"
# After a failure the broker, or the disk, is unlikely to work again at the very next scan.
_RETRY_SECONDS = 3.0


class _PendingFile(NamedTuple):
    """A file with submitted events: its version when it was read, and the lines to be kept."""

    version: tuple[int, ...]
    futures: list[Future[None]]
    rejected: list[InputLine]
    header: bytes


class Spooler:
    """Submits the files of a directory, and removes each when its events are confirmed."""

    def __init__(self, directory: Path, publisher: BlockingPublisher) -> None:
        self.refused = 0
        """Files that were refused as a whole or in part."""
        self.failed_attempts = 0
        """Attempts where the broker did not confirm a file's events, or the file could not be read or moved."""
        self._directory = directory
        self._publisher = publisher
        self._pending: dict[Path, _PendingFile] = {}
        self._reported = set[Path]()
        self._paused_until = 0.0

    def is_idle(self) -> bool:
        return not self._pending

    def scan(self) -> None:
        """Submits the new files in the order of their names, up to the maximum of pending files."""
        if time.monotonic() < self._paused_until:
            return
        for path in sorted(self._directory.iterdir()):
            if len(self._pending) >= _MAX_PENDING_FILES:
                return
            if not path.name.startswith(".") and path not in self._pending and path.is_file():
                self._submit(path)

    def collect(self) -> None:
        """Removes the files whose events are confirmed. Files that failed are submitted again by a later scan."""
        finished = [path for path, file in self._pending.items() if all(future.done() for future in file.futures)]
        failures: dict[Path, BaseException] = {}
        for path in finished:
            file = self._pending.pop(path)
            if (failure := _failure(file.futures)) is not None:
                failures[path] = failure
            else:
                self._finish(path, file)
        if failures:
            self._retry_later(failures)

    def wait(self) -> None:
        """Returns when no file is pending."""
        for file in list(self._pending.values()):
            for future in file.futures:
                future.exception()
        self.collect()

    def _submit(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                status, content = os.fstat(file.fileno()), file.read()
        except OSError as error:
            self._report_stuck(path, error)
            return
        defaults = EventDefaults(path.name, datetime.fromtimestamp(status.st_mtime, UTC))
        reader = EventReader(io.BytesIO(content), self._publisher.events, defaults)
        try:
            rejected, futures = self._submit_lines(reader)
        except InputFormatError as error:
            self._refuse(path, [error.reason])
            return
        if futures:
            self._pending[path] = _PendingFile(_version(status), futures, rejected, reader.header)
        else:
            self._refuse(path, [f"line {line.number}: {line.reason}" for line in rejected])

    def _submit_lines(self, reader: EventReader) -> tuple[list[InputLine], list[Future[None]]]:
        """Submits the valid events. Returns the rejected lines, and a future for each event."""
        rejected, futures = list[InputLine](), list[Future[None]]()
        first: dict[tuple[str, str], tuple[int, Event]] = {}
        for line in reader:
            if line.event is None:
                rejected.append(line)
                continue
            number, same = first.setdefault((line.event.source, line.event.id), (line.number, line.event))
            if same != line.event:
                rejected.append(line._replace(reason=f"line {number} is a different event with the same source and id"))
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

    def _finish(self, path: Path, file: _PendingFile) -> None:
        """Stores the rejected lines and removes the file. All of its events are confirmed."""
        try:
            if _version(path.stat()) != file.version:
                return  # the file has changed since it was read; it is read again, and its events count once
            if file.rejected:
                self._keep_rejected(path, file)
            path.unlink()
        except OSError as error:
            self._report_stuck(path, error)

    def _keep_rejected(self, path: Path, file: _PendingFile) -> None:
        self.refused += 1
        with RejectedLinesFile(self._refused_folder() / f"{path.name}.rejected") as kept:
            for line in file.rejected:
                kept.write(line, file.header)
        line = file.rejected[0]
        self._print(f"{path.name}: wrote {kept.count} rejected lines to {kept.path}: line {line.number}: {line.reason}")

    def _refuse(self, path: Path, reasons: Sequence[str]) -> None:
        """Moves a file without a valid event to the folder of refused files."""
        try:
            kept = unused_path(self._refused_folder() / path.name)
            path.rename(kept)
        except OSError as error:
            self._report_stuck(path, error)
            return
        self.refused += 1
        more = f" (and {len(reasons) - 1:,} other lines)" if len(reasons) > 1 else ""
        self._print(f"{path.name} refused: {reasons[0]}{more}; moved to {kept}")
        try:
            kept.with_name(kept.name + REASON_SUFFIX).write_text("".join(f"{reason}\n" for reason in reasons), "utf-8")
        except OSError as error:
            self._print(f"cannot write the reasons: {error.strerror}")

    def _refused_folder(self) -> Path:
        folder = self._directory / _REFUSED_FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    def _retry_later(self, failures: dict[Path, BaseException]) -> None:
        self.failed_attempts += len(failures)
        self._paused_until = time.monotonic() + _RETRY_SECONDS
        path, failure = next(iter(failures.items()))
        others = f" (and {len(failures) - 1:,} other files)" if len(failures) > 1 else ""
        self._print(f"{path.name} not published, will retry{others}: {failure}")

    def _report_stuck(self, path: Path, error: OSError) -> None:
        """Reports once that the file cannot be read, moved or removed. Later scans try again."""
        if isinstance(error, FileNotFoundError) and not path.exists():
            return  # another program has removed it
        self.failed_attempts += 1
        self._paused_until = time.monotonic() + _RETRY_SECONDS
        if path not in self._reported:
            self._reported.add(path)
            self._print(f"{path.name} not processed, will retry: {error.strerror}: {error.filename}")

    def _print(self, text: str) -> None:
        click.echo(f"rotary-dialer: {printable(text)}", err=True)


def _failure(futures: list[Future[None]]) -> BaseException | None:
    return next((error for future in futures if (error := future.exception()) is not None), None)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns
