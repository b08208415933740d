"""`rotary-dialer publish`: events from a file or from standard input."""

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
from rotary_dialer.command_line import Failure, broker_options, deadline_option
from rotary_dialer.event_reader import Lines, NotUnderstoodError, Numbered
from rotary_dialer.rejected_lines import REASONS, RejectedFile
from rotary_dialer.report import Tally

_INTERRUPTED = 130
_STDIN = "-"


@click.command()
@broker_options
@deadline_option
@click.option(
    "--undelivered",
    type=click.File("ab", lazy=True),
    metavar="PATH",
    help="Append what the broker did not confirm, with its identity: publish that file again later.",
)
@click.option(
    "--rejected",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Keep the lines that are no event here, and the reasons in PATH.reason.  [default: FILE.rejected]",
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
    """Publish the events of FILE, or of standard input: JSON lines, or CSV with a header, in UTF-8.

    \b
    {"type": "call-placed", "caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "id": "1780747140.17"}
    {"type": "carrier-flag", "caller_id_id": 18, "kind": "spam_label", "time": "2026-06-06T11:59:00Z"}

    Fields or columns: type, caller_id_id, group_id, lead_id, kind, carrier, code, note, time, id and source. Without a
    time an event happened now. Without an id each run makes a new event, so give one to what may be read twice. Whole
    CloudEvents are taken as they are.

    A line that is no event is reported and kept, and the others are published. Input that begins with neither a JSON
    object nor a header of these columns is refused as a whole. FILE is never changed.

    Exit status: 0 when every line was confirmed, 1 when any was not, 2 for wrong use, 130 after Ctrl-C.
    """
    publisher = BlockingPublisher(url, customer_id=customer_id, source=source, limits=Limits(deadline_seconds=deadline))
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with _opened(file) as stream, publisher, _kept(file, rejected) as kept, _progress(console) as progress:
        reader = _Reader(stream, progress)
        with Tally(console.print, undelivered, kept, whole=kept is None and not reader.is_file) as tally:
            why = _publish_all(publisher, reader, tally)
    click.echo(f"confirmed {tally.confirmed:,}, refused {tally.refused:,}")
    if kept is not None and kept.count:
        click.echo(f"rotary-dialer: what was refused is in {kept.path}, the reasons in {kept.path}{REASONS}", err=True)
    if why:
        raise Failure(f"{'standard input' if file == _STDIN else file}: {why}")
    sys.exit(_INTERRUPTED if reader.interrupted else min(tally.refused, 1))


class _Reader:
    """The lines of a file, and how many bytes of them have been read.

    Ctrl-C ends the reading and nothing else: raised just anywhere it could separate an event from its tally.
    """

    def __init__(self, stream: IO[bytes], progress: Progress) -> None:
        self.interrupted = False
        self.is_empty = True
        size = _size(stream)
        self.is_file = size is not None
        """Whether it can be read again."""
        self._stream = stream
        self._waiting = False
        self._progress = progress
        self._task = progress.add_task("", total=size)

    def lines(self) -> Iterator[bytes]:
        while line := self._line_or_end():
            self.is_empty = False
            self._progress.advance(self._task, len(line))
            yield line

    def show(self, tally: Tally) -> None:
        self._progress.update(self._task, description=f"{tally.confirmed:,} confirmed, {tally.refused:,} refused")

    def interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self.interrupted = True
        if self._waiting:
            raise KeyboardInterrupt

    def _line_or_end(self) -> bytes:
        """The next line; empty at the end of the input, and once Ctrl-C was pressed."""
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


def _publish_all(publisher: BlockingPublisher, reader: _Reader, tally: Tally) -> str | None:
    """Publishes until the input ends or Ctrl-C, and waits for what was submitted.

    Returns why the input as a whole was not understood. Nothing at all on a pipe is no mistake: there was no event.
    """
    why = None
    before = signal.signal(signal.SIGINT, reader.interrupt)
    try:
        _submit_all(publisher, reader, tally)
    except NotUnderstoodError as error:
        why = None if reader.is_empty and not reader.is_file else error.reason
        if not reader.is_file:
            tally.keep_all(chain(error.read, reader.lines()), error.reason)
    finally:
        signal.signal(signal.SIGINT, before)
        # Each failure is in the tally by then, with its line.
        with suppress(PublishError):
            publisher.flush()
    reader.show(tally)
    return why


def _submit_all(publisher: BlockingPublisher, reader: _Reader, tally: Tally) -> None:
    lines = Lines(reader.lines(), publisher.events)
    for line in lines:
        _submit(publisher, tally, line, lines.header)
        reader.show(tally)


def _submit(publisher: BlockingPublisher, tally: Tally, line: Numbered, header: bytes) -> None:
    if line.event is None:
        tally.reject(line, header)
        return
    try:
        tally.expect(line, line.event, publisher.submit(line.event))
    except EventRefusedError as error:
        tally.reject(line._replace(event=None, reason=error.reason), header)
    except PublishError as error:
        tally.fail(line, line.event, error.reason)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer) if file == _STDIN else Path(file).open("rb")


def _kept(file: str, rejected: Path | None) -> AbstractContextManager[RejectedFile | None]:
    if rejected is None and file != _STDIN:
        rejected = Path(f"{file}.rejected")
    return nullcontext() if rejected is None else RejectedFile(rejected)


def _size(stream: IO[bytes]) -> int | None:
    """Bytes, or None when it is no file: then there is no end to measure against."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
