"""What other users of this machine must not learn: passwords, and the files they are written to."""

import os
import secrets
from pathlib import Path

UMASK = 0o077
"""Of every program the stack starts: what it creates belongs to its user alone."""


def new_password() -> str:
    """A random password of 256 bits, of letters that a URL does not quote."""
    return secrets.token_urlsafe(32)


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Creates `path`, never readable by others at any moment. Raises FileExistsError when it exists."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def open_log(path: Path) -> int:
    """A descriptor that appends to `path`; a new file is its owner's alone."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
