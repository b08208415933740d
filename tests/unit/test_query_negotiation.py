"""What Accept, Accept-Encoding and If-None-Match mean, whatever their form."""

from collections.abc import Sequence

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from rotary.http.negotiation import accepts_gzip, has_current, wants_stream
from rotary_query.http.sse_requests import stream_asked

ETAG = '"9c1f"'


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        (["text/event-stream"], True),
        (["Text/Event-Stream"], True),
        (["text/event-stream; charset=utf-8"], True),
        (["text/event-stream;q=0.5"], True),
        (["text/event-stream, */*;q=0.1"], True),
        (["text/event-stream, application/json"], True),
        (["application/json", "text/event-stream"], True),
        (["text/event-stream;q=0"], False),
        (["text/event-stream; Q=0.000"], False),
        (["text/event-stream;q=0.5, application/json"], False),
        (["application/json;q=0.9", "text/event-stream;q=0.3"], False),
        (["text/event-stream;q=0.5, */*"], False),
        (["text/event-stream;q=0.5, application/json;q=0.2, */*"], True),
        (["*/*"], False),
        (["text/*"], False),
        (["application/json"], False),
        (["application/x-text/event-stream"], False),
        ([";;,=,q"], False),
        ([], False),
    ],
)
def test_a_stream_is_sent_to_who_names_it_and_prefers_it(accept: Sequence[str], stream: bool) -> None:
    headers = CIMultiDict([("Accept", line) for line in accept])
    assert wants_stream(make_mocked_request("GET", "/", headers)) is stream
    assert not wants_stream(make_mocked_request("HEAD", "/", headers))


STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("target", "accept", "kind"),
    [
        ("/", f"{STREAM}; deltas=1", "deltas"),
        ("/", f"{STREAM};q=0.9;DELTAS = 1", "deltas"),
        ("/", f'{STREAM};deltas="1"', "deltas"),
        ("/", f"{STREAM};deltas=1, {STREAM};q=0.5", "deltas"),
        ("/", f"{STREAM};deltas=1, application/json;q=0.5", "deltas"),
        ("/", f"{STREAM};deltas=0", "snapshots"),
        ("/", f"{STREAM};deltas=10", "snapshots"),
        ("/", f"{STREAM};xdeltas=1", "snapshots"),
        ("/", f"{STREAM}, application/xml;deltas=1", "snapshots"),
        ("/", f"{STREAM};deltas=1;q=0, {STREAM}", "snapshots"),
        ("/", f"{STREAM};deltas=1;q=0.5, application/json", None),
        ("/", "*/*;deltas=1", None),
        ("/", None, None),
        ("/?deltas=1", f"{STREAM}", "deltas"),
        ("/?ticket=x&deltas=1", f"{STREAM}", "deltas"),
        ("/?deltas=1", None, "deltas"),
        ("/?deltas=1", "*/*", "deltas"),
        ("/?deltas=1", "text/*", "deltas"),
        ("/?deltas=1", "text/html, */*;q=0.8", "deltas"),
        ("/?deltas=1", "application/json, text/plain, */*", "deltas"),
        ("/?deltas=1", "application/json", None),
        ("/?deltas=1", "application/json, */*;q=0.1", None),
        ("/?deltas=1", f"{STREAM};q=0", None),
        ("/?deltas=0", "*/*", None),
        ("/?deltas=", f"{STREAM}", "snapshots"),
        ("/?deltas=11", f"{STREAM}", "snapshots"),
        ("/?other=1", "*/*", None),
    ],
)
def test_deltas_are_sent_to_who_asks_for_them_in_either_way(target: str, accept: str | None, kind: str | None) -> None:
    headers = CIMultiDict({} if accept is None else {"Accept": accept})
    assert stream_asked(make_mocked_request("GET", target, headers)) == kind
    assert stream_asked(make_mocked_request("HEAD", target, headers)) is None


@pytest.mark.parametrize(
    ("encodings", "gzip"),
    [
        (["gzip"], True),
        (["GZip"], True),
        (["x-gzip"], True),
        (["gzip, deflate, br, zstd"], True),
        (["br", "gzip;q=0.1"], True),
        (["*"], True),
        (["br;q=1, *;q=0.5"], True),
        (["gzip;q=0"], False),
        (["gzip;q=0, *"], False),
        (["*;q=0"], False),
        (["identity"], False),
        (["br, deflate"], False),
        (["gzipped"], False),
        ([""], False),
        ([], False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(encodings: Sequence[str], gzip: bool) -> None:
    headers = CIMultiDict([("Accept-Encoding", line) for line in encodings])
    assert accepts_gzip(make_mocked_request("GET", "/", headers)) is gzip


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ([ETAG], True),
        ([f"W/{ETAG}"], True),
        (["*"], True),
        ([" * "], True),
        ([f'"other", {ETAG}'], True),
        ([f'"other",W/{ETAG} ,"third"'], True),
        (['"other"', ETAG], True),
        (['"other"', f'"x", {ETAG}'], True),
        (['"other"', "*"], True),
        ([f'"a,b", {ETAG}'], True),
        ([f'"a, {ETAG[1:-1]}, b"'], False),
        ([f'"a, {ETAG}, b"'], False),  # a tag that holds ours between commas is not ours
        (["9c1f"], False),
        ([f"x{ETAG}"], False),
        ([f"w/{ETAG}"], False),
        (['"*"'], False),
        ([""], False),
        ([], False),
    ],
)
def test_every_line_and_form_of_if_none_match_is_understood(lines: Sequence[str], known: bool) -> None:
    headers = CIMultiDict([("If-None-Match", line) for line in lines])
    assert has_current(make_mocked_request("GET", "/", headers), ETAG) is known


def test_an_answer_without_an_etag_is_never_known() -> None:
    assert not has_current(make_mocked_request("GET", "/", CIMultiDict({"If-None-Match": "*"})), "")
