"""How many files, hence connections, the operating system lets this process have open."""

import resource

import structlog

_RESERVED = 256
"""Kept for Redis, the operator's port, and answering who is refused."""
_log = structlog.get_logger("rotary_http")


def raise_limit() -> None:
    """Raises the soft limit of open files to the hard one, and logs both."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # a platform may refuse "unlimited"
        _log.warning("open files stay limited", limit=soft, hard=hard, reason=str(error))
    else:
        _log.info("open files", limit=hard, before=soft, connections=max_connections())


def max_connections() -> int:
    """How many clients may be connected at once, so that files are left for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(_RESERVED, limit // 2)
