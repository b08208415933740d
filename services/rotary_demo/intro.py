"""What stands above the picture: where the API is and how to ask it."""

import sys
from pathlib import Path

from rich.text import Text

from rotary_demo.api_client import LIST_PATH
from rotary_demo.seed import Customer
from rotary_stack.stack import Stack


def intro(stack: Stack, customer: Customer, group_id: int, *, brief: bool) -> list[Text]:
    """One command a line, each whole in itself, so that it can be pasted; `brief` leaves out the experiment."""
    api_url = stack.variables()["ROTARY_API_URL"]
    header = f'curl -H "Authorization: Bearer {customer.token}"'
    paths = (LIST_PATH, f"{LIST_PATH}/{group_id}", f"{LIST_PATH}/{group_id}/monitor")
    lines = [
        Text(),
        Text.assemble(("API    ", "dim"), (api_url, "bold"), ("  described at ", "dim"), f"{api_url}/docs"),
        Text.assemble(("Token  ", "dim"), (customer.token, "bold"), (f"  {customer.name}", "dim")),
        *(Text(f"{header} {api_url}{path}", "cyan") for path in paths),
    ]
    if not brief:
        command = f"ROTARY_STACK_SOCKET={stack.socket} {_program()} restart redis --empty"
        lines += [Text("Empty Redis, and watch every number come back:", "dim"), Text(command, "cyan")]
    return [*lines, Text()]


def _program() -> str:
    """`rotary-stack` as it can be typed here: it may not be on PATH."""
    program = Path(sys.executable).with_name("rotary-stack")
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
