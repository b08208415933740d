"""A small Asterisk: runs the dialplan of the examples, their AGI scripts and their requests, and records the dialing.

It knows what those lines use, and fails on anything else. As Asterisk does, it substitutes variables before an
application parses its arguments, and gives the channels that Dial creates only what was set with two underscores.
"""

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

_EXTENSION = re.compile(r"exten => ([^,]+),(?:\d+|n)(?:\((\w+)\))?,(\w+)\((.*)\)$")
_SAME = re.compile(r"same => n(?:\((\w+)\))?,(\w+)\((.*)\)$")
_COMPARISON = re.compile(r'"([^"]*)" (=|!=) "([^"]*)"')
_SET_VARIABLE = re.compile(r'SET VARIABLE (\w+) "([^"]*)"')


class Line(NamedTuple):
    """One priority of an extension."""

    label: str
    application: str
    arguments: str


class _HungUpError(Exception):
    """The channel's end."""


class Channel:
    """One call leg: its variables, and what happened on it."""

    def __init__(self, unique: str, variables: Mapping[str, str]) -> None:
        self.unique = unique
        self.variables: dict[str, str] = {}
        self.inherited: set[str] = set()
        self.headers: list[str] = []
        self.dialed: list[str] = []
        self.caller = ""
        self.name = ""
        self.hangup_cause = ""
        for name, value in variables.items():
            self.set(name, value)

    def set(self, name: str, value: str) -> None:
        plain = name.lstrip("_")
        if name != plain:
            self.inherited.add(plain)
        self.variables[plain] = value

    def child(self) -> "Channel":
        """A channel that Dial creates."""
        return Channel(f"{self.unique}-1", {f"__{name}": self.variables[name] for name in self.inherited})


