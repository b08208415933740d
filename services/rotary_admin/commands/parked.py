"""`rotary-admin parked`: messages that could not be folded, with the reason."""

from collections.abc import Callable, Coroutine, Sequence

import click
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rotary.rabbitmq.parked import ParkedMessage, browse, describe, replay
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.context import with_broker
from rotary_admin.output import print_fields, print_object, print_rows
from rotary_admin.params import Decorator, options

BATCH_MESSAGES = 500


selection: Decorator = options(
    click.argument("ids", nargs=-1, metavar="[ID...]"),
    click.option("--reason", metavar="WORD", help="All whose reason begins with this word, such as unknown_type."),
    click.option("--all", "everything", is_flag=True, help="All parked messages."),
    yes_option,
)


@click.group()
def parked() -> None:
    """Manage parked messages: events that could not be folded. They are kept and do not count."""


@parked.command(name="list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@json_option
@with_broker
async def list_(broker: AbstractChannel, limit: int, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """List parked messages, oldest first."""
    rows: list[ParkedMessage] = []
    async for message in browse(broker):
        rows.append(describe(message))
        if len(rows) == limit:
            break
    print_rows(rows, ParkedMessage, as_json=as_json, empty="no messages are parked")


@parked.command()
@click.argument("id_", metavar="ID")
@json_option
@with_broker
async def show(broker: AbstractChannel, id_: str, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Show one parked message with its body, which may contain a lead's id."""
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
    raise Failure(f"no parked message has the id {id_}: see rotary-admin parked list")


@parked.command(name="replay")
@selection
@with_broker
async def replay_(broker: AbstractChannel, /, **chosen: object) -> None:
    """Publish parked messages again, unchanged. A message that still cannot be folded is parked again."""
    await _each(broker, "replay", "replayed", lambda messages: replay(broker, messages), **chosen)


@parked.command()
@selection
@with_broker
async def drop(broker: AbstractChannel, /, **chosen: object) -> None:
    """Delete parked messages for good."""

    async def acknowledge(messages: Sequence[AbstractIncomingMessage]) -> None:
        for message in messages:
            await message.ack()

    await _each(broker, "delete", "dropped", acknowledge, **chosen)


async def _each(
    broker: AbstractChannel,
    verb: str,
    done: str,
    act: Callable[[Sequence[AbstractIncomingMessage]], Coroutine[object, object, None]],
    **chosen: object,
) -> None:
    """Applies `act` to the selected messages, in batches."""
    ids, reason, everything = chosen["ids"], chosen["reason"], chosen["everything"]
    assert isinstance(ids, tuple)
    if sum((bool(ids), bool(reason), bool(everything))) != 1:
        raise click.UsageError("pass ids, --reason WORD or --all")
    if not ids:
        confirm(
            f"{verb.capitalize()} all parked messages{'' if everything else f' with the reason {reason}'}?",
            bool(chosen["yes"]),
        )
    count, batch = 0, list[AbstractIncomingMessage]()
    async for message in browse(broker):
        described = describe(message)
        if everything or described.id in ids or (reason and described.reason.split(":")[0] == reason):
            batch.append(message)
        if len(batch) == BATCH_MESSAGES:
            await act(batch)
            count += len(batch)
            batch.clear()
    await act(batch)
    count += len(batch)
    if ids and not count:
        raise Failure(f"no parked message has the id {' or '.join(ids)}: see rotary-admin parked list")
    click.echo(f"{done}: {count}")
