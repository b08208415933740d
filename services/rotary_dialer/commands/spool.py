"""`rotary-dialer spool`: publishes the files that other programs write into a directory."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from rotary.publisher import BlockingPublisher, Limits
from rotary_dialer.command_line import broker_options, deadline_option
from rotary_dialer.spooler import Spooler


@click.command()
@broker_options
@deadline_option
@click.option("--once", is_flag=True, help="Publish the files that exist now, then exit.")
@click.option(
    "--poll",
    default=0.2,
    show_default=True,
    type=click.FloatRange(min=0.01),
    help="Seconds between scans.",
)
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
    """Publish each file in DIRECTORY, and remove it after the confirm.

    A file has the format that `rotary-dialer publish` reads, usually one line of JSON. Write it under a name that
    begins with a dot, and rename it when it is complete. The time of an event defaults to the file's modification time.
    Its id defaults to the file's name and the event's place in the file, so a file that is read twice counts once.

    A file without a valid event, for example an empty one, is moved to DIRECTORY/.refused, with the reason in
    NAME.reason. If only some lines are invalid, the other lines are published and the invalid ones are written to
    .refused/NAME.rejected, with their reasons. A file that the broker does not confirm stays, and is published again
    later.

    Runs until SIGTERM or Ctrl-C. With --once the exit status is 1 when a file was refused or remains.
    """
    limits = Limits(deadline_seconds=deadline)
    with (
        _stop_on_signal() as stop,
        BlockingPublisher(url, customer_id=customer_id, source=source, limits=limits) as publisher,
    ):
        spooler = Spooler(directory, publisher)
        spooler.scan()
        while not stop.is_set() and not (once and spooler.is_idle()):
            stop.wait(poll)
            spooler.collect()
            if not once:
                spooler.scan()
        spooler.wait()
    if once and (spooler.refused or spooler.failed_attempts):
        raise SystemExit(1)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that is set on SIGTERM and Ctrl-C."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
