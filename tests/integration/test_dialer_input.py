"""Every line that `rotary-dialer` reads is confirmed by the broker, or reported and stored."""

import asyncio
import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import aio_pika
import pytest
from aio_pika import ExchangeType
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.dialer_runner import dialer, dialer_here
from integration.inbox import Inbox
from integration.private_vhost import private_user
from rotary.events import EXCHANGE
from rotary.publisher import BlockingPublisher
from rotary_dialer.cli import cli
from rotary_dialer.spooler import Spooler

CALL = b'{"type": "call-placed", "caller_id_id": 18, "id": "good"}\n'
HEADER = b"type,caller_id_id,id\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


INVALID_FILES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \r\n", "is empty"),
    "NUL-filled": (bytes(4096), "line 1: the line contains NUL bytes"),
    "NUL-filled after a line end": (b"\n" + bytes(4096), "line 2: the line contains NUL bytes"),
    "UTF-16": (CALL.decode().encode("utf-16"), "the input is UTF-16; convert it first"),
    "UTF-16, big-endian": (codecs.BOM_UTF16_BE + CALL.decode().encode("utf-16-be"), "the input is UTF-16"),
    "UTF-16 without a mark": (CALL.decode().encode("utf-16-le"), "line 1: the line contains NUL bytes"),
    "Latin-1": (b"\xe9t\xe9\n", "line 1 is not UTF-8"),
    "another CSV": (b"date,number\n2026-06-06,0901\n", "'date' is not a column"),
    "a CSV with semicolons": (b"type;caller_id_id\ncall-placed;18\n", "'type;caller_id_id' is not a column"),
    "a CSV without its header": (b"call-placed,18\n", "'call-placed' is not a column"),
    "a CSV that lacks a column": (b"type,group_id\ncall-placed,3\n", "the column caller_id_id is missing"),
    "a CSV header alone": (HEADER, "a CSV header and no event"),
    "a CSV header that was cut": (b"type,caller_id_id", "no line end"),
    "a column twice": (b"type,caller_id_id,type\ncall-placed,18,x\n", "a column appears twice"),
    "a JSON array": (b'[{"type": "call-placed", "caller_id_id": 18}]\n', "line 1 is neither a JSON object nor CSV"),
    "printed JSON": (b'{\n"type": "call-placed",\n"caller_id_id": 18}\n', "line 1: Input data was truncated"),
    "cut JSON": (CALL[:30], "line 1: Input data was truncated"),
    "a log line first": (b"starting up\n" + CALL, "'starting up' is not a column"),
}
cases = pytest.mark.parametrize(("content", "told"), INVALID_FILES.values(), ids=INVALID_FILES.keys())


@cases
async def test_spool_keeps_a_file_in_an_unknown_format_with_the_reason(
    broker_url: str, tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "invalid").write_bytes(content)
    done = await dialer_here(broker_url, "spool", "--once", tmp_path)
    assert done.status == 1
    assert "invalid refused: " in done.err
    assert told in done.err
    assert (tmp_path / ".refused" / "invalid").read_bytes() == content
    assert told in (tmp_path / ".refused" / "invalid.reason").read_text()
    assert not (tmp_path / "invalid").exists()


