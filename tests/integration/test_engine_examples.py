"""The examples that pick, run as programs against a real engine; and both clients of rotary.engine."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from integration.dialer_runner import Done, run
from integration.engine_world import EngineWorld, engine_world
from pick_groups import GROUP, group, member
from rotary.engine import BlockingEngine, Engine, NothingEligible, PickRequest
from rotary.redis import keys

DIALERS = Path(__file__).parents[2] / "infra" / "dialers"
CHANNEL = "agi_request: rotary-pick\nagi_uniqueid: {}\nagi_threadid: 1\n\n"
REPLIES = "200 result=1 ({})\n"

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[EngineWorld]:
    async with engine_world(redis_url) as one:
        await one.picks.define(group([member(18, daily_cap=2)], sticky_enabled=True))
        yield one


async def environ(world: EngineWorld) -> dict[str, str]:
    return os.environ | {"ROTARY_ENGINE_URL": world.base, "ROTARY_TOKEN": await world.token()}


async def live(redis: Redis) -> int:
    """Reservations of the caller ID 18."""
    found: int = await redis.zcard(f"{keys.facts_prefix(7)}live:18")
    return found


# The clients


async def test_the_client_picks_releases_and_tells_when_nothing_is_eligible(world: EngineWorld) -> None:
    async with Engine(world.base, await world.token()) as engine:
        async with engine.pick(GROUP, lead_id="L-1") as kept:
            assert (kept.caller_id_id, kept.number) == (18, "0280000018")
            kept.placed()
        async with engine.pick(GROUP):
            assert await live(world.picks.client) == 2
            with pytest.raises(NothingEligible) as refused:
                await engine.pick(GROUP)
        assert await live(world.picks.client) == 1
        first, second = await engine.pick_many(GROUP, [PickRequest(), PickRequest()])
        await engine.forget_lead(GROUP, "L-1")
    assert refused.value.reasons == {"quota_exceeded": 1}
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 32
    assert refused.value.next_eligible_at is not None
    assert not isinstance(first, NothingEligible)
    assert isinstance(second, NothingEligible)


async def test_the_blocking_client_does_the_same(world: EngineWorld) -> None:
    token = await world.token()

    def dial() -> tuple[str, dict[str, int]]:
        with BlockingEngine(world.base, token) as engine:
            with engine.pick(GROUP, lead_id="L-1") as kept:
                kept.placed()
            with engine.pick(GROUP):
                pass
            engine.pick(GROUP)
            try:
                engine.pick(GROUP)
            except NothingEligible as nothing:
                return kept.number, dict(nothing.reasons)
        raise AssertionError("a pick above the cap")

    assert await asyncio.to_thread(dial) == ("0280000018", {"quota_exceeded": 1})
    assert await live(world.picks.client) == 2


async def test_a_pick_is_confirmed_by_the_call_that_names_it(world: EngineWorld) -> None:
    async with Engine(world.base, await world.token()) as engine, engine.pick(GROUP) as pick:
        pick.placed()
        await world.picks.call(pick.caller_id_id, pick.id)
    assert await live(world.picks.client) == 0


# PHP and JavaScript


@pytest.fixture(params=["php", "javascript"])
def example(request: pytest.FixtureRequest) -> list[str]:
    program, name = {"php": ("php", "pick.php"), "javascript": ("node", "pick.mjs")}[request.param]
    if shutil.which(program) is None:
        _install({"php": "php-cli", "node": "nodejs"}[program])
    return [program, str(DIALERS / request.param / name)]


def _install(package: str) -> None:
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    subprocess.run([*get, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*get, "install", "--no-install-recommends", package], check=True, stdout=subprocess.DEVNULL)


async def test_an_example_picks_and_gives_back(world: EngineWorld, example: list[str]) -> None:
    env = await environ(world)
    first, second = [await run(*example, "3", "L-991", env=env) for _ in range(2)]
    assert (first.status, first.err, second.status) == (0, "", 0)
    pick_id, caller, number = first.out.split()
    assert (caller, number) == ("18", "0280000018")
    nothing = await run(*example, "3", env=env)
    assert (nothing.status, nothing.out) == (3, "")
    assert re.fullmatch(r'No caller ID is eligible\. \{"quota_exceeded":1\} Retry after \d+ s\.\n', nothing.err), (
        nothing.err
    )
    assert await run(*example, "3", "--release", pick_id, env=env) == Done(0, "", "")
    assert (await run(*example, "3", env=env)).status == 0


async def test_an_example_says_what_is_wrong(world: EngineWorld, example: list[str]) -> None:
    env = await environ(world) | {"ROTARY_TOKEN": "rot_wrong"}
    refused = await run(*example, "3", env=env)
    assert (refused.status, refused.out, refused.err.split(".")[0]) == (1, "", "Unauthenticated")
    assert (await run(*example, env=env)).status == 2


# Asterisk


async def agi(world: EngineWorld, unique: str, *arguments: str, variables: tuple[str, ...] = ()) -> list[str]:
    """Runs the script as Asterisk does, which answers every command; `variables` are those it asks for, in order."""
    said = "".join(REPLIES.format(value) for value in [*variables, *[""] * 8])
    script = DIALERS / "asterisk" / "rotary-pick"
    done = await run(script, *arguments, env=await environ(world), stdin=CHANNEL.format(unique) + said)
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


async def test_the_agi_script_sets_what_the_dialplan_reads(world: EngineWorld) -> None:
    told = await agi(world, "1780747140.17", "3", "L-991")
    again = await agi(world, "1780747140.17", "3", "L-991")
    assert told == again, "the channel's id makes it the same pick"
    pick_id = told[3].split('"')[1]
    assert told == [
        "SET VARIABLE ROTARY_STATUS OK",
        'SET VARIABLE ROTARY_NUMBER "0280000018"',
        'SET VARIABLE ROTARY_CALLER "18"',
        f'SET VARIABLE ROTARY_PICK "{pick_id}"',
        'SET VARIABLE ROTARY_TRUNK "trunk-1"',
        'SET VARIABLE ROTARY_GROUP "3"',
    ]
    await agi(world, "1780747140.18", "3")
    nothing = await agi(world, "1780747140.19", "3")
    assert nothing[1] == "SET VARIABLE ROTARY_STATUS NONE"
    assert re.fullmatch(r"SET VARIABLE ROTARY_RETRY \d+", nothing[2])
    assert await agi(world, "1780747140.17", "release", variables=("3", pick_id)) == [
        "GET VARIABLE ROTARY_GROUP",
        "GET VARIABLE ROTARY_PICK",
    ]
    assert await live(world.picks.client) == 1


@pytest.mark.parametrize("arguments", [("",), ("3; reboot",), ("99",)])
async def test_the_agi_script_never_fails_the_channel(world: EngineWorld, arguments: tuple[str, ...]) -> None:
    assert (await agi(world, "1.1", *arguments))[-1] == "SET VARIABLE ROTARY_STATUS ERROR"


async def test_the_dialplan_alone_sends_a_request_that_picks(world: EngineWorld) -> None:
    """What its CURL line sends, with the variables substituted, and the fields that it reads of the answer."""
    text = (DIALERS / "asterisk" / "extensions_rotary_pick.conf").read_text()
    token = await world.token()
    values = {"ROTARY_ENGINE_URL": world.base, "ROTARY_TOKEN": token, "ROTARY_GROUP": "3", "LEAD_ID": "L-991"}
    values["UNIQUEID"] = "1780747140.17"
    text = re.sub(r"\$\{FILTER\([^,]+,\$\{(\w+)\}\)\}", lambda found: values.get(found[1], found[0]), text)
    for name, value in values.items():
        text = text.replace("${" + name + "}", value)
    headers = dict(line.split(": ", 1) for line in re.findall(r"CURLOPT\(httpheader\)=(.*)\)\n", text))
    [(url, body)] = re.findall(r"\$\{CURL\(([^,]+),(.*)\)\}\)\n", text)
    async with world.session.post(url, data=body, headers=headers) as response:
        picked = json.loads(await response.read())["data"]
    assert response.status == 201
    assert set(re.findall(r"JSON_DECODE\(PICKED,(\w+)\)", text)) <= set(picked)


# FreeSWITCH

FREESWITCH = """
local variables = {{}}
local globals = {{rotary_engine_url = "{base}", rotary_token = "{token}"}}
freeswitch = {{consoleLog = function(level, text) print(level .. " " .. text) end}}
function freeswitch.API()
  return {{execute = function(_, command, arguments)
    if command == "global_getvar" then return globals[arguments] end
    assert(command == "curl")
    local words = {{}}
    for word in arguments:gmatch("%S+") do words[#words + 1] = word:gsub("%%20", " ") end
    local line = "curl -sS"
    local at = 2
    while at <= #words do
      local word = words[at]
      if word == "content-type" then line = line .. " -H 'Content-Type: " .. words[at + 1] .. "'"
      elseif word == "append_headers" then line = line .. " -H '" .. words[at + 1]:gsub(":", ": ", 1) .. "'"
      elseif word == "post" then line = line .. " -d '" .. words[at + 1] .. "'"
      end
      at = at + 2
    end
    local pipe = io.popen(line .. " '" .. words[1] .. "'")
    return pipe:read("a")
  end}}
end
session = {{
  get_uuid = function() return "{uuid}" end,
  hangup = function(_, cause) print("hangup " .. cause) end,
  setVariable = function(_, name, value) print(name .. "=" .. value) end,
}}
argv = {{{arguments}}}
dofile("{script}")
"""


async def freeswitch(world: EngineWorld, uuid: str, *arguments: str) -> list[str]:
    """Runs the script on a stand-in for FreeSWITCH, whose `curl` has the arguments of mod_curl."""
    if (lua := shutil.which("lua5.4") or shutil.which("lua")) is None:
        _install("lua5.4")
        lua = "lua5.4"
    quoted = ", ".join(json.dumps(one) for one in arguments)
    code = FREESWITCH.format(
        base=world.base,
        token=await world.token(),
        uuid=uuid,
        arguments=quoted,
        script=DIALERS / "freeswitch" / "pick.lua",
    )
    done = await run(lua, "-", env=os.environ, stdin=code)
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


async def test_the_freeswitch_script_sets_the_number_or_hangs_up(world: EngineWorld) -> None:
    lines = await freeswitch(world, "call-1", "3", 'L 9"91')
    assert all("=" in line for line in lines), lines
    told = dict(line.split("=", 1) for line in lines)
    assert (told["effective_caller_id_number"], told["rotary_caller_id"]) == ("0280000018", "18")
    assert (told["rotary_trunk"], told["rotary_pick_id"].rpartition("-")[2]) == ("trunk-1", "18")
    await freeswitch(world, "call-2", "3")
    assert (await freeswitch(world, "call-3", "3"))[-1] == "hangup NO_CIRCUIT_AVAILABLE"
    assert (await freeswitch(world, "call-4", "3; reboot"))[-1] == "hangup NORMAL_TEMPORARY_FAILURE"
