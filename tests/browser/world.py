"""A customer on running services, whose people use the console in a browser."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from rotary.definitions import Carrier
from rotary.events import FLAG_KINDS, Event
from rotary.management import users
from rotary.management.fields import NewUser, Role
from rotary.management.passwords import hash_password
from rotary.postgres.connection import connect
from rotary.publisher import Publisher
from rotary_stack.control.client import send
from rotary_stack.control.messages import Action, Request
from running import until

PASSWORD = "correct horse battery staple"
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
SECONDS = 20
"""A deadline for what takes a moment, on a machine that does much else."""
_CARRIERS: tuple[Carrier, ...] = ("viettel", "mobifone", "vinaphone", "vietnamobile", "landline", "other")
NOWHERE = "/#/nowhere"
"""A page of the console that is not there."""
PHONE: ViewportSize = {"width": 360, "height": 740}
_SCREEN: ViewportSize = {"width": 1280, "height": 720}
_PLAIN: Mapping[str, Any] = {
    "viewport": _SCREEN,
    "locale": "en-GB",
    "timezone_id": "Asia/Ho_Chi_Minh",
    "reduced_motion": "reduce",
    "color_scheme": "light",
}
"""What windows are like unless a test says otherwise."""
_EMPTY = "/assets/favicon.svg"
"""A page without scripts."""
_REMEMBER = """items => {
    localStorage.clear();
    for (const { name, value } of items) localStorage.setItem(name, value);
}"""
_ROWS = """
SELECT $1, '+8490' || ($2 + n), 'Line ' || n, ($3::text[])[1 + n % 6], $4 FROM generate_series(0, $5::int - 1) AS n
"""
SWEPT = "SELECT swept_ms IS NOT NULL FROM history_sweeps WHERE customer_id = $1"


class Group(Struct, frozen=True):
    """A group and its members' ids, ascending."""

    id: int
    name: str
    callers: Sequence[int]

    @property
    def page(self) -> str:
        """Where the console shows it."""
        return f"/#/groups/{self.id}"


class World:
    """One customer, its groups and its people."""

    def __init__(
        self, stack: Mapping[str, str], postgres: asyncpg.Connection, customer: int, publisher: Publisher
    ) -> None:
        self.stack = stack
        self.customer = customer
        self.publisher = publisher
        self._postgres = postgres
        self._number = 1_000_000
        self.things: dict[str, int] = {}
        """Ids of what tests made that share it."""
        self._mixed: Group | None = None

    @property
    def url(self) -> str:
        """Of the console."""
        return self.stack["ROTARY_CONSOLE_URL"]

    def user(self, role: Role) -> str:
        """The name of somebody with a role."""
        return f"{role}-{self.customer}"

    async def group(self, name: str, members: int, daily_cap: int = 200) -> Group:
        """A new group of new caller IDs."""
        query = (
            "INSERT INTO caller_id_groups (customer_id, name, rotation_strategy) VALUES ($1, $2, 'random') RETURNING id"
        )
        async with self._postgres.transaction():
            group = await self._postgres.fetchval(query, self.customer, name)
            rows = await self._postgres.fetch(
                f"INSERT INTO caller_ids (customer_id, number, display_name, carrier, daily_cap) {_ROWS} RETURNING id",
                *(self.customer, self._number, list(_CARRIERS), daily_cap, members),
            )
            self._number += members
            callers = sorted(row[0] for row in rows)
            await self._postgres.execute(
                "INSERT INTO caller_id_group_members (group_id, caller_id_id) SELECT $1, unnest($2::bigint[])",
                *(group, callers),
            )
        return Group(group, name, callers)

    async def mixed(self) -> Group:
        """A group that has members of every status; the same one each time."""
        if self._mixed is None:
            self._mixed = group = await self.group("HCM telesales, north", 8, daily_cap=3)
            events = self.publisher.events
            await self.publish(
                *(events.carrier_flag(caller, kind) for caller, kind in zip(group.callers, FLAG_KINDS, strict=False)),
                *(events.call_placed(caller) for caller in group.callers[4:6] for _ in range(3)),
            )
            await self.execute("UPDATE caller_ids SET status = 'disabled' WHERE id = $1", group.callers[7])
        return self._mixed

    async def numbers(self, group: Group) -> list[str]:
        """The numbers of a group's members, in the order of `callers`."""
        query = "SELECT number FROM caller_ids WHERE id = ANY ($1) ORDER BY id"
        return [row["number"] for row in await self._postgres.fetch(query, group.callers)]

    async def execute(self, query: str, *values: object) -> None:
        """Changes definitions with SQL."""
        await self._postgres.execute(query, *values)

    async def value(self, query: str, *values: object) -> Any:
        """The value that a query finds. Any: whatever its type."""
        return await self._postgres.fetchval(query, *values)

    async def swept(self) -> None:
        """Waits until the consumer has looked at the customer's past days: until then there are none to show."""

        async def is_swept() -> bool:
            return bool(await self.value(SWEPT, self.customer))

        await until(is_swept, SECONDS, "the consumer has looked at the customer's past days")

    async def publish(self, *events: Event) -> None:
        """Publishes, and returns once a log has them."""
        for event in events:
            self.publisher.submit(event)
        await self.publisher.flush()

    async def control(self, command: Action, process: str) -> None:
        """As `rotary-stack COMMAND PROCESS`."""
        await asyncio.to_thread(send, Request(command, process), self.stack)

    async def create_users(self) -> None:
        """Somebody for each role, all with the same password."""
        hashed = await asyncio.to_thread(hash_password, PASSWORD)
        connection = await connect(self.stack["ROTARY_POSTGRES_URL"])
        try:
            for role in ROLES:
                user = await users.create_user(
                    connection, NewUser(name=self.user(role), display_name=f"Linh {role}"), hashed
                )
                await users.set_role(connection, user.id, self.customer, role)
        finally:
            await connection.close()


