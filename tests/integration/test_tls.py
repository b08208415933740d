"""TLS: every client speaks it, believes the authority it was told of and no other, and says so at once."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import pytest

from integration.redis_server import redis_server
from integration.tcp_proxy import TcpProxy
from rotary.domain.facts import total
from rotary.domain.quota import days_read
from rotary.errors import ConfigurationError
from rotary.events import EXCHANGE
from rotary.publisher import BlockingPublisher, Publisher
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.redis.connection import connect, translate_errors
from rotary.redis.facts import decode_facts, fact_keys
from rotary.tls import client_context, with_ca_file
from rotary_stack.servers.certificates import Certificates, make_certificates
from running import free_port, program, until

DEFINITIONS = Path(__file__).parents[2] / "infra" / "server" / "rabbitmq-definitions.json"
SOURCE = "/dialers/hcm-1"
NOT_BELIEVED = "its certificate is not trusted"


@pytest.fixture(scope="module")
def url(walled: Mapping[str, str]) -> str:
    """The broker's, on which everything is declared."""

    async def prepare() -> None:
        async with channel(with_ca_file(walled["ROTARY_RABBITMQ_URL"], walled["ROTARY_CA_FILE"])) as opened:
            await topology.declare(opened)

    asyncio.run(prepare())
    return walled["ROTARY_RABBITMQ_URL"]


@pytest.fixture(scope="module")
def ca_file(walled: Mapping[str, str]) -> str:
    return walled["ROTARY_CA_FILE"]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another authority that vouches for the same names."""
    directory = tmp_path_factory.mktemp("stranger") / "tls"
    return make_certificates(directory)


@pytest.fixture
async def consuming(walled: Mapping[str, str], url: str) -> dict[str, str]:
    """Settings of a consumer that logs in as the user whom the operator's example makes for it."""
    async with aiohttp.ClientSession() as session:
        api = f"{walled['ROTARY_MANAGEMENT_URL']}/api"
        async with session.post(f"{api}/definitions", json=json.loads(DEFINITIONS.read_bytes())) as answer:
            assert answer.status == 204, await answer.text()
        async with session.put(f"{api}/users/rotary-consumer", json={"password": "secret", "tags": ""}) as answer:
            assert answer.status == 204
    address = urlsplit(url)
    named = {name.removeprefix("ROTARY_").lower(): value for name, value in walled.items()}
    own = address._replace(netloc=f"rotary-consumer:secret@127.0.0.1:{address.port}").geturl()
    return {name: named[name] for name in ("postgres_url", "redis_url", "ca_file")} | {"rabbitmq_url": own}


def publisher(url: str) -> Publisher:
    return Publisher(url, customer_id=7, source=SOURCE)


async def test_the_publisher_speaks_tls_by_its_url_or_a_context(url: str, ca_file: str) -> None:
    async with channel(with_ca_file(url, ca_file)) as broker:
        queue = await broker.declare_queue(exclusive=True)
        await queue.bind(EXCHANGE, "#")
        async with publisher(with_ca_file(url, ca_file)) as dialer:
            await dialer.call_placed(18)
        async with Publisher(url, customer_id=7, source=SOURCE, ssl_context=client_context(ca_file)) as dialer:
            await dialer.call_placed(18)
        assert [(await queue.get()).routing_key for _ in range(2)] == ["call-placed.7"] * 2


async def test_the_publisher_reconnects_by_tls(url: str, ca_file: str) -> None:
    async with TcpProxy(url) as proxy, publisher(with_ca_file(proxy.url, ca_file)) as dialer:
        await dialer.call_placed(18)
        await proxy.drop()
        await asyncio.wait_for(dialer.call_placed(18), 15)
        assert proxy.accepted == 2


@pytest.mark.parametrize("believed", ["another", "the system's"])
async def test_the_publisher_refuses_a_broker_it_has_no_reason_to_believe(
    url: str, stranger: Certificates, believed: str
) -> None:
    own = with_ca_file(url, str(stranger.authority)) if believed == "another" else url
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=rf"^RabbitMQ at 127.0.0.1:\d+: {NOT_BELIEVED} \(.*certificate"):
        async with publisher(own):
            pytest.fail("it must not be entered")
    assert time.monotonic() - began < 10, "not at once but by the deadline"


def test_the_publisher_for_threads_refuses_it_too(url: str, stranger: Certificates) -> None:
    own = with_ca_file(url, str(stranger.authority))
    with (
        pytest.raises(ConfigurationError, match=NOT_BELIEVED),
        BlockingPublisher(own, customer_id=7, source=SOURCE),
    ):
        pytest.fail("it must not be entered")


async def test_a_certificate_is_for_the_name_that_was_asked_for(url: str, ca_file: str) -> None:
    parts = urlsplit(with_ca_file(url, ca_file))
    other = parts._replace(netloc=parts.netloc.replace("127.0.0.1", "127.1")).geturl()  # the same address
    with pytest.raises(ConfigurationError, match=NOT_BELIEVED):
        async with publisher(other):
            pytest.fail("it must not be entered")


