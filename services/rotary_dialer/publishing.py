"""`rotary-dialer publish`: events from standard input."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rotary.errors import EventRefusedError
from rotary.publisher import BlockingPublisher, Limits, PublishError
from rotary_dialer.lines import Numbered, read
from rotary_dialer.program import broker_options, deadline_option
from rotary_dialer.tally import Tally

_INTERRUPTED = 130


@click.command()
@broker_options
@deadline_option
@click.option(
    "--undelivered",
    type=click.File("ab", lazy=True),
    metavar="FILE",
    help="Append what the broker did not confirm, with its identity: publish that file again later.",
)
def publish(url: str, customer_id: int, source: str, deadline: float, undelivered: IO[bytes] | None) -> None:
    """Publish the events on standard input: JSON lines, or CSV with a header.

    \b
    {"type": "call-placed", "caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "id": "1780747140.17"}
    {"type": "carrier-flag", "caller_id_id": 18, "kind": "spam_label", "time": "2026-06-06T11:59:00Z"}

    Fields or columns: type, caller_id_id, group_id, lead_id, kind, carrier, code, note, time, id and source. Without a
    time an event happened now. Without an id each run makes a new event, so give one to what may be read twice. Whole
    CloudEvents are taken as they are.

    Exit status: 0 when every event was confirmed, 1 when any was not, 2 for wrong use, 130 after Ctrl-C.
    """
    publisher = BlockingPublisher(url, customer_id=customer_id, source=source, limits=Limits(deadline_seconds=deadline))
    console = Console(stderr=True, highlight=False, markup=False)
    with publisher, _progress(console) as progress, Tally(console.print, undelivered) as tally:
        interrupted = _publish_all(publisher, tally, progress)
    click.echo(f"confirmed {tally.confirmed:,}, refused {tally.refused:,}")
    sys.exit(_INTERRUPTED if interrupted else min(tally.refused, 1))


class _Reader:
    """Standard input's lines, and how many bytes of them have been read.

    Ctrl-C ends the reading and nothing else: raised just anywhere it could separate an event from its tally.
    """

    def __init__(self, progress: Progress) -> None:
        self.interrupted = False
        self._waiting = False
        self._progress = progress
        self._task = progress.add_task("", total=_size_of_input())

    def lines(self) -> Iterator[str]:
        while line := self._line_or_end():
            self._progress.advance(self._task, len(line))
            yield line.decode(errors="replace")

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
            return sys.stdin.buffer.readline()
        finally:
            self._waiting = False


def _publish_all(publisher: BlockingPublisher, tally: Tally, progress: Progress) -> bool:
    """Publishes until the input ends or Ctrl-C; returns whether it was that. What was submitted is waited for."""
    reader = _Reader(progress)
    before = signal.signal(signal.SIGINT, reader.interrupt)
    for numbered in read(reader.lines(), publisher.events):
        _publish_one(publisher, tally, numbered)
        reader.show(tally)
    signal.signal(signal.SIGINT, before)
    # Each failure is in the tally by then, with its line.
    with suppress(PublishError):
        publisher.flush()
    reader.show(tally)
    return reader.interrupted


def _publish_one(publisher: BlockingPublisher, tally: Tally, numbered: Numbered) -> None:
    number, event, reason = numbered
    if event is None:
        tally.refuse(number, reason)
        return
    try:
        tally.expect(number, event, publisher.submit(event))
    except EventRefusedError as error:
        tally.refuse(number, error.reason)
    except PublishError as error:
        tally.refuse(number, error.reason, event)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _size_of_input() -> int | None:
    """Bytes, or None when standard input is no file: then there is no end to measure against."""
    status = os.fstat(sys.stdin.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
