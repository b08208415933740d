"""`rotary-admin dialer` as an operator meets it: what it prints, what it refuses, and how wrong settings are told."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from integration.dialer_admin import CUSTOMER, DialerAdmin, publisher
from rotary.management.dialers import Access


async def test_a_person_reads_a_password_once_and_a_table(admin_of_walled: DialerAdmin) -> None:
    result = await admin_of_walled("dialer", "create", "read-1", "--customer", 9)
    assert "created: dialer-read-1 of customer 9 on virtual host /. The password is shown only now" in result.stderr
    assert len(result.stdout.strip()) == 43
    assert result.stdout.strip().isalnum()
    table = [line.split() for line in (await admin_of_walled.done("dialer", "list")).splitlines()]
    assert table[0] == ["NAME", "USER", "CUSTOMER", "ID", "CONNECTIONS", "MAX", "CONNECTIONS", "MAX", "CHANNELS"]
    assert ["read-1", "dialer-read-1", "9", "0", "20", "40"] in table
    for verb in ("revoke", "rotate"):
        assert "nothing was changed; pass --yes" in await admin_of_walled.refused("dialer", verb, "read-1", code=1)
    await admin_of_walled.done("dialer", "revoke", "read-1", "--yes")


async def test_creating_one_that_exists_changes_nothing(admin_of_walled: DialerAdmin, own: str) -> None:
    refused = await admin_of_walled.refused("dialer", "create", "walled", "--customer", 8, code=1)
    assert "the broker already has a user dialer-walled" in refused
    assert (await admin_of_walled.dialers())["walled"].customer_id == CUSTOMER
    async with publisher(own) as dialer:
        await dialer.call_placed(18)


async def test_a_dialer_belongs_to_a_customer_that_there_is(admin_of_walled: DialerAdmin) -> None:
    refused = await admin_of_walled.refused("dialer", "create", "nobodys", "--customer", 999, code=1)
    assert refused == (
        "rotary-admin: customer 999 does not exist; the customers are 7 (Saigon Telesales), 8 (Kathmandu Connect), "
        "9 (Another), 12 (Another)\n"
    )
    assert "nobodys" not in await admin_of_walled.dialers()


async def test_a_cooldown_is_cleared_of_the_customers_own_caller_ids_alone(admin_of_walled: DialerAdmin) -> None:
    for wrong, told in (
        (("--customer", 7, 18, 31), "customer 7 has no caller ID 31; the caller IDs are 18 (+84901234567), 19 ("),
        (("--customer", 7, 18, 998, 999), "customer 7 has no caller ID 998, 999; "),
        (("--customer", 9, 18), "customer 9 has no caller ID 18; there are no caller IDs yet"),
        (("--customer", 999, 18), "customer 999 does not exist; the customers are 7 ("),
    ):
        assert told in await admin_of_walled.refused("cooldown", "clear", *wrong, code=1)


@pytest.mark.parametrize("name", ["rotary", "guest", "Upper", "a b", "", "x" * 64, "../users", "a\n"])
async def test_only_dialers_can_be_reached_by_name(admin_of_walled: DialerAdmin, name: str) -> None:
    code = 1 if name in {"rotary", "guest"} else 2
    for verb in ("rotate", "revoke"):
        await admin_of_walled.refused("dialer", verb, "--yes", "--", name, code=code)


async def test_a_dialer_that_cannot_be_finished_is_not_left_without_walls(
    admin_of_walled: DialerAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rotary.management.dialers.writable", lambda _: "("
    )  # no regular expression: the broker refuses it
    with pytest.raises(AssertionError, match="refuses"):
        await admin_of_walled.create("half")
    monkeypatch.undo()
    assert "half" not in await admin_of_walled.dialers()
    await admin_of_walled.create("half")
    await admin_of_walled.done("dialer", "revoke", "half", "--yes")


async def test_a_management_api_that_is_not_there_is_told_with_what_to_do(admin_of_walled: DialerAdmin) -> None:
    told = await admin_of_walled.refused("dialer", "list", code=1, ROTARY_MANAGEMENT_URL="http://u:hunter2@127.0.0.1:9")
    assert told.startswith("rotary-admin: RabbitMQ's management API does not answer: 127.0.0.1:9: ")
    assert "rabbitmq-plugins enable rabbitmq_management" in told
    assert "hunter2" not in told


async def test_limits_are_changed_later_and_only_those_that_are_given(admin_of_walled: DialerAdmin) -> None:
    await admin_of_walled.done("dialer", "create", "limited-1", "--customer", 9, "--max-connections", 3)
    told = await admin_of_walled.done("dialer", "limit", "limited-1", "--max-channels", 7)
    assert told == "limited dialer limited-1 of customer 9: 3 connections, 7 channels\n"
    row = (await admin_of_walled.dialers())["limited-1"]
    assert (row.max_connections, row.max_channels) == (3, 7)
    assert "pass --max-connections" in await admin_of_walled.refused("dialer", "limit", "limited-1", code=2)
    assert "dialer guest does not exist" in await admin_of_walled.refused(
        "dialer", "limit", "guest", "--max-channels", 7, code=1
    )
    await admin_of_walled.done("dialer", "revoke", "limited-1", "--yes")


@pytest.mark.parametrize("given", ["0", "-1", "10001", "many"])
async def test_a_limit_that_is_none_is_refused(admin_of_walled: DialerAdmin, given: str) -> None:
    arguments = ("dialer", "create", "never", "--customer", 9, "--max-connections", given)
    assert "--max-connections" in await admin_of_walled.refused(*arguments, code=2)


async def test_a_broker_without_limits_is_told_and_leaves_no_unlimited_dialer(admin_of_walled: DialerAdmin) -> None:
    """One before 3.8.10, as far as these commands see of it: it answers 404 for what it does not know."""
    asked: list[str] = []

    async def old_broker(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path.removeprefix('/api/')}")
        match asked[-1].split("/")[0]:
            case "GET whoami":
                return web.json_response({"name": "rotary", "tags": "administrator"})
            case "GET users" | "PUT user-limits":
                return web.json_response({"error": "Object Not Found", "reason": "Not Found"}, status=404)
            case _:
                return web.Response()

    async with TestServer(_application(old_broker)) as server:
        refused = await admin_of_walled.refused(
            "dialer", "create", "unlimited", "--customer", 9, code=1, ROTARY_MANAGEMENT_URL=str(server.make_url(""))
        )
    assert "RabbitMQ cannot limit a user's connections and channels: it is older than 3.8.10" in refused
    assert asked[-1] == "DELETE users/dialer-unlimited"


def _application(handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    return application


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ROTARY_MANAGEMENT_URL": ""}, "ROTARY_MANAGEMENT_URL is not set; expected http://user:password@host:15672"),
        ({"ROTARY_MANAGEMENT_URL": "localhost"}, "ROTARY_MANAGEMENT_URL is invalid; expected"),
        ({"user": "rotary:wrong"}, "refuses the user or password of ROTARY_MANAGEMENT_URL: Login failed"),
        ({"user": "walled"}, "refuses the user or password of ROTARY_MANAGEMENT_URL: Not management user"),
        ({"user": "watcher"}, "its user lacks the tag administrator"),
        ({"port": "amqp"}, "is not RabbitMQ's management API"),
        ({"path": "/nowhere"}, "is not RabbitMQ's management API"),
        ({"vhost": "/nowhere"}, "has no virtual host nowhere"),
    ],
)
async def test_a_wrong_setting_is_told_in_one_line(
    admin_of_walled: DialerAdmin, access: Access, rabbitmq_url: str, change: dict[str, str], told: str
) -> None:
    settings = {name: value for name, value in change.items() if name.startswith("ROTARY_")}
    url = urlsplit(admin_of_walled.environ["ROTARY_MANAGEMENT_URL"])
    host = url.netloc.rpartition("@")[2]
    match change:
        case {"user": "walled"}:
            url = url._replace(netloc=f"{access.user}:{access.password}@{host}")
        case {"user": "watcher"}:
            await _watcher(url.geturl())
            url = url._replace(netloc=f"watcher:watcher@{host}")
        case {"user": user}:
            url = url._replace(netloc=f"{user}@{host}")
        case {"port": _}:
            url = url._replace(netloc=urlsplit(rabbitmq_url).netloc)
        case {"path": path}:
            url = url._replace(path=path)
        case {"vhost": vhost}:
            settings["ROTARY_RABBITMQ_URL"] = (
                urlsplit(admin_of_walled.environ["ROTARY_RABBITMQ_URL"])._replace(path=vhost).geturl()
            )
    refused = await admin_of_walled.refused(
        "dialer", "list", code=2, **{"ROTARY_MANAGEMENT_URL": url.geturl()} | settings
    )
    assert told in refused
    assert refused.count("\n") == 1


async def _watcher(url: str) -> None:
    """A user who may look into the management API and no more."""
    body = {"password": "watcher", "tags": "management"}
    async with aiohttp.ClientSession() as session, session.put(f"{url}/api/users/watcher", json=body) as answer:
        assert answer.status in {201, 204}
