"""`rotary-stack demo` as its users see it: its commands work when pasted, Ctrl-C quits, nothing is left behind."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

DEMO = (sys.executable, "-P", "-m", "rotary_stack", "demo")
START_SECONDS = 90
END_SECONDS = 30

GROUP = ["id", "name", "description", "rotation_strategy", "sticky_enabled", "status", "caller_ids_count", "created_at"]
CALLER_ID = ["id", "number", "display_name", "carrier", "carrier_label", "status", "trunk_name", "weight"]
MONITOR = ["group_id", "group_name", "total_members", "eligible_now", "in_cooldown", "disabled", "members"]
MEMBER = [
    *("caller_id_id", "number", "carrier", "status"),
    *("health_score", "calls_today", "daily_cap", "cooldown_until"),
]


class Sandbox:
    """An environment that identifies the processes and files of one demo."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = f"ONE_DEMO={uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.environ = os.environ | {name: value, "TMPDIR": str(directory), "TERM": "xterm-256color"}

    def processes(self) -> list[str]:
        """The pids of the processes that were started with this environment."""
        return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._is_ours(entry)]

    def _is_ours(self, entry: Path) -> bool:
        try:
            return self._mark.encode() in (entry / "environ").read_bytes()
        except OSError:  # it has exited, or belongs to another user
            return False

    def is_clean(self) -> bool:
        return not self.processes() and not list(self.directory.iterdir())


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    directory = Path(tempfile.mkdtemp(prefix="demo-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user
    yield Sandbox(directory)
    shutil.rmtree(directory)


# Any: the test checks the shape of the JSON.
def run_pasted(line: str) -> Any:
    """Runs a printed curl command, or sends the same request without curl. Returns the data of the response."""
    program, flag, header, *method, url = shlex.split(line)
    assert (program, flag, method) in [("curl", "-H", []), ("curl", "-H", ["-X", "POST"])]
    if shutil.which("curl"):
        answer = subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=10).stdout
    else:
        name, _, value = header.partition(": ")
        with urlopen(Request(url, headers={name: value}, method=method[-1] if method else "GET"), timeout=10) as opened:
            answer = opened.read()
    return json.loads(answer)["data"]


# Any: likewise.
def sign_in(printed: str) -> Any:
    """Signs in to the console as the demo says. Returns the data of the response."""
    found = re.search(r"Open the console at (\S+) as (\S+), password (\S+)", printed)
    assert found
    body = json.dumps({"name": found[2], "password": found[3]}).encode()
    with urlopen(Request(f"{found[1]}/api/session", body, {"X-Rotary-Console": "1"}), timeout=10) as opened:
        return json.loads(opened.read())["data"]


def calls_today(lines: list[str]) -> list[dict[int, int]]:
    """For each snapshot a map of caller ID to calls."""
    snapshots: list[dict[int, int]] = []
    for line in lines:
        if re.match(r"\S+ group 3 ", line):
            snapshots.append({})
        elif found := re.match(r" +(\d+) .* calls +(\d+)/\d+", line):
            snapshots[-1][int(found[1])] = int(found[2])
    return snapshots


@contextmanager
def started(*argv: str, sandbox: Sandbox, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command inside the block."""
    with subprocess.Popen(argv, env=sandbox.environ, **streams) as process:  # type: ignore[call-overload]  # its streams
        try:
            yield process
        finally:
            process.kill()  # has no effect unless the test has failed


def read_until(output: int, end: str, seconds: float) -> str:
    """Reads from a file descriptor until the text `end` appears."""
    seen, deadline = b"", time.monotonic() + seconds
    while end not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace")):
        ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(output, 65536) if ready else b""
        assert more, f"no {end!r} within {seconds} s in:\n{seen.decode(errors='replace')}"
        seen += more
    return seen.decode(errors="replace")


def test_without_a_terminal_it_prints_snapshots_and_commands_that_work(sandbox: Sandbox) -> None:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(*DEMO, "--seconds", "8", sandbox=sandbox, **streams) as demo:
        assert demo.stdout is not None
        before = read_until(demo.stdout.fileno(), "+84941000129", START_SECONDS)
        assert len(sandbox.processes()) >= 7  # the demo, three servers and epmd, two services
        signed_in = sign_in(before)
        groups, group, monitor, pick = (run_pasted(line) for line in before.splitlines() if line.startswith("curl "))
        rest, errors = demo.communicate(timeout=8 + END_SECONDS)
    printed = (before + rest.decode()).splitlines()

    assert (demo.returncode, errors) == (0, b"")
    assert any("refused with 422: A caller ID group is required" in line for line in printed)
    assert "· gave the campaign Demo group 3; it is active" in printed
    assert printed[-1] == "· all servers have stopped and their data is deleted"
    assert sandbox.is_clean()

    assert [customer["role"] for customer in signed_in["customers"]] == ["admin"] * 2
    assert [list(item) for item in groups] == [GROUP] * 5
    assert [item["id"] for item in groups] == [1, 2, 3, 4, 5]
    assert list(group) == [*GROUP, "caller_ids"]
    assert [list(item) for item in group["caller_ids"]] == [CALLER_ID] * 12
    assert list(monitor) == MONITOR
    assert [list(item) for item in monitor["members"]] == [MEMBER] * 12
    assert pick["number"] in {member["number"] for member in monitor["members"] if member["status"] == "eligible"}
    assert {item["id"]: item["number"] for item in group["caller_ids"]}[18] == "+84901234567"
    over = sum(member["status"] == "quota_exceeded" for member in monitor["members"])
    assert (
        monitor["eligible_now"] + monitor["in_cooldown"] + monitor["disabled"] + over == monitor["total_members"] == 12
    )

    first, *_, last = calls_today(printed)
    assert first.keys() == last.keys() == {member["caller_id_id"] for member in monitor["members"]}
    assert sum(last.values()) > sum(first.values()) > 300
    picked = [int(found[1]) for line in printed if (found := re.search(r"engine: .* (\d+) picked", line))]
    assert picked[-1] > picked[0]


def test_ctrl_c_on_a_terminal_quits_with_status_0(sandbox: Sandbox) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    # Ctrl-C is a signal only to those whose controlling terminal it is typed on.
    with started("setsid", "--ctty", *DEMO, sandbox=sandbox, stdin=theirs, stdout=theirs, stderr=theirs) as demo:
        os.close(theirs)
        shown = read_until(ours, "29 +84941000129", START_SECONDS)
        os.write(ours, b"\x03")
        shown += read_until(ours, "stopping (press Ctrl-C again to stop at once)", END_SECONDS)
        os.write(ours, b"\x03")
        shown += read_until(ours, "all servers have stopped", END_SECONDS)
        assert demo.wait(END_SECONDS) == 0
    os.close(ours)

    assert "Ctrl-C quits" in shown
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back
    assert sandbox.is_clean()
