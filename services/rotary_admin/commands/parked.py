"""`rotary-admin parked`: what could not be folded, and why; back into the fold, or away."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec

import click
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.parked import ParkedMessage, browse, describe, replay
from rotary_admin.commands.cooldown import rabbitmq_url
from rotary_admin.params import Decorator, options
from rotary_admin.output import print_fields, print_object, print_rows
from rotary.runtime.cli import Failure, confirm, json_option, yes_option

P = ParamSpec("P")
AT_ONCE = 500


def on_broker(command: Callable[Concatenate[AbstractChannel, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function that takes a channel with confirms first."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def connected() -> None:
            async with channel(rabbitmq_url(), confirms=True) as opened:
                await topology.declare(opened)
                await command(opened, *args, **kwargs)

        asyncio.run(connected())

    return run


selection: Decorator = options(
    click.argument("ids", nargs=-1, metavar="[ID...]"),
    click.option("--reason", metavar="WORD", help="All whose reason begins with this word, such as unknown_type."),
    click.option("--all", "everything", is_flag=True, help="All that is parked."),
    yes_option,
)


@click.group()
def parked() -> None:
    """Events that could not be folded. Nothing here is lost, and nothing here counts."""


@parked.command(name="list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@json_option
@on_broker
async def list_(broker: AbstractChannel, limit: int, as_json: bool) -> None:  # noqa: FBT001  it is the flag
    """List what is parked, oldest first."""
    rows: list[ParkedMessage] = []
    async for message in browse(broker):
        rows.append(describe(message))
        if len(rows) == limit:
            break
    print_rows(rows, ParkedMessage, as_json=as_json, empty="Nothing is parked.")


@parked.command()
@click.argument("id_", metavar="ID")
@json_option
@on_broker
async def show(broker: AbstractChannel, id_: str, as_json: bool) -> None:  # noqa: FBT001  it is the flag
    """Show one parked message with its body, which may hold a lead's id."""
    async for message in browse(broker):
        described = describe(message)
        if described.id == id_:
            text = message.body.decode(errors="replace")
            if as_json:
                print_object({**msgspec.structs.asdict(described), "body": text})
            else:
                print_fields(described, described.__struct_fields__)
                click.echo(f"\n{text}")
            return
    raise Failure(f"nothing with the id {id_} is parked: rotary-admin parked list")


@parked.command(name="replay")
@selection
@on_broker
async def replay_(broker: AbstractChannel, /, **chosen: object) -> None:
    """Publish parked messages again, as they were. What still cannot be folded comes back with its reason."""
    await _each(broker, "replay", "replayed", lambda some: replay(broker, some), **chosen)


@parked.command()
@selection
@on_broker
async def drop(broker: AbstractChannel, /, **chosen: object) -> None:
    """Remove parked messages for good."""

    async def forget(some: Sequence[AbstractIncomingMessage]) -> None:
        for message in some:
            await message.ack()

    await _each(broker, "drop for good", "dropped", forget, **chosen)


async def _each(
    broker: AbstractChannel,
    verb: str,
    done: str,
    act: Callable[[Sequence[AbstractIncomingMessage]], Coroutine[object, object, None]],
    **chosen: object,
) -> None:
    """Acts on what was chosen, a slice at a time."""
    ids, reason, everything = chosen["ids"], chosen["reason"], chosen["everything"]
    assert isinstance(ids, tuple)
    if sum((bool(ids), bool(reason), bool(everything))) != 1:
        raise click.UsageError("name ids, or give --reason WORD, or --all")
    if not ids:
        confirm(
            f"{verb.capitalize()} {'everything parked' if everything else f'all parked for {reason}'}?",
            bool(chosen["yes"]),
        )
    count, some = 0, list[AbstractIncomingMessage]()
    async for message in browse(broker):
        described = describe(message)
        if everything or described.id in ids or (reason and described.reason.split(":")[0] == reason):
            some.append(message)
        if len(some) == AT_ONCE:
            await act(some)
            count += len(some)
            some.clear()
    await act(some)
    count += len(some)
    if ids and not count:
        raise Failure(f"nothing with {'that id' if len(ids) == 1 else 'those ids'} is parked: rotary-admin parked list")
    click.echo(f"{done}: {count}")
