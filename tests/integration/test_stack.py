"""The local stack as its users see it: the real program and real servers, and nothing left of them afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

import aiormq
import asyncpg
import msgspec
import pytest
import redis

from integration.private_vhost import evaluate
from rotary_stack.binaries import locate, locate_or_install
from rotary_stack.control.client import send
from rotary_stack.control.messages import Action, Request, Status
from rotary_stack.errors import BinariesMissingError, StackError

# Prints the status of the stack, then reads its own exit status from standard input.
COMMAND = ("sh", "-c", "rotary-stack status --json | tr -d '\\n'; echo; read status; exit $status")
PROGRAM = (sys.executable, "-P", "-m", "rotary_stack")


class RunningStack:
    """A running `rotary-stack exec`, in a session of its own as a terminal would give it."""

    def __init__(self, *options: str) -> None:
        inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        try:
            self._start(*options)
        finally:
            signal.signal(signal.SIGHUP, inherited)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate(timeout=30)[1])
        self.status = msgspec.json.decode(line, type=Status)

    def _start(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "exec", *options, "--", *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def request(self, action: Action, name: str, *, empty: bool = False) -> Status:
        return send(Request(action, name, empty), self.status.environ)

    def finish(self, status: int) -> int:
        self.process.communicate(f"{status}\n", timeout=30)
        return self.process.returncode

    def send_signal(self, number: Signals) -> int:
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        self.process.communicate()  # only now: it closes standard input, which ends the command
        return self.process.returncode


OpenStack = Callable[..., RunningStack]


@pytest.fixture
def open_stack() -> Iterator[OpenStack]:
    stacks: list[RunningStack] = []

    def open_one(*options: str) -> RunningStack:
        stacks.append(RunningStack(*options))
        return stacks[-1]

    yield open_one
    for stack in stacks:
        if stack.process.poll() is None:
            stack.send_signal(SIGTERM)


def processes_of(directory: str) -> list[int]:
    """The processes with the workspace in their command line or environment."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _names(entry, directory)]


def _names(process: Path, directory: str) -> bool:
    try:
        return directory.encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return False


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def assert_no_process_is_left(status: Status) -> None:
    programs = status.programs.values()
    assert eventually(lambda: not [one.name for one in programs if one.pid and Path(f"/proc/{one.pid}").exists()])
    assert eventually(lambda: not processes_of(status.directory))
    assert not [one.name for one in programs if listening(one.port)]


def assert_no_workspace_is_left(status: Status) -> None:
    assert not Path(status.directory).exists()


def test_the_modules_that_the_broker_loads_together_are_those_that_its_start_needs() -> None:
    names = 'element(2, file:consult("preloaded"))'
    assert evaluate(f"[Name || Name <- lists:append({names}), code:is_loaded(Name) == false]") == "[]"
    assert int(evaluate(f"length([Name || {{Name, File}} <- code:all_loaded(), is_list(File)] -- hd({names}))")) < 50


async def test_a_command_can_use_every_server_and_nothing_is_left_afterwards(
    open_stack: OpenStack,
) -> None:
    stack = open_stack("--no-migrate")
    variables = stack.status.environ
    assert {one.state for one in stack.status.programs.values()} == {"running"}

    postgres = await asyncpg.connect(variables["ROTARY_POSTGRES_URL"])
    assert await postgres.fetchval("SELECT current_user || '@' || current_database()") == "rotary@rotary"
    await postgres.close()
    assert "rotary\t[administrator]" in listed_users(variables["ROTARY_STACK_RABBITMQCTL"])

    await keep_a_message(variables["ROTARY_RABBITMQ_URL"])
    before = stack.status.programs["rabbitmq"]
    assert (
        Path("/proc") / str(before.pid) / "comm"
    ).read_text() == "beam.smp\n"  # no shell around it: SIGKILL reaches the node
    assert stack.request("kill", "rabbitmq").programs["rabbitmq"].state == "stopped"
    after = stack.request("start", "rabbitmq").programs["rabbitmq"]
    assert (after.state, after.port) == ("running", before.port)
    assert after.pid != before.pid
    assert await kept_messages(variables["ROTARY_RABBITMQ_URL"]) == 1

    table = run("status", environ=stack.status.environ).stdout.splitlines()
    assert table[0].split() == ["NAME", "STATE", "PID", "URL"]
    assert [line.split()[:2] for line in table[1:]] == [[name, "running"] for name in stack.status.programs]

    assert stack.finish(7) == 7
    stack.status.programs["rabbitmq"] = after
    assert_no_process_is_left(stack.status)
    assert_no_workspace_is_left(stack.status)


