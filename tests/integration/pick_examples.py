"""The examples that pick, each run as its own platform runs it, behind one interface."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from integration.dialer_runner import Done, run
from integration.dialplan import Channel, Dialplan

DIALERS = Path(__file__).parents[2] / "infra" / "dialers"
ASTERISK = DIALERS / "asterisk"
VICIDIAL = DIALERS / "vicidial" / "rotary-pick.pl"
UUID = "5e3a8c1e-77f0-4a55-9d2e-0c1b6a1f0001"
_AGI_COMMAND = re.compile(
    r'SET VARIABLE __(\w+) "([A-Za-z0-9 ._:+@/,-]*)"|VERBOSE "rotary-pick: [A-Za-z0-9 ._:+@/,-]*" 1'
)
_RETRY_AFTER = re.compile(r"Try again in (\d+) s")


class Told(Struct, frozen=True):
    """What an example made of the engine's answer."""

    status: str
    """PICKED, NONE or ERROR."""
    number: str = ""
    caller: str = ""
    pick: str = ""
    retry_after: str = ""


class Example(Protocol):
    """One platform."""

    async def pick(self, environ: Mapping[str, str], group: str, lead: str = "") -> Told: ...
    async def release(self, environ: Mapping[str, str], group: str, pick: str) -> None: ...


class Agi:
    """A script that Asterisk runs. `lead` writes the lead as the script expects it."""

    def __init__(self, script: Path, lead: str = "{}") -> None:
        self._script = script
        self._lead = lead

    async def pick(self, environ: Mapping[str, str], group: str, lead: str = "") -> Told:
        variables = await self._run(environ, group, self._lead.format(lead) if lead else "")
        return Told(
            variables["ROTARY_STATUS"],
            variables["ROTARY_NUMBER"],
            variables["ROTARY_CALLER"],
            variables["ROTARY_PICK"],
            variables["ROTARY_RETRY_AFTER"],
        )

    async def release(self, environ: Mapping[str, str], group: str, pick: str) -> None:
        assert await self._run(environ, "release", group, pick) == {}

    async def _run(self, environ: Mapping[str, str], *arguments: str) -> dict[str, str]:
        channel = f"agi_request: {self._script.name}\nagi_uniqueid: 1780747140.17\n\n" + "200 result=1\n" * 20
        done = await run(self._script, *arguments, env=environ, stdin=channel)
        assert (done.status, done.err) == (0, "")
        said = [_AGI_COMMAND.fullmatch(line) for line in done.out.splitlines()]
        assert all(said), done.out
        return {line[1]: line[2] for line in said if line and line[1]}


class Script:
    """A program that prints the pick as JSON."""

    def __init__(self, *command: str | Path) -> None:
        self._command = command

    async def pick(self, environ: Mapping[str, str], group: str, lead: str = "") -> Told:
        done = await run(*self._command, group, *([lead] if lead else []), env=environ)
        if done.status == 0:
            picked = json.loads(done.out)
            return Told("PICKED", picked["number"], str(picked["caller_id_id"]), picked["id"])
        assert done.out == ""
        after = _RETRY_AFTER.search(done.err)
        return Told({3: "NONE"}.get(done.status, "ERROR"), retry_after=after[1] if after else "")

    async def release(self, environ: Mapping[str, str], group: str, pick: str) -> None:
        assert await run(*self._command, "release", group, pick, env=environ) == Done(0, "", "")


class FreeSwitch:
    """The Lua script, on a stand-in for FreeSWITCH with mod_curl's syntax."""

    async def pick(self, environ: Mapping[str, str], group: str, lead: str = "") -> Told:
        variables, causes = await self.run(environ, "pick", group, lead)
        told = Told(
            variables["rotary_status"],
            variables.get("effective_caller_id_number", ""),
            variables.get("rotary_caller", ""),
            variables["rotary_pick"],
            variables.get("rotary_retry_after", ""),
        )
        assert causes == ([] if told.status == "PICKED" else ["NORMAL_CIRCUIT_CONGESTION"])
        return told

    async def release(self, environ: Mapping[str, str], group: str, pick: str) -> None:
        channel = {"CHANNEL_rotary_group": group, "CHANNEL_rotary_pick": pick}
        assert await self.run({**environ, **channel}, "release") == ({}, [])

    async def run(self, environ: Mapping[str, str], *arguments: str) -> tuple[dict[str, str], list[str]]:
        """The variables that the script set, and the causes with which it hung up."""
        given = {
            "GLOBAL_rotary_engine_url": environ["ROTARY_ENGINE_URL"],
            "GLOBAL_rotary_engine_token": environ["ROTARY_ENGINE_TOKEN"],
        }
        stand_in = Path(__file__).with_name("freeswitch.lua")
        done = await run(
            "lua5.3", stand_in, DIALERS / "freeswitch" / "rotary.lua", *arguments, env={**environ, **given}
        )
        assert done.status == 0, done.err
        lines = [line.partition(" ") for line in done.out.splitlines()]
        assert {kind for kind, _, _ in lines} <= {"set", "hangup"}, done.out
        variables = dict(rest.split("=", 1) for kind, _, rest in lines if kind == "set")
        return variables, [rest for kind, _, rest in lines if kind == "hangup"]