@asynccontextmanager
async def open_world(stack: Mapping[str, str], name: str = "Saigon Telesales") -> AsyncIterator[World]:
    """A new customer with a person for each role."""
    postgres = await asyncpg.connect(stack["ROTARY_POSTGRES_URL"])
    try:
        customer = await postgres.fetchval("INSERT INTO customers (name) VALUES ($1) RETURNING id", name)
        async with Publisher(
            stack["ROTARY_RABBITMQ_URL"], customer_id=customer, source="/dialers/browser"
        ) as publisher:
            world = World(stack, postgres, customer, publisher)
            await world.create_users()
            yield world
    finally:
        await postgres.close()


class Visitor:
    """Somebody in front of a page. A page that complains, or whose policy refuses something, fails the test."""

    def __init__(self, world: World, context: BrowserContext, page: Page) -> None:
        self.world = world
        self.context = context
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        # Answers that are errors, and servers that are away, are told as errors, too; tests look at what the page says.
        if kind in ("error", "warning") and "Failed to load resource" not in text and "net::ERR" not in text:
            self.complaints.append(text)

    async def open(self, path: str = "/") -> Page:
        """Goes to a path of the console."""
        await self.page.goto(self.world.url + path)
        return self.page

    async def empty(self, state: Any) -> None:
        """Leaves nothing of what a test did, as if the window were new. Any: Playwright's, what a browser remembers."""
        await self.context.set_offline(False)
        await self.page.unroute_all()
        await self.page.emulate_media(color_scheme=_PLAIN["color_scheme"])
        await self.page.set_viewport_size(_SCREEN)
        await self.page.mouse.move(-1, -1)
        # Of the same origin, so that scripts stay compiled.
        await self.open(_EMPTY)
        await self.page.evaluate(_REMEMBER, [item for one in state["origins"] for item in one["localStorage"]])
        await self.context.clear_cookies()
        await self.context.add_cookies(state["cookies"])

    def told(self) -> list[str]:
        """The complaints until now, once."""
        complaints, self.complaints = self.complaints, []
        return complaints

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """A request of the page's own. Any: JSON."""
        named = {"X-Rotary-Console": "1", **{name.replace("_", "-"): value for name, value in headers.items()}}
        script = """async ([method, path, body, headers]) => {
            const answer = await fetch(path, { method, headers, body });
            return [answer.status, await answer.text()];
        }"""
        text = None if body is None else json.dumps(body)
        status, answered = await self.page.evaluate(script, [method, path, text, named])
        return status, json.loads(answered) if answered else None

    async def log(self, entity: str, row_id: int) -> list[dict[str, Any]]:
        """What the audit log has of a row, newest first."""
        path = f"/api/customers/{self.world.customer}/management/audit-log?entity={entity}&entity_id={row_id}"
        status, answer = await self.ask("GET", path)
        assert status == 200
        rows = answer["data"]
        assert isinstance(rows, list)
        return rows

    async def is_live(self) -> None:
        """Returns once the page says that its data is live."""
        await expect(self.page.locator("[data-freshness=live]")).to_be_visible(timeout=SECONDS * 1000)

    def row(self, caller: int) -> Any:
        """The row of a caller ID in the monitor. Any: a locator."""
        return self.page.locator(f"[data-id='{caller}']")


