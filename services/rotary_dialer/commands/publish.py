"""`rotary-dialer publish`: publishes events from a file or from standard input."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rotary.errors import EventRefusedError
from rotary.publisher import BlockingPublisher, Limits, PublishError
from rotary_dialer.command_line import CommandError, broker_options, deadline_option
from rotary_dialer.event_reader import EventReader, InputFormatError, InputLine
from rotary_dialer.rejected_lines import REASON_SUFFIX, RejectedLinesFile
from rotary_dialer.report import PublishReport

_INTERRUPTED = 130
_STDIN = "-"


@click.command()
@broker_options
@deadline_option
@click.option(
    "--undelivered",
    type=click.File("ab", lazy=True),
    metavar="PATH",
    help="Append the events that the broker did not confirm to PATH. Publish that file again later.",
)
@click.option(
    "--rejected",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Write rejected lines to PATH, and their reasons to PATH.reason.  [default: FILE.rejected]",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True), default=_STDIN)
def publish(
    *,
    url: str,
    customer_id: int,
    source: str,
    deadline: float,
    undelivered: IO[bytes] | None,
    rejected: Path | None,
    file: str,
) -> None:
    """Publish events from FILE or standard input.

    The input is JSON lines, or CSV with a header, in UTF-8.

    \b
    {"type": "call-placed", "caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "id": "1780747140.17"}
    {"type": "carrier-flag", "caller_id_id": 18, "kind": "spam_label", "time": "2026-06-06T11:59:00Z"}

    Fields or columns: type, caller_id_id, group_id, lead_id, pick_id, kind, carrier, code, note, time, id and source.
    The time defaults to now. Without an id each run makes a new event, so give an id to every line that may be read
    twice. A JSON line can also be a whole CloudEvent.

    A line that is not a valid event is reported and written to the file of rejected lines; the other lines are
    published. Input that begins with neither a JSON object nor a header of these columns is rejected as a whole. FILE
    is never changed.

    Exit status: 0 when every line was confirmed, 1 when a line was not, 2 for wrong usage, 130 after Ctrl-C.
    """
    publisher = BlockingPublisher(url, customer_id=customer_id, source=source, limits=Limits(deadline_seconds=deadline))
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with (
        _open_input(file) as stream,
        publisher,
        _rejected_lines(file, rejected) as kept,
        _progress(console) as progress,
    ):
        source_lines = _LineSource(stream, progress)
        print_lines = kept is None and not source_lines.is_file
        with PublishReport(console.print, undelivered, kept, print_lines=print_lines) as report:
            error = _publish_all(publisher, source_lines, report)
    click.echo(f"confirmed {report.confirmed:,}, refused {report.refused:,}")
    if kept is not None and kept.count:
        click.echo(f"rotary-dialer: rejected lines are in {kept.path}, reasons in {kept.path}{REASON_SUFFIX}", err=True)
    if error:
        raise CommandError(f"{'standard input' if file == _STDIN else file}: {error}")
    sys.exit(_INTERRUPTED if source_lines.interrupted else min(report.refused, 1))


class _LineSource:
    """Reads lines and shows the progress.

    Ctrl-C only stops reading. KeyboardInterrupt at another point could lose the count of a submitted event.
    """

    def __init__(self, stream: IO[bytes], progress: Progress) -> None:
        self.interrupted = False
        self.is_empty = True
        size = _size(stream)
        self.is_file = size is not None
        """Whether the input can be read again."""
        self._stream = stream
        self._waiting = False
        self._progress = progress
        self._task = progress.add_task("", total=size)

    def lines(self) -> Iterator[bytes]:
        while line := self._line_or_end():
            self.is_empty = False
            self._progress.advance(self._task, len(line))
            yield line

    def show(self, report: PublishReport) -> None:
        self._progress.update(self._task, description=f"{report.confirmed:,} confirmed, {report.refused:,} refused")

    def interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self.interrupted = True
        if self._waiting:
            raise KeyboardInterrupt

    def _line_or_end(self) -> bytes:
        """The next line. Empty at the end of the input and after Ctrl-C."""
        try:
            return b"" if self.interrupted else self._line()
        except KeyboardInterrupt:
            return b""

    def _line(self) -> bytes:
        self._waiting = True
        try:
            return self._stream.readline()
        finally:
            self._waiting = False


def _publish_all(publisher: BlockingPublisher, source_lines: _LineSource, report: PublishReport) -> str | None:
    """Publishes until the input ends or Ctrl-C, and waits for the submitted events.

    Returns why the input was rejected as a whole, or None. An empty pipe is not an error: there was no event.
    """
    reason = None
    before = signal.signal(signal.SIGINT, source_lines.interrupt)
    try:
        _submit_all(publisher, source_lines, report)
    except InputFormatError as error:
        reason = None if source_lines.is_empty and not source_lines.is_file else error.reason
        if not source_lines.is_file:
            report.add_rejected_input(chain(error.read, source_lines.lines()), error.reason)
    finally:
        signal.signal(signal.SIGINT, before)
        # The report has each failure already, with its line.
        with suppress(PublishError):
            publisher.flush()
    source_lines.show(report)
    return reason


def _submit_all(publisher: BlockingPublisher, source_lines: _LineSource, report: PublishReport) -> None:
    reader = EventReader(source_lines.lines(), publisher.events)
    for line in reader:
        _submit(publisher, report, line, reader.header)
        source_lines.show(report)


def _submit(publisher: BlockingPublisher, report: PublishReport, line: InputLine, header: bytes) -> None:
    if line.event is None:
        report.add_rejected(line, header)
        return
    try:
        report.add_submitted(line, line.event, publisher.submit(line.event))
    except EventRefusedError as error:
        report.add_rejected(line._replace(event=None, reason=error.reason), header)
    except PublishError as error:
        report.add_unconfirmed(line, line.event, error.reason)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _open_input(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer) if file == _STDIN else Path(file).open("rb")


def _rejected_lines(file: str, rejected: Path | None) -> AbstractContextManager[RejectedLinesFile | None]:
    if rejected is None and file != _STDIN:
        rejected = Path(f"{file}.rejected")
    return nullcontext() if rejected is None else RejectedLinesFile(rejected)


def _size(stream: IO[bytes]) -> int | None:
    """The size in bytes, or None if the input is not a regular file."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
