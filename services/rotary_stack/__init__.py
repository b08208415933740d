"""The local stack: real PostgreSQL, Redis and RabbitMQ on private ports, and Rotary's own programs. Linux only.

    async with Stack.open(Options(services=True)) as stack:
        await stack.kill("redis")
        await stack.start("redis")

Start with `stack.py`; `unit.py` is the life of one process, and one file each says what a program needs.
"""
