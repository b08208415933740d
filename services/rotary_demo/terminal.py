"""Where the demo is shown: a terminal, or a pipe that gets plain lines."""

import os
import sys
import termios
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.text import Text


class Terminal(Console):
    """Standard output. `gone` is true once nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)
        self.gone = False

    @property
    def animated(self) -> bool:
        """Whether a picture can be drawn again over itself."""
        return self.is_terminal and not self.is_dumb_terminal

    @property
    def cramped(self) -> bool:
        """Whether every line counts."""
        return self.animated and self.height < 30

    def on_broken_pipe(self) -> None:
        """The reader of a pipe has left: whoever looks at `gone` comes to an end, and what is printed goes nowhere."""
        self.gone = self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())

    def say(self, line: str) -> None:
        """One line of progress."""
        self.print(Text(f"· {line}", "dim"), soft_wrap=True)

    def write(self, lines: Iterable[Text]) -> None:
        """Lines that only the terminal itself wraps, so that a long one can be copied in one piece."""
        for line in lines:
            self.print(line, soft_wrap=True)

    def working(self, what: str) -> AbstractContextManager[object]:
        """Says what is being done while the block runs: something that moves, on a terminal."""
        if self.animated:
            return self.status(Text(what, "dim"))
        self.say(what)
        return nullcontext()

    @contextmanager
    def keys_ignored(self) -> Iterator[None]:
        """Inside the block keys but Ctrl-C and its like do nothing, and leave no trace in a picture or in the shell."""
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
    def ending(self) -> Iterator[None]:
        """Says, after the block, that the end has begun: it takes seconds, in which nobody should wonder."""
        try:
            yield
        finally:
            self.say("ending (Ctrl-C again: at once)" if self.animated else "ending")
