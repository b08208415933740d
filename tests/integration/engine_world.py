"""The engine over HTTP on a database of the tests' own, with tokens and groups as the projector writes them."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from itertools import count
from typing import Any

import aiohttp
from redis.asyncio import Redis
from yarl import URL

from integration.picks_world import CUSTOMER, PicksWorld, picks_world
from integration.private_redis import own
from integration.query_world import Got
from pick_groups import GROUP
from rotary.clock import system_clock
from rotary.definitions import PICK_SCOPE, TokenDefinition
from rotary.redis import keys
from rotary_engine.service import Service, serving
from rotary_engine.settings import EngineSettings
from running import until
from written import VERSION, Documents

PATH = f"/api/caller-id-groups/{GROUP}"
_numbers = count(1)


class Dialer:
    """Somebody who asks the engine with one token."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str | None) -> None:
        self._session = session
        self._base = base
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Got:
        """The answer. `body` is sent as JSON; bytes as they are. Underscores in header names stand for hyphens."""
        named = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes | BytesIO) else json.dumps(body).encode()
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=named) as response:
            return Got(response.status, response.headers, (await response.read()).decode())

    async def post(self, body: object = None, group: int = GROUP, **headers: str) -> Got:
        """Asks for picks."""
        return await self.ask("POST", f"/api/caller-id-groups/{group}/picks", body, **headers)

    async def pick(self, **asked: Any) -> dict[str, Any]:
        """One pick, which must be there."""
        got = await self.post(asked)
        assert got.status == 201, got.text
        picked: dict[str, Any] = json.loads(got.text)["data"]
        return picked

    async def release(self, pick_id: str) -> Got:
        """Gives a pick back."""
        return await self.ask("DELETE", f"{PATH}/picks/{pick_id}")


class EngineWorld:
    """A running engine, the customer 7 that it picks for, and its dialers."""

    def __init__(self, picks: PicksWorld, url: str, service: Service, session: aiohttp.ClientSession) -> None:
        self.picks = picks
        self.url = url
        self.service = service
        self.session = session
        self.base = f"http://127.0.0.1:{service.port}"
        self.ops = f"http://127.0.0.1:{service.ops[1]}"

    async def token(
        self, scopes: tuple[str, ...] = (PICK_SCOPE,), limit: int | None = None, customer: int = CUSTOMER
    ) -> str:
        """A new token."""
        number = next(_numbers)
        text = f"dialer-{number}"
        token = TokenDefinition(number, customer, scopes, limit, None)
        sha256_hex = hashlib.sha256(text.encode()).hexdigest()
        await Documents(self.picks.client).put_tokens({sha256_hex: token}, [])
        return text

    async def dialer(
        self, scopes: tuple[str, ...] = (PICK_SCOPE,), limit: int | None = None, customer: int = CUSTOMER
    ) -> Dialer:
        """One with a new token."""
        return self.stranger(await self.token(scopes, limit, customer))

    def stranger(self, token: str | None) -> Dialer:
        """One with this token, or none."""
        return Dialer(self.session, self.base, token)

    async def metric(self, line: str) -> float:
        """The value of a metric, named as it is exposed; 0 where there is none."""
        async with self.session.get(self.ops + "/metrics") as response:
            found = [one for one in (await response.text()).splitlines() if one.startswith(line + " ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


async def complete_tokens(client: Redis) -> None:
    """What the projector writes when it has written every token."""
    await client.hset(
        keys.TOKEN_DEFINITIONS, mapping={"complete": "1", "newest": VERSION, "version": VERSION, "as_of": "0"}
    )


@asynccontextmanager
async def engine_world(
    redis_url: str,
    way: str = "",
    **settings: Any,  # settings' fields
) -> AsyncIterator[EngineWorld]:
    """An engine in this process, on ports of its own, that is ready. `way` is another URL of the same Redis for it."""
    async with picks_world(redis_url) as picks:
        await complete_tokens(picks.client)
        url = own(redis_url)
        chosen = EngineSettings(own(way) if way else url, engine_bind="127.0.0.1:0", ops_bind="127.0.0.1:0", **settings)
        async with serving(chosen, system_clock()) as service, aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                return not await service.engine.not_ready_reasons()

            await until(is_ready, 5, "the engine is ready")
            yield EngineWorld(picks, url, service, session)