def listed_users(rabbitmqctl: str) -> str:
    return subprocess.check_output([rabbitmqctl, "list_users"], text=True)


async def keep_a_message(url: str) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    # A classic queue: RabbitMQ stores the name of a quorum queue after half a second, and a kill before that loses it.
    await channel.queue_declare("kept", durable=True)
    await channel.basic_publish(b"kept", routing_key="kept", properties=aiormq.spec.Basic.Properties(delivery_mode=2))
    await connection.close()


async def kept_messages(url: str) -> int:
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    message = await channel.basic_get("kept", no_ack=True)
    await connection.close()
    return int(message.body == b"kept")


def test_services_restart_on_their_ports_and_sigkill_of_the_stack_leaves_no_process(
    open_stack: OpenStack,
) -> None:
    stack = open_stack("--services", "--consumers", "2")
    consumers = stack.status.environ["ROTARY_CONSUMER_OPS_URL"].split()
    assert_ready(*consumers, stack.status.environ["ROTARY_OPS_URL"])
    assert states(stack.request("kill", "consumer")) == ["stopped", "stopped", "running"]
    assert states(stack.request("start", "consumer-2")) == ["stopped", "running", "running"]
    last = stack.request("restart", "query")
    assert_ready(last.environ["ROTARY_OPS_URL"])
    with pytest.raises(StackError, match="query stores no data: leave out --empty"):
        stack.request("restart", "query", empty=True)
    assert states(stack.request("status", "")) == ["stopped", "running", "running"]

    assert stack.send_signal(SIGKILL) == -SIGKILL
    assert_no_process_is_left(last)
    the_next_stack_removes_the_directory(Path(last.directory))


def assert_ready(*urls: str) -> None:
    """A consumer that takes a log over from another one is not ready for a moment, after the stack was."""
    last: dict[str, str] = {}

    def all_ready() -> bool:
        last.update({url: readiness(url) for url in urls})
        return set(last.values()) == {'{"ready":true,"missing":[]}'}

    assert eventually(all_ready), last


def readiness(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bytes(answer.read()).decode()
    except urllib.error.HTTPError as error:
        return bytes(error.read()).decode()


def states(status: Status) -> list[str]:
    return [status.programs[name].state for name in ("consumer-1", "consumer-2", "query")]


def the_next_stack_removes_the_directory(directory: Path) -> None:
    os.utime(directory / "lock", (time.time() - 120, time.time() - 120))
    assert run("exec", "--quiet", "--only", "redis", "--", "true").returncode == 0
    assert not directory.exists()


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, signal.SIGHUP])
def test_a_signal_to_the_stack_reaches_the_command_and_ends_everything(open_stack: OpenStack, number: Signals) -> None:
    stack = open_stack("--only", "postgres,redis", "--no-migrate")
    assert stack.send_signal(number) == 128 + number
    assert_no_process_is_left(stack.status)
    assert_no_workspace_is_left(stack.status)


def test_redis_keeps_its_data_unless_it_is_started_empty(open_stack: OpenStack) -> None:
    stack = open_stack("--only", "redis")
    with redis.Redis.from_url(stack.status.environ["ROTARY_REDIS_URL"]) as client:
        client.set("caller", "18")
        killed = stack.request("kill", "redis").programs["redis"]
        assert (killed.state, killed.pid) == ("stopped", None)
        assert not listening(killed.port)
        assert stack.request("start", "redis").programs["redis"].port == killed.port
        assert client.get("caller") == b"18"
        stack.request("restart", "redis", empty=True)
        assert client.get("caller") is None
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert stack.finish(0) == 0
    assert_no_process_is_left(stack.status)


