"""The local stack: private PostgreSQL, Redis and RabbitMQ, and Rotary's services, for development and tests.

    async with Stack.open(Options(services=True)) as stack:
        await stack.kill("redis")
        await stack.start("redis")

It needs Linux. `stack.py` composes it, `process.py` runs one process, `servers/` has a file for each server, and the
table in `services.py` lists Rotary's services.
"""
