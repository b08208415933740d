"""From a request's target to what it asks for."""

from enum import Enum

from msgspec import Struct
from yarl import URL

from rotary.events import MAX_ID

PREFIX = "/api/caller-id-groups"
_REMEMBERED = 16_384


class Kind(Enum):
    """What a path names."""

    GROUPS = "groups"
    GROUP = "group"
    MONITOR = "monitor"
    OPENAPI = "openapi"
    DOCS = "docs"
    NOTHING = "nothing"


class Route(Struct, frozen=True):
    """A path's meaning. `group_id` is 0 for one that no group can have, and where there is none."""

    kind: Kind
    group_id: int = 0

    @property
    def is_api(self) -> bool:
        """Whether it needs a token."""
        return self.kind in _API


_API = (Kind.GROUPS, Kind.GROUP, Kind.MONITOR)
_NOTHING = Route(Kind.NOTHING)
_FIXED = {PREFIX: Route(Kind.GROUPS), "/openapi.json": Route(Kind.OPENAPI), "/docs": Route(Kind.DOCS)}


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
    try:
        path = URL(target).raw_path if "%" in target or not target.startswith("/") else target.partition("?")[0]
    except ValueError:
        return _NOTHING
    if path in _FIXED:
        return _FIXED[path]
    if not path.startswith(PREFIX + "/"):
        return _NOTHING
    match path.removeprefix(PREFIX + "/").split("/"):
        case [text] if text:
            return Route(Kind.GROUP, group_id(text))
        case [text, "monitor"] if text:
            return Route(Kind.MONITOR, group_id(text))
        case _:
            return _NOTHING


def group_id(text: str) -> int:
    """The id that a path segment spells in plain decimal, or 0 if it is no positive 64-bit integer."""
    if len(text) > 19 or not (text.isascii() and text.isdigit()) or text.startswith("0"):
        return 0
    number = int(text)
    return number if number <= MAX_ID else 0
