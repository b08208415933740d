"""The workspace: the directory with a stack's data, logs, secrets and control socket. It is closed to other users."""

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "rotary-stack-"
UMASK = 0o077
"""The umask of every process in the stack: what it creates is readable by its user alone."""

_YOUNG_SECONDS = 60


@contextmanager
def open_workspace() -> Iterator[Path]:
    """Creates a directory under the system's temporary directory and removes it afterwards.

    Also removes the workspaces of stacks that were killed before they could do so.
    """
    _remove_abandoned(Path(tempfile.gettempdir()), time.time())
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with os.fdopen(os.open(directory / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it when this process dies, even by SIGKILL
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def allow_traversal(directory: Path, group: str) -> None:
    """Lets members of `group` reach their own files inside `directory`. They cannot list it."""
    shutil.chown(directory, group=group)
    directory.chmod(0o710)


def new_password() -> str:
    """A random password of 256 bits. It needs no quoting in a URL."""
    return secrets.token_urlsafe(32)


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Creates `path` with its final mode, so that others can read it at no moment. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def open_log(path: Path) -> int:
    """A file descriptor that appends to `path`. A new file is readable by its owner alone."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def log_size(log: Path) -> int:
    """The size of `log` in bytes: the offset at which the next process begins to write."""
    return log.stat().st_size if log.exists() else 0


def _remove_abandoned(parent: Path, now: float) -> None:
    for lock in parent.glob(f"{PREFIX}*/lock"):
        # The temporary directory is shared: a directory or link of another user can be a trap.
        if lock.parent.is_symlink() or lock.parent.stat().st_uid != os.geteuid():
            continue
        with suppress(OSError), lock.open("r+") as held:
            # A lock file that is seconds old can belong to a stack that has created it and not locked it yet.
            if now - lock.stat().st_mtime > _YOUNG_SECONDS:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
