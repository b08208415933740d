"""The lines above the dashboard: where the API is, and commands to try."""

import sys
from pathlib import Path

from rich.text import Text

from rotary_demo.api_client import LIST_PATH
from rotary_demo.seed import CONSOLE_USER, Customer
from rotary_stack.control.client import SOCKET_VARIABLE
from rotary_stack.stack import Stack


def intro(stack: Stack, customer: Customer, group_id: int, *, brief: bool) -> list[Text]:
    """One complete command per line, so that it can be pasted. `brief` leaves out all but one of them."""
    api_url, engine_url = (stack.variables()[name] for name in ("ROTARY_API_URL", "ROTARY_ENGINE_URL"))
    header = f'curl -H "Authorization: Bearer {customer.token}"'
    paths = (LIST_PATH, f"{LIST_PATH}/{group_id}", f"{LIST_PATH}/{group_id}/monitor")
    commands = [Text(f"{header} {api_url}{path}", "cyan") for path in paths]
    pick = Text(f"{header} -X POST {engine_url}{LIST_PATH}/{group_id}/picks", "cyan")
    heading = Text.assemble(
        ("Read the API", "bold"), f" from another terminal, as {customer.name}; reference: {api_url}/docs"
    )
    console = Text.assemble(
        ("Open the console", "bold"),
        f" at {stack.variables()['ROTARY_CONSOLE_URL']} as {CONSOLE_USER}, password {customer.password}",
    )
    if brief:
        return [console, commands[-1], Text()]
    empty_redis = f"{SOCKET_VARIABLE}={stack.socket} {_program()} restart redis --empty"
    return [
        Text(),
        console,
        Text(),
        heading,
        *commands,
        Text(),
        Text.assemble(("Pick a number", "bold"), f" for a call; reference: {engine_url}/docs"),
        pick,
        Text(),
        Text.assemble(
            ("Delete everything in Redis", "bold"),
            " from another terminal; the consumer restores it from RabbitMQ's logs",
        ),
        Text(empty_redis, "cyan"),
        Text(),
    ]


def _program() -> str:
    """`rotary-stack` as it can be typed here: it may not be on PATH."""
    program = Path(sys.executable).with_name("rotary-stack")
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
