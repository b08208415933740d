"""`rotary-stack demo`: the stack, two customers with a history, their dialers, and group 3's monitor as it changes.

`command.py` composes it. What stands in the tables comes from `customers.yaml` through the admin's import, every call
and flag crosses the broker, and every figure about a caller ID was read from the HTTP API.
"""

from rotary_stack.demo.command import demo

__all__ = ["demo"]
