"""Starts a program from its console script, or names the missing extra.

Imports the standard library alone, because the script also exists after an install without extras.
"""

import sys
from importlib import import_module


def dialer() -> None:
    """`rotary-dialer`."""
    run("dialer", distribution="rotary")


def run(name: str, *, distribution: str) -> None:
    """Runs the program `rotary-NAME`. Its package is `rotary_NAME`, and the extra of its distribution is NAME."""
    try:
        import_module(f"rotary_{name}.__main__").main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("rotary"):
            raise
        message = f"rotary-{name}: {package} is not installed; run  pip install '{distribution}[{name}]'"
        print(message, file=sys.stderr)  # noqa: T201 - the one line that a user needs
        raise SystemExit(2) from None
