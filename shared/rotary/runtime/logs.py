"""Logs on standard error, one event a line: text on a terminal, JSON elsewhere.

Our code never logs phone numbers or lead ids. In the messages and tracebacks of libraries, all but the last three
digits of a phone number are masked.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

_PHONE = re.compile(r"(?<![\w.:-])(\+\d{4,12}|0\d{6,9})(\d{3})(?![\w-])")

EventFields = MutableMapping[str, Any]  # structlog's own type of an event: what a caller logs beside it is anything


def configure(level: str = "INFO") -> None:
    """Sends the logs of structlog and of the standard library to standard error. Call it once, in `main`."""
    tty = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(tty=tty)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # We log a broken connection ourselves, once, with its consequences.
    for chatty in ("aiormq", "aio_pika"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _rendering(*, tty: bool) -> list[Processor]:
    if tty:
        return [mask_phones, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, mask_phones, structlog.processors.JSONRenderer(ensure_ascii=False)]


def mask_phones(_logger: WrappedLogger, _method: str, event: EventFields) -> EventFields:
    """Masks phone numbers in every text of an event."""
    for name, value in event.items():
        if isinstance(value, str) and name != "timestamp":
            event[name] = masked(value)
    return event


def masked(text: str) -> str:
    """The text with every phone number, international or domestic, reduced to its last three digits."""
    return _PHONE.sub(r"…\2", text)
