"""The write side: campaigns at a steady rate, a bulk import, what readers see meanwhile, and webhooks."""

import asyncio
import itertools
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import aiohttp
import msgspec
import psutil
from aiohttp import web

from benchmarks.freshness import Freshness
from benchmarks.processes import free_port, service, until
from benchmarks.rounds import percentile
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from benchmarks.world import Customer, Group, World, open_world
from rotary.publisher import Publisher
from rotary_stack.servers.certificates import Certificates, make_certificates

RATE = 200.0
"""Requests a second, of which each third creates, reads and updates."""
PATH = "/api/telesales/campaigns"
IMPORTS = "/api/management/imports"
GROUPS_IMPORTED = 200
LOOK_SECONDS = 0.05
WEBHOOK_SECONDS = 0.05
"""Between two flags: several are on their way at any time."""
NAMES = ("requests", "import", "webhooks")


async def measure(run: Run) -> None:
    """Every row about the write side; all programs on all cores, as the system would run."""
    if not any(run.wants(f"campaigns.{name}") for name in NAMES):
        return
    certificates = make_certificates(run.folder / "webhooks")
    with run.on_all_cores():
        async with (
            open_world(run, run.cores.all, run.cores.all) as world,
            _campaigns_service(run, certificates) as (base, pid),
        ):
            cases = Campaigns(run, world, await world.customer(), base, pid)
            await until(cases.is_known, "the token is known")
            await run.each(
                {
                    "campaigns.requests": cases.requests,
                    "campaigns.import": cases.bulk_import,
                    "campaigns.webhooks": partial(cases.webhooks, certificates),
                }
            )


@asynccontextmanager
async def _campaigns_service(run: Run, certificates: Certificates) -> AsyncIterator[tuple[str, int]]:
    """A campaigns service; its URL and the id of its process."""
    bind = f"127.0.0.1:{free_port()}"
    environ = {
        **run.servers.settings(),
        "ROTARY_CAMPAIGNS_BIND": bind,
        "ROTARY_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "ROTARY_CA_FILE": str(certificates.authority),
    }
    async with service(run.cores.all, "rotary_campaigns", environ) as (started, _):
        yield f"http://{bind}", started.pid


class Campaigns:
    """The cases, on one customer."""

    def __init__(self, run: Run, world: World, customer: Customer, base: str, pid: int) -> None:
        self.run = run
        self.world = world
        self.customer = customer
        self.base = base
        self.pid = pid

    async def is_known(self) -> bool:
        """Whether the service knows the token."""
        async with self._session() as session, session.get(self.base + PATH) as answer:
            return answer.status == 200

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(headers=self.customer.headers)

    async def requests(self) -> Sequence[Row]:
        """Each request at its time, whether or not those before it are answered."""
        group = await self.world.group(self.customer)
        seconds: dict[str, list[float]] = defaultdict(list)
        async with self._session() as session:
            first = await self._timed(session, "POST", "", {"name": "first", "dialer_mode": "manual"})
            begin, tasks = perf_counter() + 0.1, list[asyncio.Task[None]]()
            for number in range(round(self.run.scale.probe_seconds * RATE)):
                await asyncio.sleep(max(0.0, begin + number / RATE - perf_counter()))
                tasks.append(asyncio.create_task(self._request(session, number, group, first[1], seconds)))
            await asyncio.gather(*tasks)
        return [_p99(f"campaigns at {RATE:.0f}/s: {kind}: p99", some, 25) for kind, some in sorted(seconds.items())]

    async def _request(
        self, session: aiohttp.ClientSession, number: int, group: Group, campaign: int, seconds: dict[str, list[float]]
    ) -> None:
        if number % 3 == 0:
            new = {"name": f"campaign {number}", "dialer_mode": "predictive", "caller_id_group_id": group.id}
            seconds["create"].append((await self._timed(session, "POST", "", new))[0])
        elif number % 3 == 1:
            seconds["read"].append((await self._timed(session, "GET", f"/{campaign}", None))[0])
        else:
            change = {"priority": number % 1000}
            seconds["update"].append((await self._timed(session, "PUT", f"/{campaign}", change))[0])

    async def _timed(self, session: aiohttp.ClientSession, method: str, path: str, body: object) -> tuple[float, int]:
        """How long a request took, and the id of its campaign."""
        data = None if body is None else msgspec.json.encode(body)
        began = perf_counter()
        async with session.request(method, self.base + PATH + path, data=data) as answer:
            text = await answer.read()
        took = perf_counter() - began
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
        return took, msgspec.json.decode(text)["data"]["id"]

    async def bulk_import(self) -> Sequence[Row]:
        """A file of caller IDs with members, while definitions of another customer change and are looked for."""
        rows = self.run.scale.imported_rows
        other = await self.world.customer()
        freshness = Freshness(self.run, self.world, other)
        group = await self.world.group(other)
        seen = list[float]()
        async with self._session() as session, aiohttp.ClientSession(headers=other.headers) as reader:
            looking = asyncio.create_task(_change_on(freshness, reader, group, seen))
            watching = asyncio.create_task(_peak_of_workers(self.pid))
            try:
                began = perf_counter()
                done = await self._import(session, _csv(rows))
                took = perf_counter() - began
                await self._until_shown(rows)
            finally:
                looking.cancel()
                watching.cancel()
                peak, changes = await asyncio.gather(watching, looking, return_exceptions=True)
        for result in (peak, changes):
            if isinstance(result, Exception):
                raise result
        assert isinstance(peak, int)
        if done["status"] != "succeeded":
            raise RuntimeError(f"the import failed: {done}")
        what = f"import of {rows:,} caller IDs with members"
        return [
            Row(case=what, figure=took, unit="s", goal=at_most(20), detail=f"{rows / took:,.0f} a second"),
            Row(
                case=f"{what}: memory", figure=peak / 2**20, unit="MiB", goal=at_most(300), detail="peak of its worker"
            ),
            _p99("definition row committed → visible, during that import: p99", seen, 1_000),
        ]

    async def _import(self, session: aiohttp.ClientSession, content: bytes) -> dict[str, object]:
        headers = {"Content-Type": "text/csv"}
        async with session.post(self.base + IMPORTS, data=content, headers=headers) as answer:
            row_id = msgspec.json.decode(await answer.read())["data"]["id"]
        done: dict[str, object] = {}
        while done.get("finished_at") is None:
            await asyncio.sleep(LOOK_SECONDS)
            async with session.get(f"{self.base}{IMPORTS}/{row_id}") as answer:
                done = msgspec.json.decode(await answer.read())["data"]
        return done

    async def _until_shown(self, rows: int) -> None:
        async def is_shown() -> bool:
            body = msgspec.json.decode(await self.world.body(self.customer, "/api/caller-id-groups"))
            return bool(sum(group["caller_ids_count"] for group in body["data"]) >= rows)

        await until(is_shown, "readers see what was imported")

    async def webhooks(self, certificates: Certificates) -> Sequence[Row]:
        """Flags and clears, one after the other, from their publishing to the customer's server."""
        count = round(self.run.scale.probe_seconds / WEBHOOK_SECONDS)
        group = await self.world.group(self.customer, members=count)
        receiver = _Receiver()
        async with receiver.serving(certificates) as url, self._session() as session:
            new = msgspec.json.encode({"url": url, "events": ["caller_id.cooldown_started"]})
            async with session.post(f"{self.base}/api/management/webhooks", data=new) as answer:
                answer.raise_for_status()
            await until(self._is_watched, "the customer is watched")
            await self._flag(group.callers, receiver)
            await until(receiver.has_all, "every flag was told")
        return [_p99("event published → webhook out: p99", [*receiver.seconds.values()], 1_000)]

    async def _is_watched(self) -> bool:
        found = await self.world.postgres.fetchval(
            "SELECT EXISTS (SELECT FROM webhook_watches WHERE customer_id = $1)", self.customer.id
        )
        return bool(found)

    async def _flag(self, callers: Sequence[int], receiver: "_Receiver") -> None:
        url, customer = self.run.servers.rabbitmq, self.customer.id
        async with Publisher(url, customer_id=customer, source="/benchmark/flags") as publisher:
            for caller in callers:
                receiver.published[caller] = perf_counter()
                publisher.submit(publisher.events.carrier_flag(caller, "blocked"))
                await asyncio.sleep(WEBHOOK_SECONDS)


