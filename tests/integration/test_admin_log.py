"""`rotary-admin log`: an operator adds and retires logs while events flow, and answers for what a log lost."""

import json

import pytest
from click.testing import Result

from histories import placed
from integration.admin_runner import Operator
from integration.consuming import Installation, now_ms
from rotary.postgres import logs as records
from rotary.rabbitmq.topology import Log
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

CUSTOMER = 7


class LogOperator(Operator):
    """Runs `rotary-admin log` on an installation."""

    def __init__(self, installed: Installation) -> None:
        super().__init__(
            {
                "ROTARY_POSTGRES_URL": installed.servers.postgres_url,
                "ROTARY_RABBITMQ_URL": installed.servers.rabbitmq_url,
                "ROTARY_REDIS_URL": installed.redis_url,
            }
        )

    async def __call__(self, *arguments: object, **settings: str) -> Result:
        return await super().__call__("log", *arguments, **settings)

    async def logs(self) -> dict[str, tuple[str, str]]:
        """(state, stream) of every log."""
        return {row["name"]: (row["state"], row["stream"]) for row in json.loads(await self.done("list", "--json"))}


@pytest.fixture
def log(installed: Installation) -> LogOperator:
    return LogOperator(installed)


async def test_before_the_first_consumer_there_is_nothing_to_manage(installed: Installation, log: LogOperator) -> None:
    await installed.postgres.execute("DELETE FROM event_logs")
    listed = await log("list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert listed.stderr == "no logs: a consumer declares them when it starts\n"
    assert "there are no logs yet" in await log.refused("add", "calls")
    assert "there are no logs yet" in await log.refused("retire", "calls.0", "--yes")


async def test_a_log_is_added_and_another_retired_while_events_flow(installed: Installation, log: LogOperator) -> None:
    async with installed.consumer():
        await installed.caught_up()
        assert await log.logs() == {"calls.0": ("active", "exists"), "flags.0": ("active", "exists")}
        assert (await log.done("add", "calls")).startswith("added: calls.1.")

        async def is_active() -> bool:
            return (await log.logs()).get("calls.1") == ("active", "exists")

        await until(is_active, 20, "a consumer has declared the log and reads it")
        await installed.publish(CUSTOMER, placed("1", now_ms()))
        assert await log.done("retire", "calls.0", "--yes") == "retired: calls.0\n"
        await installed.publish(CUSTOMER, placed("2", now_ms()))
        assert (await log.logs())["calls.0"] == ("draining", "exists")
        assert "calls.0 is already retired" in await log.refused("retire", "calls.0", "--yes")
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 2


async def test_the_only_active_log_of_a_kind_is_not_retired(installed: Installation, log: LogOperator) -> None:
    async with installed.consumer():
        await installed.caught_up()
        assert "calls.0 is the only active log of its kind" in await log.refused("retire", "calls.0", "--yes")
        assert "the logs are calls.0, flags.0" in await log.refused("retire", "calls.7", "--yes")
        assert "calls.0 has no gap" in await log.refused("accept-gap", "calls.0", "--yes")


async def test_accepting_what_a_deleted_log_lost_declares_it_anew_and_opens_the_monitors(
    installed: Installation, log: LogOperator
) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await installed.delete(Log("calls", 0))

        async def is_on_record() -> bool:
            return (await installed.record("calls.0")).gap_until is not None

        await until(is_on_record, 20, "the gap is on record")
        assert (await log.logs())["calls.0"] == ("active", "missing")
        assert "accepted: /monitor answers" in await log.done("accept-gap", "calls.0", "--yes")

        async def is_open() -> bool:
            now = await installed.redis_now_ms()
            return all(one.refusal(now) is None for one in await installed.bucket_statuses())

        await until(is_open, 20, "the monitors are open")
        await installed.publish(CUSTOMER, placed("1", now_ms()))
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 1


async def test_without_a_yes_nothing_is_retired(installed: Installation, log: LogOperator) -> None:
    await records.add_logs(installed.postgres, ["calls.1"], "active")
    done = await log("retire", "calls.0")
    assert done.exit_code != 0
    assert (await installed.record("calls.0")).state == "active"
