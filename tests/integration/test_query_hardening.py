"""What strangers may send: refused in JSON, within limits, without a trace of what answers."""

import asyncio
import gzip
import json
import re

import pytest
from msgspec import Struct
from structlog.testing import capture_logs

from integration.query_world import Site, World, group, member, site
from running import until

LIST = "/api/caller-id-groups"
ORIGIN = "https://board.example"
GZIP = "Accept-Encoding: gzip\r\n"


class Raw(Struct):
    """An answer as it came over the wire."""

    head: list[str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head[0].split(" ")[1])

    def header(self, name: str) -> str:
        """A header's value; empty if it is missing."""
        found = [line.partition(": ")[2] for line in self.head[1:] if line.lower().startswith(name.lower() + ":")]
        return found[0] if found else ""


async def answer(reader: asyncio.StreamReader) -> Raw:
    """The next answer of a connection."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")[:-2]
    raw = Raw(head, b"")
    raw.body = await reader.readexactly(int(raw.header("Content-Length") or 0))
    return raw


async def exchange(served: Site, *requests: bytes) -> list[Raw]:
    """Sends requests over one connection at once and reads as many answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.service.port)
    writer.write(b"".join(requests))
    answers = [await answer(reader) for _ in requests]
    writer.close()
    return answers


def request(path: str, token: str = "", version: str = "1.1", extra: str = "") -> bytes:
    """A request's bytes."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/{version}\r\nHost: x\r\n{authorization}{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / a b HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Large: %b\r\n" % (b"a" * 8000) * 5 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Large: %b\r\n" % (b"a" * 8000) * 5, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 200 + b"\r\n", 400),
    ],
)
async def test_what_is_no_request_is_refused_in_json(served: Site, sent: bytes, status: int) -> None:
    with capture_logs() as logs:
        (raw,) = await exchange(served, sent)
    assert raw.status == status
    assert list(json.loads(raw.body)) == ["message"]
    assert raw.header("Content-Type") == "application/json; charset=utf-8"
    assert raw.header("Connection") == "close"
    assert raw.header("X-Request-Id")
    assert raw.header("Server") == ""
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_a_body_is_not_waited_for(filled: World, served: Site) -> None:
    token = await filled.token()
    small, after = await exchange(
        served, request(LIST, token, extra="Content-Length: 5\r\n") + b"hello", request(LIST, token)
    )
    assert (small.status, after.status) == (200, 200)
    for extra in ("Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"):
        (large,) = await exchange(served, request(LIST, token, extra=extra))
        assert (large.status, large.body) == (413, b'{"message":"Request body too large."}')
        assert large.header("Connection") == "close"


async def test_pipelined_requests_are_answered_in_order(filled: World, served: Site) -> None:
    token = await filled.token()
    paths = [LIST, LIST + "/3", "/nowhere", LIST + "/9"] * 10
    answers = await exchange(served, *(request(path, token) for path in paths))
    assert [raw.status for raw in answers] == [200, 200, 404, 404] * 10


async def test_older_and_odder_clients_are_served(filled: World, served: Site) -> None:
    token = await filled.token()
    (absolute,) = await exchange(served, request("http://x" + LIST, token))
    assert absolute.status == 200
    kept, last = await exchange(
        served, request(LIST, token, "1.0", "Connection: keep-alive\r\n"), request(LIST, token, "1.0")
    )
    assert (kept.status, kept.header("Connection")) == (200, "keep-alive")
    assert (last.status, last.header("Connection")) == (200, "close")
    (expecting,) = await exchange(served, request(LIST, token, extra="Expect: 100-continue\r\n"))
    assert expecting.status == 200
    (weird,) = await exchange(
        served, f"GET {LIST} HTTP/1.1\r\nHost: x\r\naUTHORIZATION: bEARER  {token} \r\n\r\n".encode()
    )
    assert weird.status == 200


async def test_a_client_that_does_not_read_its_answers_is_dropped(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary.http.responses.DRAIN_SECONDS", 0.5)
    await filled.put(group(3, *(member(1000 + number) for number in range(2000))))
    async with site(filled.url) as running:
        token = await filled.token()
        _, writer = await asyncio.open_connection("127.0.0.1", running.service.port, limit=1024)

        async def dropped() -> bool:
            writer.write(request(LIST + "/3", token))
            await asyncio.sleep(0)
            return writer.transport.is_closing()

        await until(dropped, 20, "the client is dropped")


async def test_no_origin_may_read_unless_it_is_on_the_list(filled: World, served: Site) -> None:
    token = await filled.token()
    for method in ("GET", "OPTIONS"):
        response = await served.caller(token).get(LIST, method, Origin=ORIGIN, Access_Control_Request_Method="GET")
        assert [name for name in response.headers if name.startswith("Access-Control")] == []
    async with site(filled.url, cors_origins=f"https://a.example, {ORIGIN}/") as running:
        caller = running.caller(token)
        allowed = await caller.get(LIST, Origin=ORIGIN)
        assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert allowed.headers["Vary"] == "Origin"
        assert "X-RateLimit-Remaining" in allowed.headers["Access-Control-Expose-Headers"]
        before = await running.caller(None).get(LIST, "OPTIONS", Origin=ORIGIN, Access_Control_Request_Method="GET")
        assert before.status == 204
        assert "Authorization" in before.headers["Access-Control-Allow-Headers"]
        for origin in ("https://evil.example", ORIGIN + ".evil.example", "null"):
            refused = await caller.get(LIST, Origin=origin)
            assert "Access-Control-Allow-Origin" not in refused.headers
            assert refused.headers["Vary"] == "Origin"


async def test_the_access_log_is_off_unless_asked_for_and_tells_no_secret(filled: World, served: Site) -> None:
    token = await filled.token()
    with capture_logs() as logs:
        await served.caller(token).get(LIST + "/3?lead=L-991&number=%2B84901234567")
    assert [entry for entry in logs if entry["event"] == "request"] == []
    async with site(filled.url, access_log=True) as running:
        with capture_logs() as logs:
            response = await running.caller(token).get(LIST + "/3?lead=L-991&number=%2B84901234567")
    (entry,) = [entry for entry in logs if entry["event"] == "request"]
    assert entry["request_id"] == response.headers["X-Request-Id"]
    assert (entry["route"], entry["group_id"], entry["status"]) == ("group", 3, 200)
    for secret in (token, "L-991", "84901234567"):
        assert secret not in str(logs)


async def test_pages_need_no_token(served: Site) -> None:
    caller = served.caller(None)
    document = await caller.get("/openapi.json")
    assert json.loads(document.text)["openapi"] == "3.1.0"
    assert (await caller.get("/openapi.json", If_None_Match=document.headers["ETag"])).status == 304
    docs = await caller.get("/docs")
    assert docs.headers["Content-Type"] == "text/html; charset=utf-8"
    assert docs.text.startswith("<!doctype html>")
    assert "script-src 'self';" in docs.headers["Content-Security-Policy"]


async def test_every_file_of_the_docs_is_answered_compressed_or_not_and_never_twice(served: Site) -> None:
    html = (await served.caller(None).get("/docs")).text
    paths = re.findall(r'(?:src|href)="(docs/[^"]+)"', html)
    assert len(paths) == 4
    for path in paths:
        plain, gzipped = await exchange(served, request(f"/{path}"), request(f"/{path}", extra=GZIP))
        assert gzip.decompress(gzipped.body) == plain.body
        assert len(gzipped.body) < len(plain.body) / 2
        assert gzipped.header("X-Content-Type-Options") == "nosniff"
        assert "immutable" in gzipped.header("Cache-Control")
        known = request(f"/{path}", extra=f"{GZIP}If-None-Match: {gzipped.header('ETag')}\r\n")
        (unchanged,) = await exchange(served, known)
        assert (unchanged.status, unchanged.body) == (304, b"")
    (missing,) = await exchange(served, request("/docs/docs.0.js"))
    assert (missing.status, missing.header("Cache-Control")) == (404, "no-store")