async def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Types it in, as people do."""
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def said(page: Page, text: str) -> None:
    """A toast says so."""
    await expect(page.locator(".toast").filter(has_text=text).first).to_be_visible()


class Visitors:
    """Opens pages for people, who have signed in before.

    Plain windows are kept for later tests: in a new one, the browser compiles all scripts anew.
    """

    def __init__(self, world: World, browser: Browser) -> None:
        self.world = world
        self._browser = browser
        self._states: dict[Role, Any] = {}  # Playwright's own type of what a browser remembers
        self._open: list[tuple[Visitor, Role | None]] = []
        self._kept: dict[Role, list[Visitor]] = {role: [] for role in ROLES}
        self._inspected: dict[Role, Visitor] = {}

    async def visitor(self, role: Role | None = "viewer", **options: Any) -> Visitor:
        """An empty window; with a role, of somebody who is signed in. Options are those of Playwright's contexts."""
        is_plain = role is not None and not options
        if role is not None and is_plain and self._kept[role]:
            visitor = self._kept[role].pop()
        else:
            visitor = await self._new(role, options)
        self._open.append((visitor, role if is_plain else None))
        return visitor

    async def inspected(self, role: Role) -> Visitor:
        """A window for axe, which is slow on its first pages: others are shown without loading the window anew."""
        if role not in self._inspected:
            self._inspected[role] = await self._new(role, {})
        visitor = self._inspected[role]
        self._open.append((visitor, role))
        await visitor.open(NOWHERE)
        await expect(visitor.page.get_by_text("There is no such page")).to_be_visible()
        await expect(visitor.page.get_by_role("dialog")).to_have_count(0)
        return visitor

    async def _new(self, role: Role | None, options: dict[str, Any]) -> Visitor:
        state = None if role is None else await self._state(role)
        # A page that is clicked on may write to the clipboard, but Chromium's shell has nobody who says so.
        permissions = ["clipboard-write", *options.pop("permissions", ())]
        context = await self._browser.new_context(storage_state=state, permissions=permissions, **{**_PLAIN, **options})
        context.set_default_timeout(SECONDS * 1000)
        return Visitor(self.world, context, await context.new_page())

    async def _state(self, role: Role) -> Any:  # likewise
        if role not in self._states:
            context = await self._browser.new_context()
            page = await context.new_page()
            await page.goto(self.world.url)
            await sign_in(page, self.world.user(role))
            await expect(page.locator("h1")).to_have_text("Live monitor", timeout=SECONDS * 1000)
            self._states[role] = await context.storage_state()
            await context.close()
        return self._states[role]

    async def close(self) -> None:
        """Closes every window, or empties it for the next test. Fails the test if a page complained."""
        opened, self._open = self._open, []
        for visitor, role in opened:
            try:
                if role is None:
                    await visitor.context.close()
                elif visitor is self._inspected.get(role):
                    await visitor.page.mouse.move(-1, -1)
                else:
                    await visitor.empty(await self._state(role))
                    self._kept[role].append(visitor)
            except PlaywrightTimeoutError:
                continue
        if complaints := [text for visitor, _ in opened for text in visitor.told()]:
            pytest.fail("\n".join(["a page complained:", *complaints]))
