"""`rotary-stack demo`: the stack, two customers with a history, their dialers, and group 3's monitor as it changes.

`cli.py` composes it. The tables come from `customers.yaml` through the admin's import, every call and flag crosses the
broker, and every figure about a caller ID is read from the HTTP API.
"""
