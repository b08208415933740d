"""Lowers aiormq's log records about the publisher's connections to DEBUG.

aiormq logs a traceback for each lost connection, a line for each attempt to connect, and the body of each returned
message. The publisher logs what matters itself. Other connections of the same process keep their log: only records made
in the publisher's own context are lowered.
"""

import logging
from contextvars import Context, ContextVar, copy_context

_log = logging.getLogger("rotary.publisher")
_in_publisher = ContextVar("rotary_publisher", default=False)


class _PublisherRecordsAtDebug(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _in_publisher.get():
            return True
        _log.debug("%s: %s", record.name, record.msg, exc_info=record.exc_info)
        return False


_filter = _PublisherRecordsAtDebug()


def debug_log_context() -> Context:
    """A context for the publisher's tasks. aiormq's records from them, and from tasks they start, go to DEBUG."""
    for name in ("aiormq.connection", "aiormq.channel"):
        logging.getLogger(name).addFilter(_filter)
    context = copy_context()
    context.run(_in_publisher.set, True)  # noqa: FBT003 - a context variable's value
    return context
