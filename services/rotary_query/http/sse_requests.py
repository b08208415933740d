"""What a request for a group's monitor asks for: one body, or one of two kinds of streams."""

from functools import lru_cache
from typing import Literal

from aiohttp import hdrs, web

from rotary.http.negotiation import names_deltas, parameter, permits_stream, prefers_stream

StreamKind = Literal["snapshots", "deltas"]


def stream_asked(request: web.BaseRequest) -> StreamKind | None:
    """The kind of stream that the client asks for; None if it asks for one body.

    Either by `Accept: text/event-stream`, with the parameter `deltas=1` or without, or by `?deltas=1`. The latter is
    for clients that cannot choose what they accept: it asks for a stream unless the client accepts JSON alone.
    """
    has_query = "?" in request.raw_path
    if request.method != hdrs.METH_GET or not (has_query or hdrs.ACCEPT in request.headers):
        return None
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    return _kind(accept, has_query and parameter(request, "deltas") == "1")


@lru_cache(maxsize=256)
def _kind(accept: str, wants_deltas: bool) -> StreamKind | None:  # noqa: FBT001  # a key of the cache
    if wants_deltas and permits_stream(accept):
        return "deltas"
    if not prefers_stream(accept):
        return None
    return "deltas" if names_deltas(accept) else "snapshots"
