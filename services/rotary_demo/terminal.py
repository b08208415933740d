"""Standard output of the demo: a terminal, or a pipe that gets plain lines."""

import os
import sys
import termios
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.text import Text


class Terminal(Console):
    """Standard output. `reader_gone` turns true when the reader of a pipe has closed it."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)
        self.reader_gone = False

    @property
    def animated(self) -> bool:
        """Whether output can be redrawn in place."""
        return self.is_terminal and not self.is_dumb_terminal

    @property
    def short(self) -> bool:
        """Whether the terminal has too few lines for the whole introduction."""
        return self.animated and self.height < 36

    def on_broken_pipe(self) -> None:
        """Called by rich. Discards all further output; `reader_gone` ends the demo."""
        self.reader_gone = self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())

    def report(self, line: str) -> None:
        """Prints one line of progress."""
        self.print(Text(f"· {line}", "dim"), soft_wrap=True)

    def write(self, lines: Iterable[Text]) -> None:
        """Prints lines that only the terminal itself wraps, so that a long one is copied in one piece."""
        for line in lines:
            self.print(line, soft_wrap=True)

    def working(self, what: str) -> AbstractContextManager[object]:
        """Shows `what` while the block runs: with a spinner on a terminal."""
        if self.animated:
            return self.status(Text(what, "dim"))
        self.report(what)
        return nullcontext()

    @contextmanager
    def keys_ignored(self) -> Iterator[None]:
        """Inside the block typed keys are not echoed, and discarded at its end. Ctrl-C still works."""
        if not (self.animated and sys.stdin.isatty()):
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        silent = before.copy()
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)

    @contextmanager
    def stopping_reported(self) -> Iterator[None]:
        """Reports after the block that the servers are stopping, which takes seconds."""
        try:
            yield
        finally:
            self.report("stopping (press Ctrl-C again to stop at once)" if self.animated else "stopping")
