"""The console scripts: each runs its program, or names the extra that brings what is missing.

Imports the standard library alone, because a script is there after a plain `pip install rotary` as well.
"""

import sys
from importlib import import_module


def query() -> None:
    """`rotary-query`."""
    _run("query")


def consumer() -> None:
    """`rotary-consumer`."""
    _run("consumer")


def admin() -> None:
    """`rotary-admin`."""
    _run("admin")


def dialer() -> None:
    """`rotary-dialer`."""
    _run("dialer")


def stack() -> None:
    """`rotary-stack`."""
    _run("stack")


def _run(name: str) -> None:
    """A program, its package and its extra share one name."""
    try:
        import_module(f"rotary_{name}.__main__").main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("rotary"):
            raise
        message = f"rotary-{name}: {package} is not installed; run  pip install 'rotary[{name}]'"
        print(message, file=sys.stderr)  # noqa: T201  the one line that a user needs
        raise SystemExit(2) from None