def test_a_server_that_exits_unexpectedly_is_reported_and_can_be_started(
    open_stack: OpenStack,
) -> None:
    stack = open_stack("--only", "redis")
    pid = stack.status.programs["redis"].pid
    assert pid is not None
    os.kill(pid, SIGKILL)
    assert eventually(lambda: send(Request("status"), stack.status.environ).programs["redis"].state == "ended")
    assert stack.request("start", "redis").programs["redis"].state == "running"
    _, reported = stack.process.communicate("0\n", timeout=30)
    assert "redis exited unexpectedly with status -9" in reported


def test_a_refused_request_says_why(open_stack: OpenStack) -> None:
    stack = open_stack("--only", "redis")
    with pytest.raises(StackError, match="no process 'carrier' in this stack; choose from: redis"):
        stack.request("kill", "carrier")
    stack.finish(0)
    with pytest.raises(StackError, match="it has ended"):
        stack.request("kill", "redis")


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "redis-server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nseq -f 'line %g' 30\nexit 3\n")
    broken.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    environ = {"PATH": f"{broken.parent}:{os.environ['PATH']}", "TMPDIR": str(state)}
    ended = run("exec", "--only", "redis,rabbitmq", "--", "echo", "never", environ=environ)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "rotary-stack: redis did not start: it exited with status 3" in ended.stderr
    assert "  | line 30" in ended.stderr
    assert "line 10\n" not in ended.stderr
    assert eventually(lambda: not processes_of(str(state)))
    assert not list(state.iterdir())


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_servers_start_leaves_nothing(tmp_path: Path, times: int) -> None:
    starting = subprocess.Popen(
        [*PROGRAM, "exec", "--only", "redis,rabbitmq", "--", "echo", "never"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert starting.stderr is not None
    while "redis ready" not in starting.stderr.readline():
        assert starting.poll() is None
    assert processes_of(str(tmp_path))
    for _ in range(times):
        starting.send_signal(SIGINT)
    output, _ = starting.communicate(timeout=30)
    assert (starting.returncode, output) == (130, "")
    assert eventually(lambda: not processes_of(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_a_terminal_reaches_the_command_once() -> None:
    count = (
        "import signal, sys, time; got = []; signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('up', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3); sys.exit(40 + len(got))"
    )
    terminal, inner = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--wait", "--ctty", *PROGRAM, "exec", "--only", "redis", "--", sys.executable, "-c", count],
        stdin=inner,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    os.close(inner)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.write(terminal, b"\x03")
    process.communicate(timeout=30)
    os.close(terminal)
    assert process.returncode == 41


def run(*arguments: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    outside = {name: value for name, value in os.environ.items() if name != "ROTARY_STACK_SOCKET"}
    command = [*PROGRAM, *arguments]
    return subprocess.run(
        command, env=outside | (environ or {}), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("request_", [("kill", "redis"), ("status", "--json")])
def test_outside_a_stack_a_request_fails_with_one_line(request_: tuple[str, ...]) -> None:
    ended = run(*request_)
    assert ended.returncode == 1
    assert ended.stderr == (
        "rotary-stack: not inside a stack (ROTARY_STACK_SOCKET is not set): run  rotary-stack exec -- COMMAND\n"
    )


def test_a_command_that_does_not_exist_starts_no_server() -> None:
    ended = run("exec", "--", "no-such-command-anywhere")
    assert ended.returncode == 127
    assert ended.stderr == "rotary-stack: no-such-command-anywhere: command not found\n"


def finds_all_but(*missing: str) -> Callable[[str, str], str | None]:
    return lambda program, _: None if program in missing else f"/somewhere/{program}"


def test_every_missing_program_is_named_at_once() -> None:
    with pytest.raises(BinariesMissingError) as refused:
        locate(finds_all_but("redis-server", "epmd", "rabbitmqctl"))
    assert str(refused.value) == (
        "not installed: redis-server, rabbitmqctl, epmd\n"
        "Run this as root and try again:  apt-get install --no-install-recommends redis-server rabbitmq-server\n"
        "Or run the same system in containers:  docker compose up"
    )
    assert locate(finds_all_but()).redis_server == "/somewhere/redis-server"


async def test_nothing_is_installed_without_permission() -> None:
    reported: list[str] = []
    with pytest.raises(BinariesMissingError, match="docker compose up"):
        await locate_or_install(reported.append, finds_all_but("initdb", "apt-get"))
    assert not reported
