"""Definitions in YAML, or in JSON, which is a subset of YAML.

The file is read event by event instead of through PyYAML's constructors: a hundred thousand rows take seconds. Lines
are looked up only for mistakes.
"""

import re
from typing import Any, NoReturn

import msgspec
import yaml

from rotary.management.definitions_file.mistakes import InvalidFileError, Locate, Mistakes, Place
from rotary.management.definitions_file.schema import Definitions

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: PyYAML may have been built without libyaml.
_MAX_DEPTH = 20
MAX_REPEATED = 1_000_000
"""Values that aliases may repeat in all: by a few of them, each of many, a small file says more than memory holds."""
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp"))


def read_yaml(name: str, text: str) -> tuple[Definitions, Locate]:
    """The definitions, and a function that finds a path in the file. Raises InvalidFileError with every mistake."""
    try:
        content = _Reader(text).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidFileError(name, 1, [(Place(name, line), error.problem or str(error))]) from None
    except yaml.YAMLError as error:
        raise InvalidFileError(name, 1, [(Place(name), str(error))]) from None
    locate = _Locator(name, text)
    try:
        return msgspec.convert(content, Definitions, strict=False), locate
    except msgspec.ValidationError:
        mistakes = Mistakes()
        mistakes.check(Definitions, content)
        mistakes.raise_if_any(name, locate)
        raise


class _Reader:
    """Reads every plain scalar but null as text, so that phone numbers keep their + or leading 0."""

    def __init__(self, text: str) -> None:
        self._next = _Loader(text).get_event
        self._anchored: dict[str, tuple[object, int]] = {}
        """Values and how many values each is made of, itself included."""
        self._size = 0
        self._repeated = 0

    def document(self) -> object:
        """The content of the only document. Raises YAMLError."""
        self._next()  # the start of the stream
        content: object = {"customers": []}
        if isinstance(self._next(), yaml.DocumentStartEvent):
            content = self._value(self._next(), 0)
            self._next()  # the end of the document
            if not isinstance(event := self._next(), yaml.StreamEndEvent):
                _refuse(event, "the file has a second document")
        return content

    def _value(self, event: Any, depth: int) -> object:
        """Any: PyYAML's events have no common type that declares their attributes."""
        if isinstance(event, yaml.AliasEvent):
            return self._repeat(event)
        if depth > _MAX_DEPTH:
            _refuse(event, "nested too deeply")
        before = self._size
        self._size += 1
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(depth)
        else:
            value = self._sequence(depth)
        if event.anchor:
            self._anchored[event.anchor] = value, self._size - before
        return value

    def _repeat(self, event: Any) -> object:
        """The value that an alias stands for."""
        if event.anchor not in self._anchored:
            _refuse(event, "unknown alias")
        value, size = self._anchored[event.anchor]
        self._size += size
        self._repeated += size
        if self._repeated > MAX_REPEATED:
            _refuse(event, f"the aliases of the file repeat more than {MAX_REPEATED:,} values: write fewer of them")
        return value

    def _sequence(self, depth: int) -> list[object]:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, object]:
        fields: dict[str, object] = {}
        merged: list[dict[str, object]] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                _refuse(event, "a field's name must be text")
            value = self._value(self._next(), depth + 1)
            if event.value == "<<" and event.implicit[0]:
                merged += _mappings(event, value)
            elif event.value in fields:
                _refuse(event, f"{event.value} is given twice")
            else:
                fields[event.value] = value
        for other in merged:
            fields = other | fields
        return fields


def _scalar(event: Any) -> str | None:
    if event.tag not in (None, "!") and event.tag not in _PLAIN_TAGS:
        _refuse(event, f"unknown tag {event.tag}")
    return None if event.implicit[0] and event.value in _NULLS else event.value


def _mappings(event: Any, value: object) -> list[dict[str, object]]:
    """The mappings that `<<` merges: one, or a list in which the first has precedence."""
    values = value if isinstance(value, list) else [value]
    found = [each for each in values if isinstance(each, dict)]
    if len(found) < len(values):
        _refuse(event, "<< merges mappings only")
    return found


def _refuse(event: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Locator:
    """Finds lines by parsing the file again, which only a file with mistakes needs."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._root: yaml.Node | None = None

    def __call__(self, path: str) -> Place:
        if self._root is None:
            self._root = yaml.compose(self._text, Loader=_Loader)
        if self._root is None:
            return Place(self._name)
        return Place(self._name, _line(self._root, path), path.removeprefix("."))


def _line(node: yaml.Node, path: str) -> int:
    for field, position in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(position)]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == field), node)
    return int(node.start_mark.line) + 1
