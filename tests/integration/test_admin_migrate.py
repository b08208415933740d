"""`rotary-admin migrate` as a process: what it applies and refuses, and how long it waits for a server."""

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from integration.admin_runner import Admin
from integration.private_database import execute, private_database


def test_migrate_says_what_it_applied(postgres_url: str) -> None:
    with private_database(postgres_url, migrated=False) as bare:
        assert Admin(bare).done("migrate").startswith("applied 0001_definitions.sql\n")
        assert Admin(bare).done("migrate") == "up to date\n"
        assert Admin(bare).json("migrate") == {"applied": []}


def test_migrate_refuses_a_newer_database(postgres_url: str) -> None:
    with private_database(postgres_url) as own:
        execute(own, "INSERT INTO rotary_migrations (number, name, sha256) VALUES (9999, '9999_later.sql', '')")
        assert "newer than this version of Rotary: it has 9999_later.sql" in Admin(own).refused("migrate")


def process(database_url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rotary_admin", *arguments],
        env=os.environ | {"ROTARY_POSTGRES_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrate_gives_up_after_the_time_it_was_told(free_url: str) -> None:
    with process(free_url, "migrate", "--wait", "0.5") as running:
        _, errors = running.communicate(timeout=20)
    assert running.returncode == 1
    *waiting, last = errors.splitlines()
    assert waiting
    assert last.startswith("rotary-admin: PostgreSQL is away: ")
    assert "Connect call failed" in last


def test_migrate_waits_for_a_server_that_comes_up_late(database_url: str, free_url: str) -> None:
    with process(free_url, "migrate", "--wait", "30") as running:
        assert running.stderr is not None
        assert "PostgreSQL is away: " in running.stderr.readline()
        with forwarded(free_url, database_url):
            output, _ = running.communicate(timeout=40)
    assert (running.returncode, output) == (0, "up to date\n")


@pytest.fixture
def free_url(database_url: str) -> str:
    """The database's URL, with a port at which nothing listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    parts = urlsplit(database_url)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return parts._replace(netloc=f"{login}127.0.0.1:{port}").geturl()


@contextlib.contextmanager
def forwarded(near_url: str, far_url: str) -> Iterator[None]:
    """Passes one connection on to the real server."""
    near, far = urlsplit(near_url), urlsplit(far_url)
    with socket.create_server(("127.0.0.1", near.port or 0)) as listener:
        thread = threading.Thread(target=_pass_on, args=(listener, (far.hostname or "127.0.0.1", far.port or 5432)))
        thread.start()
        yield
        thread.join(timeout=10)


def _pass_on(listener: socket.socket, far: tuple[str, int]) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection(far) as server:
        while True:
            readable, _, _ = select.select([client, server], [], [])
            for one, other in ((client, server), (server, client)):
                if one in readable:
                    if not (data := one.recv(65536)):
                        return
                    other.sendall(data)
