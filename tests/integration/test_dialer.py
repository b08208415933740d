"""`rotary-dialer`, run as a program against the real broker."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest

from integration.dialer_runner import SOURCE, Done, dialer, environ, run, start
from integration.inbox import Inbox
from integration.private_vhost import private_user
from integration.tcp_proxy import TcpProxy
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared
from running import until

ROOT = Path(__file__).parents[2]
DIALERS = ROOT / "infra" / "dialers"


async def test_publish_reads_json_lines(broker_url: str, inbox: Inbox) -> None:
    lines = [
        {"type": "call-placed", "caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "pick_id": "01JD-18"}
        | {"id": "a"},
        {"type": "carrier-flag", "caller_id_id": 18, "kind": "blocked", "code": 608, "id": "b", "source": "/feed"},
        {"type": "cooldown-cleared", "caller_id_id": 18, "time": "2026-06-06T11:59:00+07:00", "id": "c"},
        {"specversion": "1.0", "id": "d", "source": "/x", "type": "call-placed", "time": "2026-06-06T11:59:00Z"}
        | {"data": {"caller_id_id": 19}},
    ]
    done = await dialer(broker_url, "publish", stdin="\n".join(map(json.dumps, lines)) + "\n\n")
    assert done == Done(0, "confirmed 4, refused 0\n", "")
    arrived = {str(event["id"]): event for event in await inbox.events(4)}
    assert [arrived[name]["source"] for name in "abcd"] == [SOURCE, "/feed", SOURCE, "/x"]
    assert arrived["a"]["data"] == {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "pick_id": "01JD-18"}
    assert arrived["b"]["data"] == {"caller_id_id": 18, "kind": "blocked", "code": 608}
    assert arrived["c"]["time"] == "2026-06-06T11:59:00+07:00"


async def test_publish_reads_csv_with_a_header(broker_url: str, inbox: Inbox) -> None:
    table = (
        "type,caller_id_id,group_id,lead_id,pick_id,kind,time,id\n"
        'call-placed,18,3,"Nguyễn, An",01JD-18,,2026-06-06T11:59:00Z,1780747140.17\n'
        "carrier-flag,18,,,,spam_label,2026-06-06T12:04:31Z,ticket-4711\n"
    )
    done = await dialer(broker_url, "publish", stdin=table)
    assert done == Done(0, "confirmed 2, refused 0\n", "")
    arrived = {str(event["id"]): event for event in await inbox.events(2)}
    assert arrived["1780747140.17"]["data"] == {
        "caller_id_id": 18,
        "group_id": 3,
        "lead_id": "Nguyễn, An",
        "pick_id": "01JD-18",
    }
    assert arrived["ticket-4711"]["data"] == {"caller_id_id": 18, "kind": "spam_label"}


async def test_publish_rejects_invalid_lines_with_a_reason_and_publishes_the_rest(
    broker_url: str, inbox: Inbox
) -> None:
    lines = [
        '{"type": "call-placed", "caller_id_id": 18, "id": "good"}',
        '{"type": "call-placed", "caller_id_id": 0}',
        '{"type": "call-placed", "caller_id_id": 18, "kind": "blocked"}',
        '{"type": "carrier-flag", "caller_id_id": 18}',
        '{"type": "call-placed", "caller_id_id": 18, "grup_id": 3}',
        '{"type": "call-placed", "caller_id_id": 18, "time": "2026-06-06T11:59:00"}',
        "not json",
        '{"type": "call-placed", "caller_id_id": 18, "lead_id": "' + "x" * 201 + '"}',
    ]
    done = await dialer(broker_url, "publish", stdin="\n".join(lines))
    assert (done.status, done.out) == (1, "confirmed 1, refused 7\n")
    told = done.err.splitlines()
    assert [line.split(":")[0] for line in told if line.startswith("line ")] == [f"line {n}" for n in range(2, 9)]
    assert "`int` >= 1" in done.err
    assert "a call-placed has no kind" in done.err
    assert "a carrier-flag needs a kind" in done.err
    assert "`grup_id`" in done.err
    assert [event["id"] for event in await inbox.events(1)] == ["good"]


async def test_publish_prints_the_first_rejected_lines_and_stores_all(
    broker_url: str, inbox: Inbox, tmp_path: Path
) -> None:
    good = '{"type": "call-placed", "caller_id_id": 18}\n' * 5_000
    done = await dialer(broker_url, "publish", "--rejected", tmp_path / "kept", stdin=good + "{}\n" * 50)
    assert (done.status, done.out) == (1, "confirmed 5,000, refused 50\n")
    assert len([line for line in done.err.splitlines() if line.startswith("line ")]) == 20
    assert "… and 30 more" in done.err
    assert (tmp_path / "kept").read_text() == "{}\n" * 50
    assert len((tmp_path / "kept.reason").read_text().splitlines()) == 50
    assert len(await inbox.events(5_000)) == 5_000


async def test_the_file_of_undelivered_events_can_be_published_again(
    broker_url: str, inbox: Inbox, tmp_path: Path
) -> None:
    kept = tmp_path / "undelivered.jsonl"
    call = '{"type": "call-placed", "caller_id_id": 18}\n'
    flag = '{"type": "carrier-flag", "caller_id_id": 18, "kind": "blocked"}\n'
    with private_user(broker_url, r"^call-placed[.]7$") as narrow:
        done = await dialer(narrow, "publish", "--undelivered", kept, stdin=call + flag)
    assert (done.status, done.out) == (1, "confirmed 1, refused 1\n")
    assert "line 2: ACCESS_REFUSED" in done.err
    (event,) = map(json.loads, kept.read_text().splitlines())
    done = await dialer(broker_url, "publish", stdin=kept.read_text())
    assert done.status == 0
    # The channel that the refusal closed had the call in flight as well, so that one may have come twice.
    assert event["id"] in await inbox.until({event["id"]})


async def test_publish_follows_a_pipe_and_delivers_before_ctrl_c_ends_it(broker_url: str, inbox: Inbox) -> None:
    process = await start(sys.executable, "-m", "rotary_dialer", "publish", env=environ(broker_url))
    assert process.stdin is not None
    process.stdin.write(b'{"type": "call-placed", "caller_id_id": 18, "id": "live"}\n')
    await process.stdin.drain()
    assert [event["id"] for event in await inbox.events(1)] == ["live"]
    process.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out.decode()) == (130, "confirmed 1, refused 0\n")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["publish", "--url", "http://x"], 2, "amqp://user:password@host:port/vhost"),
        (["publish", "--url", "amqp://[x"], 2, "amqp://user:password@host:port/vhost"),
        (["publish", "--url", "amqp://x:port"], 2, "amqp://user:password@host:port/vhost"),
        (["publish", "--customer", "0"], 2, "--customer"),
        (["publish", "--url", "amqp://127.0.0.1:1", "--deadline", "0.3"], 1, "RabbitMQ at 127.0.0.1:1 does not answer"),
        (["simulate", "--rate", "10", "--caller-ids", "5-1"], 2, "expected numbers and ranges"),
        (["spool", "/nowhere"], 2, "/nowhere"),
    ],
)
async def test_wrong_usage_is_reported_without_a_traceback(
    broker_url: str, arguments: list[str], status: int, told: str
) -> None:
    done = await dialer(broker_url, *arguments)
    assert done.status == status
    assert told in done.err
    assert "Traceback" not in done.err


async def test_a_refused_login_is_reported_in_one_line(broker_url: str) -> None:
    with private_user(broker_url, "^$") as gone:
        pass
    done = await dialer(gone, "publish", stdin="")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("rotary-dialer: ACCESS_REFUSED")


async def test_simulate_holds_its_rate_and_prints_it(broker_url: str, inbox: Inbox) -> None:
    done = await dialer(
        broker_url, "simulate", "--rate", "400", "--seconds", "1.5", "--caller-ids", "1-3,9",
        "--groups", "5", "--flag-every", "100", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    outcome = json.loads(done.out)
    assert (outcome["confirmed"], outcome["undelivered"]) == (600, 0)
    assert 250 <= outcome["rate_confirmed"] <= 401
    assert 0 < outcome["latency_p50_ms"] <= outcome["latency_p99_ms"] <= outcome["latency_max_ms"]
    events = await inbox.events(600)
    callers = [event["data"]["caller_id_id"] for event in events if event["type"] == "call-placed"]  # type: ignore[index]
    assert {caller: callers.count(caller) for caller in (1, 2, 3, 9)} == {1: 149, 2: 149, 3: 149, 9: 148}
    assert len(events) - len(callers) == 5


async def test_simulate_prints_text_by_default(broker_url: str, inbox: Inbox) -> None:
    done = await dialer(broker_url, "simulate", "--rate", "50", "--seconds", "0.2", "--caller-ids", "1")
    assert done.status == 0
    assert "asked        50 events/s" in done.out
    assert "10 in all" in done.out
    assert len(await inbox.events(10)) == 10


async def test_spool_publishes_files_and_removes_them_once_confirmed(
    broker_url: str, inbox: Inbox, tmp_path: Path
) -> None:
    placed = tmp_path / "call-1"
    placed.write_text('{"type": "call-placed", "caller_id_id": 18}\n')
    os.utime(placed, (1_780_747_140.123, 1_780_747_140.123))
    (tmp_path / ".unfinished").write_text('{"type": "call-pl')
    (tmp_path / "bad").write_text('{"type": "call-placed", "caller_id_id": "x"}\n')
    done = await dialer(broker_url, "spool", "--once", tmp_path)
    assert done.status == 1
    assert "bad refused: line 1: Expected `int`" in done.err
    (event,) = await inbox.events(1)
    assert (event["id"], event["source"], event["time"]) == ("call-1", SOURCE, "2026-06-06T11:59:00.123000Z")
    assert _names(tmp_path) == [".refused", ".unfinished"]
    assert _names(tmp_path / ".refused") == ["bad", "bad.reason"]


async def test_spool_keeps_files_while_the_broker_is_down(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    async with TcpProxy(broker_url) as proxy:
        command = (sys.executable, "-m", "rotary_dialer", "spool", "--deadline", "0.5", "--poll", "0.05", str(tmp_path))
        process = await start(*command, env=environ(proxy.url))
        _drop(tmp_path, "first")
        assert [event["id"] for event in await inbox.events(1)] == ["first"]
        await until(lambda: _empty(tmp_path), 10, "the first file is gone")
        await proxy.cut()
        _drop(tmp_path, "second")
        assert process.stderr is not None
        told = await asyncio.wait_for(process.stderr.readline(), 10)
        assert told.startswith(b"rotary-dialer: second not published, will retry: 1 event not published")
        assert (tmp_path / "second").exists()
        await proxy.mend()
        assert "second" in await inbox.until({"second"})
        await until(lambda: _empty(tmp_path), 10, "the second file is gone")
        process.terminate()
        await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0


def _drop(folder: Path, name: str) -> None:
    """Writes a file as the AGI script does."""
    hidden = folder / f".{name}"
    hidden.write_text('{"type": "call-placed", "caller_id_id": 18}\n')
    hidden.rename(folder / name)


async def _empty(folder: Path) -> bool:
    return not _names(folder)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


AGI = "agi_request: rotary-event\nagi_channel: PJSIP/trunk-00000001\nagi_uniqueid: {}\nagi_extension: s\n\n"


async def agi(spool: Path, unique: str, *arguments: str) -> str:
    """Runs the AGI script as Asterisk does; returns what it says to Asterisk."""
    script = DIALERS / "asterisk" / "rotary-event"
    done = await run(script, *arguments, env=os.environ | {"ROTARY_SPOOL": str(spool)}, stdin=AGI.format(unique))
    assert (done.status, done.err) == (0, "")
    return done.out


async def test_events_of_the_agi_script_are_published(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    await agi(tmp_path, "hcm-1780747140.17", "call-placed", "18", "3", 'L-991"; $(reboot)')
    await agi(tmp_path, "hcm-1780747140.17", "sip-result", "18", "SIP 608 Rejected")
    await agi(tmp_path, "hcm-1780747140.18", "sip-result", "18", "SIP 200 OK")
    await agi(tmp_path, "hcm-1780747140.19", "carrier-flag", "19", "spam_label")
    await agi(tmp_path, "../../etc/x", "call-placed", "20", "", "")
    assert "the caller ID is not a number" in await agi(tmp_path, "1.1", "call-placed", "18; reboot")
    assert "unknown event" in await agi(tmp_path, "1.1", "call-lost", "18")
    done = await dialer(broker_url, "spool", "--once", tmp_path)
    assert (done.status, done.err) == (0, "")
    arrived = {str(event["id"]): event["data"] for event in await inbox.events(4)}
    assert arrived == {
        "call-placed-hcm-1780747140.17": {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991 reboot"},
        "carrier-flag-hcm-1780747140.17": {"caller_id_id": 18, "kind": "blocked", "code": "SIP 608 Rejected"},
        "carrier-flag-hcm-1780747140.19": {"caller_id_id": 19, "kind": "spam_label"},
        "call-placed-.._.._etc_x": {"caller_id_id": 20},
    }
    assert _names(tmp_path) == []


async def test_the_committed_contract_is_generated_from_the_types(broker_url: str) -> None:
    done = await dialer(broker_url, "asyncapi")
    committed = (DIALERS / "asyncapi.json").read_text()
    assert done.out == committed, "run: rotary-dialer asyncapi > infra/dialers/asyncapi.json"


def test_the_examples_of_the_contract_are_events_and_a_call_names_its_pick() -> None:
    messages = json.loads((DIALERS / "asyncapi.json").read_text())["components"]["messages"]
    event, batch = CallPlaced | CarrierFlag | CooldownCleared, list[CallPlaced | CarrierFlag | CooldownCleared]
    for name, message in messages.items():
        for example in message["examples"]:
            msgspec.convert(example["payload"], batch if name.endswith("-batch") else event)
    [example] = messages["call-placed"]["examples"]
    assert example["payload"]["data"].keys() == {"caller_id_id", "group_id", "lead_id", "pick_id"}


def test_the_contract_is_valid_asyncapi_3() -> None:
    schema = json.loads((ROOT / "tests" / "asyncapi" / "3.0.0.json").read_text())
    contract = json.loads((DIALERS / "asyncapi.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(contract)] == []
    contract["operations"]["publish-call-placed"]["action"] = "shout"
    assert not validator.is_valid(contract)