@cases
async def test_publish_rejects_a_file_in_an_unknown_format_and_leaves_it(
    broker_url: str, tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "invalid"
    file.write_bytes(content)
    done = await dialer_here(broker_url, "publish", file)
    assert (done.status, done.out) == (1, "confirmed 0, refused 0\n")
    assert f"rotary-dialer: {file}: " in done.err
    assert told in done.err
    assert "Traceback" not in done.err
    assert names(tmp_path) == ["invalid"]
    assert file.read_bytes() == content


async def test_a_pipe_in_an_unknown_format_is_an_error_and_can_be_kept(broker_url: str, tmp_path: Path) -> None:
    told = await dialer(broker_url, "publish", stdin=b"date,number\n2026-06-06,0901\n")
    assert (told.status, told.out) == (1, "confirmed 0, refused 0\n")
    assert "standard input: line 1: not a JSON object, and 'date' is not a column; expected a JSON object" in told.err
    kept = await dialer(broker_url, "publish", "--rejected", tmp_path / "kept", stdin=b"date,number\n2026-06-06,0901\n")
    assert kept.status == 1
    assert (tmp_path / "kept").read_bytes() == b"date,number\n2026-06-06,0901\n"


async def test_an_empty_pipe_is_not_an_error(broker_url: str) -> None:
    done = await dialer(broker_url, "publish", stdin=b"")
    assert (done.status, done.out, done.err) == (0, "confirmed 0, refused 0\n", "")
    blank = await dialer(broker_url, "publish", stdin=b"\n")
    assert (blank.status, blank.out) == (1, "confirmed 0, refused 0\n")


async def test_a_byte_order_mark_is_not_part_of_the_first_line(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    for name, content in (("json", CALL), ("csv", HEADER + b"call-placed,18,good\n")):
        (tmp_path / name).write_bytes(codecs.BOM_UTF8 + content)
        done = await dialer(broker_url, "publish", tmp_path / name)
        assert (done.status, done.out, done.err) == (0, "confirmed 1, refused 0\n", "")
        assert [event["id"] for event in await inbox.events(1)] == ["good"]


BAD_LINES = {
    "not JSON": (CALL, b"oops\n", "JSON is malformed"),
    "another JSON": (CALL, b"[1]\n", "Expected `object`"),
    "cut off": (CALL, b'{"type": "call-pl', "Input data was truncated"),
    "NULs": (CALL, b"\0\0\0\0\n", "the line contains NUL bytes"),
    "not UTF-8": (CALL, b'{"type": "call-placed", "caller_id_id": 18, "lead_id": "\xe9"}\n', "the line is not UTF-8"),
    "nested a thousand deep": (
        *(CALL, b'{"specversion": "1.0", "x": ' + b"[" * 9999 + b"]" * 9999 + b"}\n", "the line is nested too deeply"),
    ),
    "a number without end": (CALL, CALL.replace(b"18", b"9" * 5000), "Integer value out of range"),
    "a cell too many": (HEADER + b"call-placed,18,good\n", b"call-placed,18,x,y\n", "the line has 4 cells"),
    "a cell too few": (HEADER + b"call-placed,18,good\n", b"call-placed,18\n", "the line has 2 cells"),
    "an open quote": (HEADER + b"call-placed,18,good\n", b'call-placed,18,"x\n', "unexpected end of data"),
    "a cut cell": (HEADER + b"call-placed,18,good\n", b"call-placed,18,17807", "the last line has no line end"),
}


@pytest.mark.parametrize(("good", "bad", "told"), BAD_LINES.values(), ids=BAD_LINES.keys())
async def test_an_invalid_line_is_stored_and_the_other_lines_are_published(
    broker_url: str, inbox: Inbox, tmp_path: Path, good: bytes, bad: bytes, told: str
) -> None:
    file, spool = tmp_path / "calls", tmp_path / "spool"
    spool.mkdir()
    for copy in (file, spool / "calls"):
        copy.write_bytes(good + bad)
    kept = (HEADER if good.startswith(HEADER) else b"") + bad
    line = len((good + bad).splitlines())

    done = await dialer_here(broker_url, "publish", file)
    assert (done.status, done.out) == (1, "confirmed 1, refused 1\n")
    assert f"line {line}: {told}" in done.err
    assert file.read_bytes() == good + bad
    assert (tmp_path / "calls.rejected").read_bytes() == kept
    assert (tmp_path / "calls.rejected.reason").read_text().startswith(f"line {line}: {told}")
    assert [event["id"] for event in await inbox.events(1)] == ["good"]

    done = await dialer_here(broker_url, "spool", "--once", spool)
    assert done.status == 1
    assert f"line {line}: {told}" in done.err
    assert (spool / ".refused" / "calls.rejected").read_bytes() == kept
    assert not (spool / "calls").exists()
    assert [event["id"] for event in await inbox.events(1)] == ["good"]


async def test_a_stored_line_is_rejected_again_until_it_is_corrected(
    broker_url: str, inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "calls").write_bytes(HEADER + b"call-placed,18,good\ncall-placed,18,17807")
    await dialer_here(broker_url, "publish", tmp_path / "calls")
    kept = tmp_path / "calls.rejected"
    assert (await dialer_here(broker_url, "publish", kept)).out == "confirmed 0, refused 1\n"
    kept.write_bytes(kept.read_bytes() + b"47140.17\n")
    assert (await dialer_here(broker_url, "publish", kept)).out == "confirmed 1, refused 0\n"
    assert [event["id"] for event in await inbox.events(2)] == ["good", "1780747140.17"]


async def test_stored_lines_replace_no_file(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        assert (await dialer_here(broker_url, "spool", "--once", tmp_path)).status == 1
    kept = tmp_path / ".refused"
    assert [(kept / name).read_bytes() for name in ("calls", "calls.2")] == [b"one", b"two"]
    for bad in (b"one\n", b"two\n"):
        file.write_bytes(CALL + bad)
        assert (await dialer_here(broker_url, "publish", file)).status == 1
    assert [(tmp_path / name).read_bytes() for name in ("calls.rejected", "calls.rejected.2")] == [b"one\n", b"two\n"]


async def test_a_file_stays_until_its_valid_lines_are_confirmed(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "calls").write_bytes(CALL + b"oops\n")
    with private_user(broker_url, "^$") as nobody:
        done = await dialer_here(nobody, "spool", "--once", tmp_path)
    assert (done.status, names(tmp_path)) == (1, ["calls"])
    assert (tmp_path / "calls").read_bytes() == CALL + b"oops\n"


async def test_ids_default_to_the_file_name_and_the_place(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "calls").write_bytes(b'{"type": "call-placed", "caller_id_id": 18}\n' * 3)
    assert (await dialer_here(broker_url, "spool", "--once", tmp_path)).status == 0
    assert {event["id"] for event in await inbox.events(3)} == {"calls", "calls/2", "calls/3"}


async def test_two_different_events_with_one_identity_are_an_error(
    broker_url: str, inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "calls").write_bytes(CALL + CALL.replace(b"18", b"19"))
    done = await dialer_here(broker_url, "spool", "--once", tmp_path)
    assert done.status == 1
    assert "line 2: line 1 is a different event with the same source and id" in done.err
    assert [event["data"] for event in await inbox.events(1)] == [{"caller_id_id": 18}]


def test_a_file_that_grew_while_it_was_published_is_read_again(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    with BlockingPublisher(broker_url, customer_id=7, source="/x") as publisher:
        spooler = Spooler(tmp_path, publisher)
        (tmp_path / "calls").write_bytes(CALL)
        spooler.scan()
        with (tmp_path / "calls").open("ab") as file:
            file.write(CALL.replace(b"good", b"late"))
        spooler.wait()
        assert (tmp_path / "calls").exists()
        spooler.scan()
        spooler.wait()
        assert publisher.confirmed == 3
    assert names(tmp_path) == []


async def test_text_of_a_file_cannot_control_the_terminal(broker_url: str, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "calls").write_bytes(CALL + b'{"type": "call-placed", "caller_id_id": 18, "\\u001b[2J": 1}\n')
    for command in (("publish", tmp_path / "calls"), ("spool", "--once", tmp_path)):
        done = await dialer_here(broker_url, *command)
        assert (done.status, "\x1b" in done.err) == (1, False)


# The law for any content of a file.

NUMBERS = st.integers(0, 9)
good_lines = st.builds(lambda number: b'{"type":"call-placed","caller_id_id":18,"id":"id-%d"}' % number, NUMBERS)
csv_lines = st.builds(lambda number: b"call-placed,18,id-%d" % number, NUMBERS)
cut_lines = st.builds(lambda line, at: line[:at], good_lines, st.integers(1, 40))
junk = st.binary(max_size=30) | st.sampled_from(
    [b"\0" * 20, b"", b" ", b"[]", b"{}", b'{"a":' * 2000, b'"', b"\xff\xfe"]
)
lines = good_lines | good_lines | csv_lines | cut_lines | junk
starts = st.sampled_from([b"", b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, HEADER, codecs.BOM_UTF8 + HEADER, b"\n\n"])
ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
files = st.builds(
    lambda start, some, end, last: start + end.join(some) + last,
    *(starts, st.lists(lines, max_size=8), ends, st.sampled_from([b"", b"\n"])),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=files | st.binary(max_size=200))
def test_every_line_is_confirmed_or_kept(module_publisher: BlockingPublisher, content: bytes) -> None:
    confirmed = module_publisher.confirmed
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(content)
        spooler = Spooler(folder, module_publisher)
        spooler.scan()
        spooler.wait()
        kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".reason")]
        assert not (folder / "file").exists()
    if content in kept:
        assert (spooler.refused, module_publisher.confirmed) == (1, confirmed)
        return
    header, expected = _meaning(content)
    aside = [line for text in kept for line in text.split(b"\n") if line.strip() and line != header]
    assert len(aside) + (module_publisher.confirmed - confirmed) == len(expected)
    assert spooler.refused == min(len(aside), 1)
    for line in aside:
        expected.remove(line)
    for line in expected:
        assert b"id-" in line, line


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=files)
def test_the_exit_status_is_0_only_when_every_line_was_confirmed(
    module_publisher: BlockingPublisher, broker_url: str, content: bytes
) -> None:
    with TemporaryDirectory() as name:
        file = Path(name) / "file"
        file.write_bytes(content)
        command = ["publish", "--url", broker_url, "--customer", "7", str(file)]
        result = CliRunner().invoke(cli, command)
        assert file.read_bytes() == content
        kept = Path(f"{file}.rejected").read_bytes() if Path(f"{file}.rejected").exists() else b""
    counts = re.fullmatch(r"confirmed (\d+), refused (\d+)\n", result.stdout)
    assert counts is not None
    confirmed, refused = map(int, counts.groups())
    assert result.exit_code == int(refused > 0 or confirmed == 0)
    if (confirmed, refused) != (0, 0):
        header, expected = _meaning(content)
        aside = [line for line in kept.split(b"\n") if line.strip() and line != header]
        assert (len(aside), confirmed + refused) == (refused, len(expected))
    else:
        assert "rotary-dialer: " in result.stderr


def _meaning(content: bytes) -> tuple[bytes | None, list[bytes]]:
    """The header, if there is one, and every other line that is not blank."""
    found = [line for line in content.split(b"\n") if line.strip()]
    is_json = found[0].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    return (None, found) if is_json else (found[0], found[1:])


@pytest.fixture(scope="module")
def module_publisher(broker_url: str) -> Iterator[BlockingPublisher]:
    asyncio.run(_declare(broker_url))
    with BlockingPublisher(broker_url, customer_id=7, source="/dialers/hcm-1") as publisher:
        yield publisher


async def _declare(broker_url: str) -> None:
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue("all")
        await queue.bind(exchange, "#")