class Dialplan:
    """The contexts of some files. `scripts` are the AGI scripts, `environ` their environment."""

    def __init__(self, text: str, scripts: Sequence[Path], environ: Mapping[str, str]) -> None:
        self._contexts: dict[str, dict[str, list[Line]]] = {}
        self._scripts = {script.name: script for script in scripts}
        self._environ = environ
        self._parse(text)

    def run(self, channel: Channel, context: str, extension: str) -> None:
        """Runs an extension until it hangs up or returns."""
        try:
            self._run(channel, context, extension)
        except _HungUpError:
            return

    def _parse(self, text: str) -> None:
        lines: list[Line] = []
        extensions: dict[str, list[Line]] = {}
        for line in (line.strip() for line in text.splitlines()):
            if not line or line.startswith(";"):
                continue
            if line.startswith("["):
                extensions = self._contexts.setdefault(line.strip("[]"), {})
            elif found := _EXTENSION.match(line):
                lines = extensions.setdefault(found[1], [])
                lines.append(Line(found[2] or "", found[3], found[4]))
            else:
                found = _SAME.match(line)
                assert found, line
                lines.append(Line(found[1] or "", found[2], found[3]))

    def _run(self, channel: Channel, context: str, extension: str) -> None:
        extensions = self._contexts[context]
        [pattern] = [one for one in extensions if _matches(one, extension)]
        lines, at = extensions[pattern], 0
        while at < len(lines):
            channel.variables["EXTEN"] = extension  # again after a Gosub, too
            line = lines[at]
            at += 1
            arguments = self._substituted(channel, line.arguments)
            match line.application:
                case "Return":
                    return
                case "Goto":
                    self._run(channel, *arguments.split(",")[:2])
                    return
                case "GotoIf":
                    condition, _, label = arguments.partition("?")
                    if condition == "1":
                        at = [one.label for one in lines].index(label)
                case name:
                    self._applications[name](self, channel, arguments)

    def _set(self, channel: Channel, arguments: str) -> None:
        name, _, value = arguments.partition("=")
        if local := re.fullmatch(r"LOCAL\((\w+)\)", name):
            channel.set(local[1], value)
        elif name == "CURLOPT(httpheader)":
            channel.headers.append(value)
        elif name == "CALLERID(num)":
            channel.caller = value
        elif not name.startswith(("CURLOPT(", "CHANNEL(hangup_handler_push)")):
            assert re.fullmatch(r"\w+", name), name
            channel.set(name, value)

    def _gosub(self, channel: Channel, arguments: str) -> None:
        found = re.fullmatch(r"([\w-]+),(\w+),1(?:\((.*)\))?", arguments)
        assert found, arguments
        for at, value in enumerate((found[3] or "").split(","), start=1):
            channel.set(f"ARG{at}", value)
        self._run(channel, found[1], found[2])

    def _agi(self, channel: Channel, arguments: str) -> None:
        if arguments.startswith("agi://"):
            return  # a server of somebody else
        script, *rest = arguments.split(",")
        done = subprocess.run(
            [self._scripts[script], *rest],
            input=f"agi_request: {script}\nagi_uniqueid: {channel.unique}\n\n" + "200 result=1\n" * 20,
            env=self._environ, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        for name, value in _SET_VARIABLE.findall(done.stdout):
            channel.set(name, value)

    def _dial(self, channel: Channel, arguments: str) -> None:
        handler = re.search(r"b\(([\w-]+)\^s\^1\)", arguments)
        assert handler, arguments
        self._run(channel.child(), handler[1], "s")
        channel.dialed.append(arguments.partition(",")[0])

    def _hangup(self, channel: Channel, arguments: str) -> NoReturn:
        channel.hangup_cause = arguments
        raise _HungUpError

    def _noop(self, channel: Channel, arguments: str) -> None:
        """Asterisk logs the arguments."""

    _applications: Mapping[str, Callable[["Dialplan", Channel, str], None]] = {
        "Set": _set,
        "Gosub": _gosub,
        "AGI": _agi,
        "Dial": _dial,
        "Hangup": _hangup,
        "NoOp": _noop,
    }

    def _substituted(self, channel: Channel, text: str) -> str:
        at, made = 0, ""
        while at < len(text):
            opening = text[at : at + 2]
            if opening not in {"${", "$["}:
                made += text[at]
                at += 1
                continue
            end = _closing(text, at + 1)
            inner = self._substituted(channel, text[at + 2 : end])
            made += _value(channel, inner) if opening == "${" else _compared(inner)
            at = end + 1
        return made


def _matches(pattern: str, extension: str) -> bool:
    if not pattern.startswith("_"):
        return pattern == extension
    return re.fullmatch(pattern[1:].replace("X", "[0-9]").replace(".", ".+"), extension) is not None


def _closing(text: str, at: int) -> int:
    """Where the bracket at `at` is closed."""
    opening, closing = text[at], {"{": "}", "[": "]"}[text[at]]
    depth = 0
    for end in range(at, len(text)):
        depth += (text[end] == opening) - (text[end] == closing)
        if depth == 0:
            return end
    raise AssertionError(text)


def _compared(expression: str) -> str:
    found = [_COMPARISON.fullmatch(one) for one in expression.split(" | ")]
    assert all(found), expression
    return str(int(any((one[1] == one[3]) == (one[2] == "=") for one in found if one)))


def _value(channel: Channel, name: str) -> str:
    if re.fullmatch(r"\w+", name):
        return channel.variables.get(name, "")
    if offset := re.fullmatch(r"(\w+):(\d+)", name):
        return channel.variables.get(offset[1], "")[int(offset[2]) :]
    if name == "CALLERID(name)":
        return channel.name
    function, _, arguments = name.removesuffix(")").partition("(")
    first, _, second = arguments.partition(",")
    match function:
        case "FILTER":
            return "".join(one for one in second if one in _allowed(first))
        case "CURL":
            return _curl(channel, first, second)
        case "JSON_DECODE":
            return _decoded(channel.variables[first], second)
    raise AssertionError(name)


def _allowed(text: str) -> set[str]:
    """FILTER's characters: ranges, and \\x2d for a character by its number."""
    found = re.findall(r"\\x([0-9a-f]{2})|(.)-(.)|(.)", text)
    ranges = (range(ord(low), ord(high) + 1) for _, low, high, _ in found if low)
    single = {chr(int(code, 16)) if code else one for code, _, _, one in found if code or one}
    return single | {chr(code) for some in ranges for code in some}


def _curl(channel: Channel, url: str, body: str) -> str:
    headers = dict(header.split(": ", 1) for header in reversed(channel.headers))
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def _decoded(text: str, path: str) -> str:
    """The value under keys that are separated by periods; empty where there is none."""
    try:
        value = json.loads(text)
        for key in path.split("."):
            value = value[key]
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if value is None else str(value)