class _Receiver:
    """The customer's server."""

    def __init__(self) -> None:
        self.published: dict[int, float] = {}
        self.seconds: dict[int, float] = {}

    async def has_all(self) -> bool:
        """Whether everything that was published was told."""
        return len(self.seconds) >= len(self.published)

    async def _handle(self, request: web.Request) -> web.Response:
        now = perf_counter()
        caller = msgspec.json.decode(await request.read())["data"]["caller_id_id"]
        self.seconds.setdefault(caller, now - self.published[caller])
        return web.Response()

    @asynccontextmanager
    async def serving(self, certificates: Certificates) -> AsyncIterator[str]:
        """Answers while the block runs; with its URL."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.certificate, certificates.key)
        app = web.Application()
        app.router.add_post("/", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            yield f"https://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


async def _change_on(freshness: Freshness, session: aiohttp.ClientSession, group: Group, seen: list[float]) -> None:
    for number in itertools.count():
        seen.append(await freshness.change(session, group, f"During {number}"))
        await asyncio.sleep(LOOK_SECONDS)


async def _peak_of_workers(pid: int) -> int:
    """The most memory that any child of a process has held, in bytes, until this is cancelled."""
    peak = 0
    try:
        while True:
            for child in psutil.Process(pid).children():
                peak = max(peak, _high_water(child.pid))
            await asyncio.sleep(LOOK_SECONDS)
    except asyncio.CancelledError:
        return peak


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _csv(rows: int) -> bytes:
    """Caller IDs, each a member of one group. No carrier is given: looking it up is part of the work."""
    lines = [
        f"09{number:08},Line {number},200,Imported {number % GROUPS_IMPORTED},round_robin,1" for number in range(rows)
    ]
    return "\n".join(["number,display_name,daily_cap,group,rotation_strategy,weight", *lines]).encode()


def _p99(case: str, seconds: Sequence[float], goal_ms: float) -> Row:
    ms = [second * 1e3 for second in seconds]
    return Row(
        case=case,
        figure=percentile(ms, 0.99),
        unit="ms",
        goal=at_most(goal_ms),
        detail=f"{len(ms):,} probes, median {percentile(ms, 0.5):.1f} ms, max {max(ms):.0f} ms",
        samples={"p99, ms": [percentile(ms, 0.99)], "p50, ms": [percentile(ms, 0.5)], "max, ms": [max(ms)]},
    )
