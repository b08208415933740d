"""What a client says about the form of its answer: Accept, Accept-Encoding, If-None-Match and its query.

RFC 9110, 12.5.1, 12.5.3 and 13.1.2.
"""

import re
from functools import lru_cache

from aiohttp import hdrs, web

STREAM = "text/event-stream"
_JSON_RANGES = ("application/json", "application/*", "*/*")
_TAG = re.compile(r'[\s,]*(?:W/)?("[^"]*")\s*(?:,|$)')
_STREAM_RANGES = (STREAM, "text/*", "*/*")
_DELTAS = re.compile(r'\s*deltas\s*=\s*"?1"?\s*')
_Q = re.compile(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", re.IGNORECASE)


def wants_stream(request: web.BaseRequest) -> bool:
    """Whether the client asks for server-sent events: by name, and no less than for JSON."""
    if hdrs.ACCEPT not in request.headers or request.method != hdrs.METH_GET:
        return False
    return prefers_stream(",".join(request.headers.getall(hdrs.ACCEPT)))


@lru_cache(maxsize=256)
def prefers_stream(accept: str) -> bool:
    """Whether an Accept header names `text/event-stream` with a weight above 0 and not below that of JSON.

    Wildcards alone are no wish for a stream. Letter case means nothing.
    """
    weights = dict(_weighed(part) for part in accept.lower().split(","))
    stream = weights.get(STREAM, 0.0)
    json = next((weights[name] for name in _JSON_RANGES if name in weights), 0.0)
    return stream > 0 and stream >= json


def permits_stream(accept: str) -> bool:
    """Whether an Accept header leaves room for `text/event-stream`: by name or wildcard, and no less than for JSON.

    A client that says in another way that it wants a stream need not name it. An empty header permits everything.
    """
    weights = dict(_weighed(part) for part in (accept or "*/*").lower().split(","))
    stream = next((weights[name] for name in _STREAM_RANGES if name in weights), 0.0)
    return stream > 0 and stream >= weights.get("application/json", 0.0)


def names_deltas(accept: str) -> bool:
    """Whether an Accept header names `text/event-stream; deltas=1` with a weight above 0."""
    ranges = [part.split(";") for part in accept.lower().split(",")]
    asking = (part for part in ranges if part[0].strip() == STREAM and any(map(_DELTAS.fullmatch, part[1:])))
    return any(_weighed(";".join(part))[1] > 0 for part in asking)


def parameter(request: web.BaseRequest, name: str) -> str:
    """A parameter of the request's query, as it was sent: not decoded. Empty if it is missing."""
    for part in request.raw_path.partition("?")[2].split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return value
    return ""


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Whether the client takes a gzipped answer. One that says nothing of encodings gets none."""
    return hdrs.ACCEPT_ENCODING in request.headers and names_gzip(
        ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING))
    )


@lru_cache(maxsize=256)
def names_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip or any encoding with a weight above 0. Letter case means nothing."""
    weights = dict(_weighed(part) for part in accept_encoding.lower().split(","))
    return next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), 0.0) > 0


def has_current(request: web.BaseRequest, etag: str) -> bool:
    """Whether one of the client's If-None-Match lines names this ETag, or any (`*`). ETags are compared weakly."""
    if not etag:
        return False
    first = request.headers.get(hdrs.IF_NONE_MATCH)
    if first is None:
        return False
    return first == etag or any(_names(line, etag) for line in request.headers.getall(hdrs.IF_NONE_MATCH))


def _names(line: str, etag: str) -> bool:
    return line.strip() == "*" or etag in entity_tags(line)


def entity_tags(line: str) -> list[str]:
    """The ETags of one header line, quoted, without the mark of weak ones. What is none ends the list."""
    tags: list[str] = []
    position = 0
    while (found := _TAG.match(line, position)) is not None:
        tags.append(found[1])
        position = found.end()
    return tags


def _weighed(part: str) -> tuple[str, float]:
    """A media range or an encoding, and its weight; 1 where none is given, or none that is valid."""
    name, *parameters = part.split(";")
    weights = [float(found[1]) for found in map(_Q.fullmatch, parameters) if found is not None]
    return name.strip(), min(1.0, weights[0]) if weights else 1.0
