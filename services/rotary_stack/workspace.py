"""The state directory: where a stack keeps data, logs, secrets and its socket. It is closed to other users."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "rotary-stack-"
_YOUNG_SECONDS = 60


@contextmanager
def state_directory() -> Iterator[Path]:
    """A new directory under the system's temporary one, removed afterwards, as are those of stacks that were killed."""
    _sweep(Path(tempfile.gettempdir()), time.time())
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with os.fdopen(os.open(directory / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when we die, however we die
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def admit(directory: Path, group: str) -> None:
    """Lets the members of `group` pass through the directory, to what is theirs inside; they cannot list it."""
    shutil.chown(directory, group=group)
    directory.chmod(0o710)


def _sweep(parent: Path, now: float) -> None:
    """Removes the directories whose stack no longer lives: SIGKILL left it no time to do so itself."""
    for lock in parent.glob(f"{PREFIX}*/lock"):
        # A lock seconds old may belong to a stack that has opened it and not yet locked it.
        if lock.parent.is_symlink() or lock.parent.stat().st_uid != os.geteuid():
            continue  # the temporary directory is everybody's: what is not ours may be a trap
        with suppress(OSError), lock.open("r+") as held:
            if now - lock.stat().st_mtime > _YOUNG_SECONDS:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
