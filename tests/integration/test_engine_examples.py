"""The examples that pick, run against the engine itself: one table of laws for every platform."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from integration.engine_world import EngineWorld, engine_world
from integration.lossy_engine import LossyEngine, lossy_engine
from integration.pick_examples import EXAMPLES, UUID, Asterisk, Example, FreeSwitch, Told, dial_vicidial, example
from pick_groups import GROUP, group, member
from rotary.events import CallPlaced, CallPlacedData
from rotary.publisher.event_factory import EventFactory
from rotary_dialer.event_reader import EventReader

pytestmark = pytest.mark.asyncio(loop_scope="function")

ID = str(GROUP)
DIALPLANS = {"dialplan", "dialplan-curl"}
"""They dial at once, so that nothing is left to give back."""
HOSTILE = [
    '", "carrier": "nokia',
    "$(touch {canary})",
    "`touch {canary}`",
    "'; touch {canary}; '",
    'x" 1\nEXEC System "touch {canary}',
    "${{SHELL(touch {canary})}}",
    "x):System(touch {canary}",
    "%27%0d%0aX-Other: 1",
    "Nguyễn An",
]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=EXAMPLES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def dialer(name: str) -> Example:
    return example(name)


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[EngineWorld]:
    async with engine_world(redis_url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="function")
async def lossy(world: EngineWorld) -> AsyncIterator[LossyEngine]:
    async with lossy_engine(world.base) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="function")
async def environ(world: EngineWorld, tmp_path: Path) -> dict[str, str]:
    spool = tmp_path / "spool"
    spool.mkdir()
    token = await world.token()
    return os.environ | {
        # The python3 that ours is made of, and not a shell script of pyenv's that looks for it each time.
        "PATH": f"{sys.base_exec_prefix}/bin:{os.environ['PATH']}",
        "ROTARY_ENGINE_URL": world.base,
        "ROTARY_ENGINE_TOKEN": token,
        "ROTARY_SPOOL": str(spool),
    }


async def test_an_example_gets_a_number_and_the_pick_that_the_call_names(
    dialer: Example, world: EngineWorld, environ: dict[str, str]
) -> None:
    await world.picks.define(group([member(18, daily_cap=2)]))
    told = await dialer.pick(environ, ID)
    assert (told.status, told.number, told.caller) == ("PICKED", "0280000018", "18")
    await world.picks.call(18, told.pick)
    assert (await dialer.pick(environ, ID)).status == "PICKED", "the reservation became the call"
    assert (await dialer.pick(environ, ID)).status == "NONE"


async def test_an_example_gives_a_lead_its_number(dialer: Example, world: EngineWorld, environ: dict[str, str]) -> None:
    await world.picks.define(group([member(number) for number in range(1, 6)], sticky_enabled=True))
    first, again, other = [await dialer.pick(environ, ID, lead) for lead in ("991", "991", "992")]
    assert first.caller == again.caller != other.caller


async def test_an_example_dials_nothing_when_nothing_is_eligible(
    name: str, dialer: Example, world: EngineWorld, environ: dict[str, str]
) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    await (await world.dialer()).pick()
    told = await dialer.pick(environ, ID)
    assert (told.status, told.number, told.pick) == ("NONE", "", "")
    assert name == "dialplan-curl" or 1 <= int(told.retry_after) <= 31


async def test_an_example_dials_nothing_from_a_disabled_group(
    dialer: Example, world: EngineWorld, environ: dict[str, str]
) -> None:
    await world.picks.define(group([member(1)], status="disabled"))
    assert await dialer.pick(environ, ID) == Told("NONE")


@pytest.mark.parametrize("wrong", [{"ROTARY_ENGINE_TOKEN": "made-up"}, {"group": "99"}, {"path": "/api"}])
async def test_an_example_dials_nothing_after_an_error(
    dialer: Example, world: EngineWorld, environ: dict[str, str], wrong: dict[str, str]
) -> None:
    await world.picks.define(group([member(1)]))
    environ["ROTARY_ENGINE_URL"] += wrong.get("path", "")
    environ["ROTARY_ENGINE_TOKEN"] = wrong.get("ROTARY_ENGINE_TOKEN", environ["ROTARY_ENGINE_TOKEN"])
    assert await dialer.pick(environ, wrong.get("group", ID)) == Told("ERROR")


async def test_an_example_asks_again_after_a_lost_answer_and_picks_once(
    name: str, dialer: Example, world: EngineWorld, lossy: LossyEngine, environ: dict[str, str]
) -> None:
    if name == "dialplan-curl":
        pytest.skip("a dialplan's CURL asks once; the reservation expires")
    await world.picks.define(group([member(1, daily_cap=1)]))
    lossy.losing = 1
    assert (await dialer.pick(environ | {"ROTARY_ENGINE_URL": lossy.url}, ID)).status == "PICKED"
    assert len(lossy.asked) == 2
    assert len(set(lossy.asked)) == 1, "the same idempotency key"


async def test_an_example_asks_with_another_key_for_another_call(
    name: str, dialer: Example, world: EngineWorld, lossy: LossyEngine, environ: dict[str, str]
) -> None:
    await world.picks.define(group([member(1)]))
    picks = {(await dialer.pick(environ | {"ROTARY_ENGINE_URL": lossy.url}, ID)).pick for _ in range(2)}
    assert len(picks) == 2
    assert name == "dialplan-curl" or len({key for _, _, key in lossy.asked}) == 2


async def test_an_example_gives_a_pick_back(
    name: str, dialer: Example, world: EngineWorld, environ: dict[str, str]
) -> None:
    if name in DIALPLANS:
        pytest.skip("the dialplan dials what it picked")
    await world.picks.define(group([member(1, daily_cap=1)]))
    told = await dialer.pick(environ, ID)
    await dialer.release(environ, ID, told.pick)
    assert (await dialer.pick(environ, ID)).status == "PICKED"


@pytest.mark.parametrize("lead", HOSTILE)
async def test_no_value_of_a_lead_is_evaluated(
    dialer: Example, world: EngineWorld, environ: dict[str, str], tmp_path: Path, lead: str
) -> None:
    await world.picks.define(group([member(18)]))
    told = await dialer.pick(environ, ID, lead.format(canary=tmp_path / "canary"))
    assert told.status in {"PICKED", "ERROR"}
    assert told.number in {"0280000018", ""}
    assert names(tmp_path) == ["spool"]


@pytest.mark.parametrize("group_id", ["", "3; reboot", "$(id)", "-3", "3/../4"])
async def test_a_group_is_a_number(dialer: Example, world: EngineWorld, environ: dict[str, str], group_id: str) -> None:
    assert (await dialer.pick(environ, group_id)).status == "ERROR"


# The call that is published


def published(environ: dict[str, str]) -> list[CallPlacedData]:
    """The calls in the spool, as `rotary-dialer spool` reads them."""
    read = [
        line
        for file in Path(environ["ROTARY_SPOOL"]).iterdir()
        for line in EventReader(file.read_bytes().splitlines(keepends=True), EventFactory("/dialers/hcm-1"))
    ]
    calls = [line.event for line in read if isinstance(line.event, CallPlaced)]
    assert len(calls) == len(read)
    return [call.data for call in calls]


@pytest.mark.parametrize("context", ["rotary-dial", "rotary-dial-curl"])
async def test_the_dialplan_shows_the_number_and_publishes_the_call_with_its_pick(
    world: EngineWorld, environ: dict[str, str], context: str
) -> None:
    await world.picks.define(group([member(18)]))
    channel = await Asterisk(context).dial(environ, ID, "L-991")
    assert channel.caller == "0280000018"
    pick = channel.variables["ROTARY_PICK"]
    assert published(environ) == [CallPlacedData(18, GROUP, "L-991", pick)]
    await world.picks.call(18, pick)


@pytest.mark.parametrize(
    ("call", "lead"), [("V6061159000000000991", "991"), ("M6061159001234567890", "1234567890"), ("x", None)]
)
async def test_the_carrier_of_vicidial_shows_the_leads_number_and_publishes_the_call_with_its_pick(
    world: EngineWorld, environ: dict[str, str], call: str, lead: str | None
) -> None:
    example("vicidial")
    await world.picks.define(group([member(18, daily_cap=1)]))
    channel = await dial_vicidial(environ, call)
    assert (channel.caller, channel.dialed) == ("0280000018", ["PJSIP/0281234567@trunk"])
    assert published(environ) == [CallPlacedData(18, GROUP, lead, channel.variables["ROTARY_PICK"])]
    refused = await dial_vicidial(environ, call)
    assert (refused.dialed, refused.hangup_cause) == ([], "34")


async def test_freeswitch_publishes_the_call_with_its_pick(world: EngineWorld, environ: dict[str, str]) -> None:
    example("freeswitch")
    await world.picks.define(group([member(18)]))
    freeswitch = FreeSwitch()
    variables, _ = await freeswitch.run(environ, "pick", ID, "L-991")
    channel = {f"CHANNEL_{name}": value for name, value in variables.items()}
    assert await freeswitch.run(environ | channel, "placed") == ({}, [])
    pick = variables["rotary_pick"]
    assert published(environ) == [CallPlacedData(18, GROUP, "L-991", pick)]
    assert names(Path(environ["ROTARY_SPOOL"])) == [f"call-placed-{UUID}-{pick}"]
