"""Starts a program from its console script, or names the missing extra.

Imports the standard library alone, because the script also exists after an install without extras.
"""

import gc
import sys
from importlib import import_module
from types import ModuleType


def dialer() -> None:
    """`rotary-dialer`."""
    run("dialer", distribution="rotary")


def serve(name: str, *, distribution: str) -> None:
    """Runs the program of a service, as `run`, without rich.

    structlog imports it wherever it is installed, for tracebacks that our logs do not have: a tenth of the time in
    which a service starts, and 3 MB of each.
    """
    sys.modules["rich"] = None  # type: ignore[assignment]  # for the import system: there is none
    run(name, distribution=distribution)


def run(name: str, *, distribution: str) -> None:
    """Runs the program `rotary-NAME`. Its package is `rotary_NAME`, and the extra of its distribution is NAME."""
    try:
        load(f"rotary_{name}.cli").main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("rotary"):
            raise
        message = f"rotary-{name}: {package} is not installed; run  pip install '{distribution}[{name}]'"
        print(message, file=sys.stderr)  # noqa: T201 - the one line that a user needs
        raise SystemExit(2) from None


def load(module: str) -> ModuleType:
    """Imports a program's module, and all that it needs, without the garbage collector.

    Nothing of it is ever garbage. The collector would look at all of it again and again, and a last time at the exit:
    that is a quarter of the time of a program that ends soon.

    redis-py imports OpenTelemetry wherever it is installed, for measurements that a program of ours does not ask for.
    Whoever has imported it before, as `opentelemetry-instrument` does, keeps it.
    """
    sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # for the import system: there is none
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()