async def test_a_port_without_tls_is_told(rabbitmq_url: str, ca_file: str) -> None:
    plain = urlsplit(rabbitmq_url)._replace(scheme="amqps").geturl()
    for opening in (publisher(with_ca_file(plain, ca_file)), channel(with_ca_file(plain, ca_file))):
        with pytest.raises(ConfigurationError, match="this port does not use TLS"):
            async with opening:
                pytest.fail("it must not be entered")


async def test_the_consumer_folds_by_tls_as_a_user_who_owns_only_what_is_rotarys(
    url: str, ca_file: str, consuming: dict[str, str], customer: int
) -> None:
    async with (
        program("rotary_consumer", **consuming),
        Publisher(with_ca_file(url, ca_file), customer_id=customer, source=SOURCE) as dialer,
        connect(consuming["redis_url"]) as redis,
    ):
        event = await dialer.call_placed(18)
        at_ms = int(event.time.timestamp() * 1000)

        async def folded() -> bool:
            days = days_read(at_ms)
            values = cast("list[bytes | None]", await redis.mget(fact_keys(customer, [18], days)))
            caller_facts = decode_facts([18], days, values)[18]
            return sum(map(total, caller_facts.calls.values())) == 1

        await until(folded, 20, "the call is folded")


async def run(module: str, *arguments: str, stdin: str = "", **settings: str) -> tuple[int, str]:
    """Runs `python -m MODULE` to its end, within a minute; its status and standard error."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=environ(settings), stdin=pipe, stdout=pipe, stderr=pipe
    )
    _, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode is not None
    return process.returncode, err.decode()


def environ(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"ROTARY_{name.upper()}": value for name, value in settings.items()}


async def test_the_consumer_ends_with_one_line_when_it_does_not_believe_the_broker(
    consuming: dict[str, str], stranger: Certificates
) -> None:
    settings = consuming | {"ca_file": str(stranger.authority), "ops_bind": f"127.0.0.1:{free_port()}"}
    status, told = await run("rotary_consumer", **settings)
    assert status == 2
    assert told.splitlines()[-1].startswith(
        f"rotary-consumer: RabbitMQ at the address in ROTARY_RABBITMQ_URL: {NOT_BELIEVED}"
    )
    assert "Traceback" not in told


LINE = '{"type": "call-placed", "caller_id_id": 18}\n'


async def test_a_dialers_command_line_believes_the_ca_file_it_is_given(
    url: str, ca_file: str, stranger: Certificates
) -> None:
    settings = {"rabbitmq_url": url, "customer": "7"}
    assert await run("rotary_dialer", "publish", "--ca-file", ca_file, stdin=LINE, **settings) == (0, "")
    assert await run("rotary_dialer", "publish", stdin=LINE, ca_file=ca_file, **settings) == (0, "")
    status, told = await run("rotary_dialer", "publish", "--ca-file", str(stranger.authority), stdin=LINE, **settings)
    assert (status, told.count("\n")) == (2, 1)
    assert NOT_BELIEVED in told
    status, told = await run("rotary_dialer", "publish", "--ca-file", "/nowhere.pem", stdin=LINE, **settings)
    assert status == 2
    assert told.startswith(
        "rotary-dialer: ROTARY_CA_FILE is invalid; expected a PEM file of certificates: /nowhere.pem: No such"
    )


@pytest.mark.usefixtures("admin_of_walled")  # customer 7
async def test_an_operators_commands_believe_it_too(
    url: str, ca_file: str, stranger: Certificates, walled: Mapping[str, str]
) -> None:
    status, told = await run("rotary_admin", "parked", "list", rabbitmq_url=url, ca_file=ca_file)
    assert status == 0, told  # others may have messages parked on this broker
    clear = ("cooldown", "clear", "--customer", "7", "18")
    settings = {"rabbitmq_url": url, "postgres_url": walled["ROTARY_POSTGRES_URL"]}
    assert await run("rotary_admin", *clear, ca_file=ca_file, **settings) == (0, "")
    for command in (("parked", "list"), clear):
        status, told = await run("rotary_admin", *command, ca_file=str(stranger.authority), **settings)
        assert (status, told.count("\n")) == (2, 1)
        assert NOT_BELIEVED in told


@asynccontextmanager
async def redis_by_tls(certificates: Certificates, directory: Path) -> AsyncIterator[str]:
    port = free_port()
    options = {
        "--bind": "127.0.0.1", "--port": "0", "--tls-port": str(port), "--tls-auth-clients": "no", "--save": "",
        "--dir": str(directory), "--tls-cert-file": str(certificates.certificate),
        "--tls-key-file": str(certificates.key), "--tls-ca-cert-file": str(certificates.authority),
    }  # fmt: skip
    words = [word for option in options.items() for word in option]
    async with redis_server(port, *words):
        yield f"rediss://127.0.0.1:{port}/0"


async def test_redis_is_believed_by_the_same_file(stranger: Certificates, ca_file: str, tmp_path: Path) -> None:
    async with redis_by_tls(stranger, tmp_path) as url:
        async with connect(with_ca_file(url, str(stranger.authority))) as redis:
            assert await redis.ping()
        async with connect(with_ca_file(url, ca_file)) as redis:
            with pytest.raises(ConfigurationError, match=rf"^Redis .*{NOT_BELIEVED}"), translate_errors():
                await redis.ping()
