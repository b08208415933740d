"""The console scripts of rotary-server. As in `rotary.programs`, nothing outside the standard library is imported."""

from rotary.programs import run, serve

_DISTRIBUTION = "rotary-server"


def query() -> None:
    """`rotary-query`."""
    serve("query", distribution=_DISTRIBUTION)


def engine() -> None:
    """`rotary-engine`."""
    serve("engine", distribution=_DISTRIBUTION)


def consumer() -> None:
    """`rotary-consumer`."""
    serve("consumer", distribution=_DISTRIBUTION)


def campaigns() -> None:
    """`rotary-campaigns`."""
    serve("campaigns", distribution=_DISTRIBUTION)


def console() -> None:
    """`rotary-console`."""
    serve("console", distribution=_DISTRIBUTION)


def admin() -> None:
    """`rotary-admin`."""
    run("admin", distribution=_DISTRIBUTION)


def stack() -> None:
    """`rotary-stack`."""
    run("stack", distribution=_DISTRIBUTION)
