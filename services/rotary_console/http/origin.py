"""Whether a request that changes something comes from the console's own pages.

A header that no form can send, and where browsers tell it, the origin. Pages of other origins can send neither: there
is no CORS here.
"""

from aiohttp import hdrs, web

from rotary.http.responses import CachedResponse, failure

HEADER = "X-Rotary-Console"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_HEADER = failure(403, f"Send the header {HEADER}: 1.")
_FOREIGN = failure(403, "This request comes from another site.")


def refusal(request: web.BaseRequest, origin: str) -> CachedResponse | None:
    """The answer to a request that another site may have caused; None if it may be answered."""
    if request.method in _SAFE:
        return None
    headers = request.headers
    if headers.getall(HEADER, []) != ["1"]:
        return _NO_HEADER
    is_foreign = any(told != origin for told in headers.getall(hdrs.ORIGIN, ()))
    sites = headers.getall("Sec-Fetch-Site", ())
    return _FOREIGN if is_foreign or any(site != "same-origin" for site in sites) else None
