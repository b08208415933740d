"""From a request's target to what it asks for: the table of a service's endpoints."""

from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote

from msgspec import Struct
from yarl import URL

from rotary.events import MAX_ID
from rotary.http.errors import ALLOWED, method_not_allowed, options
from rotary.http.responses import CachedResponse

PREFIX = "/api/caller-id-groups"
GROUP_ID = "{id}"
_REMEMBERED = 16_384
_TICKET = "ticket="

K = TypeVar("K", bound=str)
"""What a path names. (Text, not an Enum: it is part of caches' keys, and an Enum's hash is computed in Python.)"""


class Endpoint(Struct, Generic[K], frozen=True):
    """`pattern` is a path, in which `{id}` stands for a group's id and any other name in braces for any text."""

    kind: K
    pattern: str
    allowed: str = ALLOWED

    @property
    def methods(self) -> frozenset[str]:
        """The methods that are answered, but for OPTIONS."""
        return frozenset(self.allowed.split(", ")) - {"OPTIONS"}

    @property
    def needs_group(self) -> bool:
        """Whether the path names a group."""
        return GROUP_ID in self.pattern

    def refusals(self) -> tuple[CachedResponse, CachedResponse]:
        """The answer to OPTIONS, and to a method that is not allowed."""
        return options(self.allowed), method_not_allowed(self.allowed)


class Route(Struct, Generic[K], frozen=True):
    """A path's meaning. `group_id` is 0 for one that no group can have, and where there is none; `name` is the text
    that the path ends with, where its pattern has one."""

    kind: K
    group_id: int = 0
    name: str = ""


class Routes(Generic[K]):
    """Resolves raw targets and remembers the recent ones: a dashboard asks for the same few."""

    def __init__(self, endpoints: Iterable[Endpoint[K]], nothing: Route[K]) -> None:
        """`nothing` is the route of what no endpoint has."""
        self._patterns = [(one.kind, one.pattern.split("/")) for one in endpoints]
        self._nothing = nothing
        self._known: dict[str, Route[K]] = {}

    def find(self, target: str) -> Route[K]:
        """The route of a request's target, in origin or absolute form; the query is ignored."""
        route = self._known.get(target)
        if route is None:
            route = self.resolve(target)
            if not route.name and _TICKET not in target:  # both are asked for once
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[target] = route
        return route

    def resolve(self, target: str) -> Route[K]:
        """What a target means; whether its group exists is another question."""
        segments = _path(target).split("/")
        for kind, pattern in self._patterns:
            if (route := _match(kind, pattern, segments)) is not None:
                return route
        return self._nothing


def _match(kind: K, pattern: list[str], segments: list[str]) -> Route[K] | None:
    if len(pattern) != len(segments):
        return None
    number, name = 0, ""
    for expected, segment in zip(pattern, segments, strict=True):
        if expected == GROUP_ID and segment:
            number = group_id(segment)
        elif expected.startswith("{") and expected != GROUP_ID:
            if not (name := _text(segment)):
                return None
        elif expected != segment:
            return None
    return Route(kind, number, name)


def group_id(text: str) -> int:
    """The id that a path segment spells in plain decimal, or 0 if it is no positive 64-bit integer."""
    if len(text) > 19 or not (text.isascii() and text.isdigit()) or text.startswith("0"):
        return 0
    number = int(text)
    return number if number <= MAX_ID else 0


def _text(segment: str) -> str:
    """What a segment spells, decoded; empty if that is no text."""
    try:
        text = unquote(segment, errors="strict")
        text.encode()
    except UnicodeError:
        return ""
    return text


def _path(target: str) -> str:
    if target.startswith("/") and "%" not in target:
        return target.partition("?")[0]
    try:
        # A slash stays encoded, so that no id can reach into another segment; digits and letters are decoded.
        return URL(target).raw_path
    except ValueError:
        return ""
