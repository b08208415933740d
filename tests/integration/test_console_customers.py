"""What the console does itself for a customer: its users and its dialers."""

from collections.abc import AsyncIterator, Mapping

import pytest

from integration.console_world import PASSWORD, Browser, WholeWorld, console_world
from integration.dialer_admin import DialerAdmin
from rotary.postgres.connection import Connection

OWN = "/api/customers/7"
USERS = f"{OWN}/users"
DIALERS = f"{OWN}/dialers"


@pytest.fixture
async def world(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> AsyncIterator[WholeWorld]:
    async with console_world(database_url, redis_url, broker_url, connection) as made:
        yield made


@pytest.fixture
async def admin(world: WholeWorld) -> Browser:
    return await world.signed_in("admin", name="alice")


async def test_an_administrator_makes_a_user_who_signs_in_with_a_password_that_is_shown_once(
    world: WholeWorld, admin: Browser
) -> None:
    new = {"name": "bob@example.com", "display_name": "Bob", "role": "operator"}
    made = (await admin.done(201, "POST", USERS, new))["data"]
    password = made.pop("password")
    assert made == {
        "id": made["id"],
        "name": "bob@example.com",
        "display_name": "Bob",
        "role": "operator",
        "disabled": False,
        "account_disabled": False,
        "has_totp": False,
        "last_sign_in_at": None,
    }
    listed = (await admin.done(200, "GET", USERS))["data"]
    assert [(one["name"], one["role"]) for one in listed] == [("alice", "admin"), ("bob@example.com", "operator")]
    assert password not in str(listed)
    browser = world.browser()
    assert (await browser.sign_in("bob@example.com", password)).status == 200
    assert [one["role"] for one in (await browser.done(200, "GET", "/api/session"))["data"]["customers"]] == [
        "operator"
    ]
    logged = await admin.done(200, "GET", f"{OWN}/management/audit-log?entity=user_role&actor=user%20alice")
    assert [entry["after"]["role"] for entry in logged["data"]] == ["operator"]


async def test_a_password_may_be_chosen(world: WholeWorld, admin: Browser) -> None:
    new = {"name": "bob", "role": "viewer", "password": "short"}
    assert list((await admin.done(422, "POST", USERS, new))["errors"]) == ["password"]
    made = await admin.done(201, "POST", USERS, new | {"password": PASSWORD})
    assert made["data"]["password"] is None
    assert (await world.browser().sign_in("bob")).status == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [({"name": "Upper Case"}, "name"), ({"name": ""}, "name"), ({"role": "owner"}, "role"), ({"root": True}, "root")],
)
async def test_a_user_that_can_not_be_is_refused(admin: Browser, change: dict[str, object], field: str) -> None:
    told = await admin.done(422, "POST", USERS, {"name": "bob", "role": "viewer"} | change)
    assert list(told["errors"]) == [field]


async def test_a_name_that_is_taken_is_refused_whoever_has_it(world: WholeWorld, admin: Browser) -> None:
    """So that nobody gets into another customer's account, nor puts a role on it."""
    theirs = await world.user("admin", customer=8)
    told = await admin.done(409, "POST", USERS, {"name": theirs, "role": "viewer"})
    assert told["message"].startswith("This user name is taken.")
    assert await world.connection.fetchval("SELECT count(*) FROM user_roles") == 2


async def test_a_role_is_changed_disabled_and_taken(world: WholeWorld, admin: Browser) -> None:
    browser = await world.signed_in("viewer")
    user_id = (await browser.done(200, "GET", "/api/session"))["data"]["user"]["id"]
    path = f"{USERS}/{user_id}"
    assert (await admin.done(200, "PUT", path, {"role": "operator"}))["data"]["role"] == "operator"
    await browser.done(200, "GET", f"{OWN}/management/audit-log")
    changed = (await admin.done(200, "PUT", path, {"disabled": True}))["data"]
    assert (changed["role"], changed["disabled"]) == ("operator", True)
    await browser.done(404, "GET", f"{OWN}/management/audit-log")
    assert (await admin.done(200, "PUT", path, {"disabled": False}))["data"]["disabled"] is False
    await browser.done(200, "GET", f"{OWN}/management/audit-log")
    assert await admin.done(200, "PUT", path, {"role": None}) == {"data": None}
    await browser.done(404, "GET", f"{OWN}/management/audit-log")
    await admin.done(404, "PUT", path, {"role": "viewer"})


async def test_what_one_customer_decides_leaves_another_customers_role_as_it_is(
    world: WholeWorld, admin: Browser
) -> None:
    browser = await world.signed_in("viewer")
    user_id = (await browser.done(200, "GET", "/api/session"))["data"]["user"]["id"]
    await world.connection.execute("INSERT INTO user_roles VALUES ($1, 8, 'admin')", user_id)
    await admin.done(200, "PUT", f"{USERS}/{user_id}", {"disabled": True})
    customers = (await browser.done(200, "GET", "/api/session"))["data"]["customers"]
    assert [(one["id"], one["role"]) for one in customers] == [(8, "admin")]


async def test_a_user_of_another_customer_does_not_exist(world: WholeWorld, admin: Browser) -> None:
    theirs = await world.signed_in("viewer", customer=8)
    user_id = (await theirs.done(200, "GET", "/api/session"))["data"]["user"]["id"]
    for name in (str(user_id), "999999", "x", "0", "%2e%2e"):
        got = await admin.ask("PUT", f"{USERS}/{name}", {"role": "admin"})
        assert (got.status, got.text) == (404, '{"message":"User not found."}')


