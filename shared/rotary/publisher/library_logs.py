"""Keeps aiormq's own log of our connections out of the application's: what matters in it the publisher says itself.

aiormq logs each lost connection with a traceback and each attempt to connect, and a returned message with its body. It
may well serve other connections of the same process, whose log is none of our business: only records that are made in
the context of ours are kept back, and can still be seen at level DEBUG.
"""

import logging
from contextvars import Context, ContextVar, copy_context

_log = logging.getLogger("rotary.publisher")
_ours = ContextVar("rotary_publisher", default=False)


class _OursAtDebug(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _ours.get():
            return True
        _log.debug("%s: %s", record.name, record.msg, exc_info=record.exc_info)
        return False


_filter = _OursAtDebug()


def quiet_context() -> Context:
    """A context for the tasks of our connections: they, and what they start, are kept out of the log."""
    for name in ("aiormq.connection", "aiormq.channel"):
        logging.getLogger(name).addFilter(_filter)
    context = copy_context()
    context.run(_ours.set, True)  # noqa: FBT003 - a context variable's value
    return context
