"""From a request's target to what it asks for."""

from typing import Literal

from msgspec import Struct
from yarl import URL

from rotary.events import MAX_ID

PREFIX = "/api/caller-id-groups"
_REMEMBERED = 16_384

Kind = Literal["groups", "group", "monitor", "openapi", "docs", "nothing"]
"""What a path names. (Text, not an Enum: it is part of the cache's keys, and an Enum's hash is computed in Python.)"""


class Route(Struct, frozen=True):
    """A path's meaning. `group_id` is 0 for one that no group can have, and where there is none."""

    kind: Kind
    group_id: int = 0


NOTHING = Route("nothing")
_FIXED = {PREFIX: Route("groups"), "/openapi.json": Route("openapi"), "/docs": Route("docs")}


class Routes:
    """Resolves raw targets and remembers the recent ones: a dashboard asks for the same few."""

    def __init__(self) -> None:
        self._known: dict[str, Route] = {}

    def find(self, target: str) -> Route:
        """The route of a request's target, in origin or absolute form; the query is ignored."""
        route = self._known.get(target)
        if route is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            route = self._known[target] = resolve(target)
        return route


def resolve(target: str) -> Route:
    """What a target means; whether its group exists is another question."""
    path = _path(target)
    if path in _FIXED:
        return _FIXED[path]
    if not path.startswith(PREFIX + "/"):
        return NOTHING
    match path.removeprefix(PREFIX + "/").split("/"):
        case [text] if text:
            return Route("group", group_id(text))
        case [text, "monitor"] if text:
            return Route("monitor", group_id(text))
        case _:
            return NOTHING


def group_id(text: str) -> int:
    """The id that a path segment spells in plain decimal, or 0 if it is no positive 64-bit integer."""
    if len(text) > 19 or not (text.isascii() and text.isdigit()) or text.startswith("0"):
        return 0
    number = int(text)
    return number if number <= MAX_ID else 0


def _path(target: str) -> str:
    if target.startswith("/") and "%" not in target:
        return target.partition("?")[0]
    try:
        # A slash stays encoded, so that no id can reach into another segment; digits and letters are decoded.
        return URL(target).raw_path
    except ValueError:
        return ""