async def test_nobody_changes_their_own_role(admin: Browser) -> None:
    """A customer would be left without an administrator."""
    user_id = (await admin.done(200, "GET", "/api/session"))["data"]["user"]["id"]
    for change in ({"role": "viewer"}, {"role": None}, {"disabled": True}):
        told = await admin.done(409, "PUT", f"{USERS}/{user_id}", change)
        assert told == {"message": "You can't change your own role."}


@pytest.mark.parametrize("path", [USERS, DIALERS])
async def test_users_and_dialers_are_the_administrators(world: WholeWorld, path: str) -> None:
    for role in ("viewer", "operator"):
        browser = await world.signed_in(role)
        assert (await browser.ask("GET", path)).status == 403
        assert (await browser.ask("POST", path, {})).status == 403
    assert (await world.browser().ask("GET", path)).status == 401


async def test_without_the_brokers_management_api_dialers_are_not_managed_here(admin: Browser) -> None:
    told = {"message": "This installation does not manage dialers here: ROTARY_MANAGEMENT_URL is not set."}
    assert await admin.done(501, "GET", DIALERS) == told
    assert await admin.done(501, "POST", DIALERS, {"name": "hcm-1"}) == told


@pytest.fixture
async def broker_admin(
    database_url: str,
    redis_url: str,
    broker_url: str,
    connection: Connection,
    walled: Mapping[str, str],
) -> AsyncIterator[tuple[WholeWorld, Browser]]:
    """An administrator of a console that manages dialers on a broker with walls."""
    settings = {"management_url": walled["ROTARY_MANAGEMENT_URL"], "ca_file": walled["ROTARY_CA_FILE"]}
    async with console_world(database_url, redis_url, broker_url, connection, **settings) as made:
        yield made, await made.signed_in("admin", name="alice")


async def test_a_dialer_is_made_given_another_password_and_revoked(
    broker_admin: tuple[WholeWorld, Browser], admin_of_walled: DialerAdmin
) -> None:
    _, admin = broker_admin
    made = (await admin.done(201, "POST", DIALERS, {"name": "console-1", "max_channels": 7}))["data"]
    assert (made["user"], made["customer_id"], made["vhost"]) == ("dialer-console-1", 7, "/")
    known = (await admin_of_walled.dialers())["console-1"]
    assert (known.customer_id, known.max_connections, known.max_channels) == (7, 20, 7)
    listed = (await admin.done(200, "GET", DIALERS))["data"]
    assert [one["name"] for one in listed if one["name"] == "console-1"] == ["console-1"]
    assert made["password"] not in str(listed)
    taken = await admin.done(409, "POST", DIALERS, {"name": "console-1"})
    assert taken == {"message": "The broker already has a user dialer-console-1."}
    other = (await admin.done(200, "POST", f"{DIALERS}/console-1/rotate"))["data"]
    assert other["password"] != made["password"]
    await admin.done(204, "DELETE", f"{DIALERS}/console-1")
    await admin.done(404, "DELETE", f"{DIALERS}/console-1")
    assert "console-1" not in await admin_of_walled.dialers()
    logged = await admin.done(200, "GET", f"{OWN}/management/audit-log?entity=dialer")
    told = [(entry["actor"], entry["after"]["change"]) for entry in logged["data"]]
    assert told == [("user alice", change) for change in ("revoke", "rotate", "create")]


async def test_what_can_not_be_recorded_is_not_done_to_a_dialer(
    broker_admin: tuple[WholeWorld, Browser], admin_of_walled: DialerAdmin
) -> None:
    world, admin = broker_admin
    await admin.done(201, "POST", DIALERS, {"name": "console-2"})
    try:
        await world.connection.execute("ALTER TABLE dialer_changes RENAME TO dialer_changes_away")
        await admin.done(503, "DELETE", f"{DIALERS}/console-2")
        await admin.done(503, "POST", DIALERS, {"name": "console-3"})
        assert {"console-2", "console-3"} & set(await admin_of_walled.dialers()) == {"console-2"}
    finally:
        await world.connection.execute("ALTER TABLE dialer_changes_away RENAME TO dialer_changes")
        await admin.done(204, "DELETE", f"{DIALERS}/console-2")


async def test_another_customers_dialer_does_not_exist(
    broker_admin: tuple[WholeWorld, Browser], admin_of_walled: DialerAdmin
) -> None:
    _, admin = broker_admin
    await admin_of_walled.create("theirs", customer=8)
    try:
        assert "theirs" not in str(await admin.done(200, "GET", DIALERS))
        for method, path in (("POST", f"{DIALERS}/theirs/rotate"), ("DELETE", f"{DIALERS}/theirs")):
            assert (await admin.ask(method, path)).status == 404
        for name in ("rotary", "..%2Fguest", "%2e%2e", "Upper"):
            assert (await admin.ask("DELETE", f"{DIALERS}/{name}")).status == 404
        assert "theirs" in await admin_of_walled.dialers()
    finally:
        await admin_of_walled.done("dialer", "revoke", "theirs", "--yes")


async def test_a_broker_that_can_not_be_used_is_told_without_its_address(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> None:
    settings = {"management_url": "http://u:hunter2@127.0.0.1:9"}
    async with console_world(database_url, redis_url, broker_url, connection, **settings) as world:
        admin = await world.signed_in("admin")
        got = await admin.ask("GET", DIALERS)
        assert got.status == 503
        assert "127.0.0.1" not in got.text
        assert "hunter2" not in got.text
