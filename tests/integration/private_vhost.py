"""A virtual host of a test module's own on the real broker, so that its exchange and messages are nobody else's."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4


def rabbitmqctl(*arguments: str) -> str:
    """Runs rabbitmqctl against the stack's broker and returns what it prints."""
    program = os.environ["ROTARY_STACK_RABBITMQCTL"]
    done = subprocess.run([program, "--quiet", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


@contextmanager
def private_vhost(url: str) -> Iterator[str]:
    """Creates a virtual host on the broker of `url`, yields its URL for the same user, and removes it."""
    name = f"rotary_test_{uuid4().hex}"
    _evaluate(_adding(name, url))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        rabbitmqctl("delete_vhost", name)


_MADE_AT_ONCE = 8
_unused: dict[str, list[str]] = {}


def lasting_vhost(url: str) -> str:
    """The URL of a virtual host that nobody had before, and that ends with the broker.

    They are made by several, and not removed: a run of rabbitmqctl takes longer than most tests.
    """
    names = _unused.setdefault(url, [])
    if not names:
        names += [f"rotary_test_{uuid4().hex}" for _ in range(_MADE_AT_ONCE)]
        _evaluate(",".join(_adding(name, url) for name in names))
    return urlsplit(url)._replace(path=f"/{names.pop()}").geturl()


def _adding(name: str, url: str) -> str:
    return f"""rabbit_vhost:add(<<"{name}">>, <<"test">>),
        {_permissions(name, urlsplit(url).username or "guest", ".*", ".*")}"""


@contextmanager
def private_user(url: str, topics: str) -> Iterator[str]:
    """A user who may write to `rotary.events` the routing keys that match `topics`, and nothing else.

    Yields the URL with that user in it.
    """
    name, vhost, password = f"dialer_{uuid4().hex}", urlsplit(url).path.removeprefix("/"), uuid4().hex
    _evaluate(f"""
        rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"test">>),
        {_permissions(vhost, name, "^$", "^rotary[.]events$")},
        rabbit_auth_backend_internal:set_topic_permissions(
          <<"{name}">>, <<"{vhost}">>, <<"rotary.events">>, <<"{topics}">>, <<"^$">>, <<"test">>)""")
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
        yield urlsplit(url)._replace(netloc=f"{name}:{password}@{host}").geturl()
    finally:
        rabbitmqctl("delete_user", name)


def _permissions(vhost: str, user: str, own: str, write: str) -> str:
    """`own` is what the user may configure and read."""
    return f"""rabbit_auth_backend_internal:set_permissions(
        <<"{user}">>, <<"{vhost}">>, <<"{own}">>, <<"{write}">>, <<"{own}">>, <<"test">>)"""


def _evaluate(expressions: str) -> str:
    """Several steps in one run of rabbitmqctl, which takes a second each time."""
    return rabbitmqctl("eval", f"{expressions}.")


@contextmanager
def memory_alarm() -> Iterator[None]:
    """The broker believes it is out of memory, and so reads nothing more from whoever publishes."""
    before = _evaluate("vm_memory_monitor:get_vm_memory_high_watermark()").strip()
    rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        # A share of the machine's memory is told as `0.4`, a fixed limit as `{absolute,1000000}`.
        rabbitmqctl("set_vm_memory_high_watermark", *before.strip("{}").split(","))