class Asterisk:
    """A context of the dialplan, on a stand-in for Asterisk."""

    def __init__(self, context: str) -> None:
        self._context = context

    async def dial(self, environ: Mapping[str, str], group: str, lead: str = "") -> Channel:
        """A call to 0281234567, with everything that happened on its channel."""
        secrets = {name: environ[name] for name in ("ROTARY_ENGINE_URL", "ROTARY_ENGINE_TOKEN")}
        channel = Channel("1780747140.17", {**secrets, "ROTARY_GROUP": group, "__LEAD_ID": lead})
        await asyncio.to_thread(_dialplan(environ).run, channel, self._context, "0281234567")
        return channel

    async def pick(self, environ: Mapping[str, str], group: str, lead: str = "") -> Told:
        channel = await self.dial(environ, group, lead)
        is_dialed = channel.dialed == ["PJSIP/0281234567@trunk"]
        assert is_dialed or (channel.dialed, channel.hangup_cause) == ([], "34")
        told = Told(
            channel.variables["ROTARY_STATUS"],
            channel.caller,
            channel.variables["ROTARY_CALLER"],
            channel.variables["ROTARY_PICK"],
            channel.variables.get("ROTARY_RETRY_AFTER", ""),
        )
        assert is_dialed == (told.status == "PICKED")
        return told

    async def release(self, environ: Mapping[str, str], group: str, pick: str) -> None:
        raise NotImplementedError


async def dial_vicidial(environ: Mapping[str, str], name: str) -> Channel:
    """A call of VICIdial with this name to 0281234567, through the carrier's lines of the page for group 3."""
    lines = re.findall(r"^    (exten => _9X\.,.*)$", (DIALERS / "README.md").read_text(), re.MULTILINE)
    [_, start] = [at for at, line in enumerate(lines) if line.startswith("exten => _9X.,1,")]
    channel = Channel("1780747140.17", {})
    channel.name = name
    text = "\n".join(["[carrier]", *lines[start:]])
    await asyncio.to_thread(_dialplan(environ, text).run, channel, "carrier", "90281234567")
    return channel


def _dialplan(environ: Mapping[str, str], more: str = "") -> Dialplan:
    files = [ASTERISK / "extensions_rotary.conf", ASTERISK / "extensions_rotary_pick.conf"]
    scripts = [ASTERISK / "rotary-pick", ASTERISK / "rotary-event", VICIDIAL]
    return Dialplan("\n".join([*(file.read_text() for file in files), more]), scripts, environ)


EXAMPLES: Mapping[str, tuple[Example, str, tuple[str, ...]]] = {
    "asterisk": (Agi(ASTERISK / "rotary-pick"), "python3", ("python3",)),
    "vicidial": (Agi(VICIDIAL, "V606115900{:>010}"), "perl", ("perl",)),
    "freeswitch": (FreeSwitch(), "lua5.3", ("lua5.3", "lua-dkjson", "curl")),
    "php": (Script("php", DIALERS / "php" / "pick.php"), "php", ("php-cli",)),
    "javascript": (Script("node", DIALERS / "javascript" / "pick.mjs"), "node", ("nodejs",)),
    "dialplan": (Asterisk("rotary-dial"), "python3", ("python3",)),
    "dialplan-curl": (Asterisk("rotary-dial-curl"), "python3", ("python3",)),
}
"""By name: the example, the program that runs it, and Debian's packages with it."""


def example(name: str) -> Example:
    """An example, whose interpreter is installed from Debian when it is missing, as rotary-stack does with servers."""
    found, program, packages = EXAMPLES[name]
    if shutil.which(program) is None:
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
        subprocess.run([*get, "update"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*get, "install", "--no-install-recommends", *packages], check=True, stdout=subprocess.DEVNULL)
    return found
