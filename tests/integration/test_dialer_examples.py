"""The examples for other languages, run as programs against the real broker."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.dialer_runner import SOURCE, Done, run
from integration.inbox import Inbox, open_inbox
from integration.log_stream import declare_exchange, declare_stream, open_channel, stored_ids
from integration.private_vhost import lasting_vhost, private_user
from integration.tcp_proxy import TcpProxy

EXAMPLES = Path(__file__).parents[2] / "infra" / "dialers"
CALL_ID = "1780747140.17"
PICK_ID = "01JD8Q4T1RZ6W8M3V5X7K9N2PB-18"
BASIC_RETURN = b"\x00\x3c\x00\x32"
CHANNEL_OPEN_OK = b"\x00\x14\x00\x0b"
CONFIRM_SELECT_OK = b"\x00\x55\x00\x0b"


@pytest.fixture
def url(rabbitmq_url: str) -> str:
    return lasting_vhost(rabbitmq_url)


@pytest.fixture
async def inbox(url: str) -> AsyncIterator[Inbox]:
    async with open_inbox(url) as box:
        yield box


@pytest.fixture(scope="session")
def php() -> list[str]:
    """The PHP example. php-amqplib is installed from Debian when it is missing, as rotary-stack does with servers."""
    ready = ["php", "-r", "require 'PhpAmqpLib/autoload.php';"]
    if shutil.which("php") is None or subprocess.run(ready, capture_output=True, check=False).returncode:
        _install("php-cli", "php-amqplib")
    subprocess.run(ready, check=True)
    return ["php", str(EXAMPLES / "php" / "publish_call.php")]


def _install(*packages: str) -> None:
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    subprocess.run([*get, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*get, "install", "--no-install-recommends", *packages], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The JavaScript example, in a folder with amqplib."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("the JavaScript example needs node and npm")
    folder = tmp_path_factory.mktemp("javascript")
    example = shutil.copy(EXAMPLES / "javascript" / "publish_call.mjs", folder)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "amqplib@2"]
    if subprocess.run(install, cwd=folder, check=False, capture_output=True, timeout=120).returncode:
        pytest.skip("npm cannot install amqplib")
    return ["node", str(example)]


@pytest.fixture(params=["php", "javascript"])
def example(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.getfixturevalue(request.param)
    return command


async def publish(example: list[str], url: str, *, deadline: float = 30) -> Done:
    env = os.environ | {"ROTARY_DEADLINE_SECONDS": str(deadline)}
    return await run(*example, url, "7", SOURCE, "18", CALL_ID, "3", "L-991", PICK_ID, env=env)


async def test_an_example_publishes_a_confirmed_call(example: list[str], url: str, inbox: Inbox) -> None:
    assert await publish(example, url) == Done(0, "", "")
    message = await inbox.message()
    assert (message.routing_key, message.delivery_mode) == ("call-placed.7", 2)
    assert message.content_type == "application/cloudevents+json"
    event = json.loads(message.body)
    assert (event["id"], event["source"], event["type"]) == (CALL_ID, SOURCE, "call-placed")
    assert event["data"] == {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "pick_id": PICK_ID}


async def test_an_example_publishes_a_returned_message_again_on_a_new_channel(example: list[str], url: str) -> None:
    async with open_channel(url) as channel, TcpProxy(url) as proxy:
        await declare_exchange(channel)
        await declare_stream(channel, bound=False)
        returned = proxy.notice(BASIC_RETURN)
        publishing = asyncio.create_task(publish(example, proxy.url))
        await asyncio.wait_for(returned.wait(), 20)
        reopened = proxy.notice(CHANNEL_OPEN_OK)
        await asyncio.wait_for(reopened.wait(), 20)
        await declare_stream(channel)
        assert await publishing == Done(0, "", "")
        assert await stored_ids(channel, CALL_ID) == [CALL_ID]
        assert proxy.accepted == 1, "one connection"


async def test_an_example_reports_a_message_that_no_log_takes_until_the_deadline(example: list[str], url: str) -> None:
    async with open_inbox(url):
        pass
    done = await publish(example, url, deadline=0.5)
    assert done == Done(1, "", "not published: no log takes it: NO_ROUTE\n")


async def test_an_example_reports_a_refused_routing_key_at_once(example: list[str], url: str, inbox: Inbox) -> None:
    with private_user(url, r"^call-placed[.]8$") as stranger:
        done = await publish(example, stranger, deadline=3600)
    assert done.status == 1
    assert "ACCESS_REFUSED" in done.err


async def test_an_example_publishes_an_unconfirmed_call_again(example: list[str], url: str, inbox: Inbox) -> None:
    async with TcpProxy(url) as proxy:
        proxy.silence_after(CONFIRM_SELECT_OK)
        publishing = asyncio.create_task(publish(example, proxy.url))
        (unconfirmed,) = await inbox.events(1)
        await proxy.drop()
        assert await publishing == Done(0, "", "")
        (again,) = await inbox.events(1)
        assert proxy.accepted == 2
    assert unconfirmed == again
    assert again["id"] == CALL_ID
