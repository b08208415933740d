"""A virtual host of a test module's own on the real broker, so that its exchange and messages are nobody else's."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

_EXPORT = re.compile(r"^export (RABBITMQ_NODENAME|ERL_EPMD_PORT|HOME)=(.+)$", re.MULTILINE)


def rabbitmqctl(*arguments: str) -> str:
    """Runs rabbitmqctl against the stack's broker and returns what it prints."""
    program = os.environ["ROTARY_STACK_RABBITMQCTL"]
    done = subprocess.run([program, "--quiet", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


@contextmanager
def private_vhost(url: str) -> Iterator[str]:
    """Creates a virtual host on the broker of `url`, yields its URL for the same user, and removes it."""
    made = lasting_vhost(url)
    try:
        yield made
    finally:
        evaluate(f'ok = rabbit_vhost:delete(<<"{urlsplit(made).path[1:]}">>, <<"test">>)')


def lasting_vhost(url: str) -> str:
    """The URL of a virtual host that nobody had before, and that ends with the broker."""
    name = f"rotary_test_{uuid4().hex}"
    evaluate(f"""
        ok = rabbit_vhost:add(<<"{name}">>, <<"test">>),
        {_permissions(name, urlsplit(url).username or "guest", ".*", ".*")}""")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@contextmanager
def private_user(url: str, topics: str) -> Iterator[str]:
    """A user who may write to `rotary.events` the routing keys that match `topics`, and nothing else.

    Yields the URL with that user in it.
    """
    name, vhost, password = f"dialer_{uuid4().hex}", urlsplit(url).path.removeprefix("/"), uuid4().hex
    evaluate(f"""
        ok = rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"test">>),
        {_permissions(vhost, name, "^$", "^rotary[.]events$")},
        ok = rabbit_auth_backend_internal:set_topic_permissions(
          <<"{name}">>, <<"{vhost}">>, <<"rotary.events">>, <<"{topics}">>, <<"^$">>, <<"test">>)""")
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
        yield urlsplit(url)._replace(netloc=f"{name}:{password}@{host}").geturl()
    finally:
        evaluate(f'ok = rabbit_auth_backend_internal:delete_user(<<"{name}">>, <<"test">>)')


def _permissions(vhost: str, user: str, own: str, write: str) -> str:
    """`own` is what the user may configure and read."""
    return f"""ok = rabbit_auth_backend_internal:set_permissions(
        <<"{user}">>, <<"{vhost}">>, <<"{own}">>, <<"{write}">>, <<"{own}">>, <<"test">>)"""


def evaluate(expressions: str) -> str:
    """Evaluates in the broker, and returns the result as Erlang writes it.

    Erlang's own erl_call does so at once, where rabbitmqctl starts an Erlang of its own first.
    """
    if not shutil.which("erl_call"):
        return rabbitmqctl("eval", f"{expressions}.").strip()
    exports = dict(_EXPORT.findall(Path(os.environ["ROTARY_STACK_RABBITMQCTL"]).read_text()))
    done = subprocess.run(
        ["erl_call", "-h", f"tests-{os.getpid()}", "-sname", exports["RABBITMQ_NODENAME"], "-e"],
        env=os.environ | exports,  # the cookie is in HOME
        input=" ".join(expressions.split()) + ".\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("{ok, "), f"{expressions}: {done.stdout}"
    return done.stdout.removeprefix("{ok, ").removesuffix("}")


@contextmanager
def memory_alarm() -> Iterator[None]:
    """The broker believes it is out of memory, and so reads nothing more from whoever publishes."""
    before = evaluate("vm_memory_monitor:get_vm_memory_high_watermark()")
    evaluate('vm_memory_monitor:set_vm_memory_high_watermark({absolute, "1MB"})')
    try:
        yield
    finally:
        evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({before})")
