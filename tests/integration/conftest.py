"""A stack with walls, for the tests of what a dialer cannot do and of TLS: started when the first of them asks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

# Tells what it was given, then stays until its standard input ends, as it does with us, however we end.
_COMMAND = (
    sys.executable,
    "-c",
    "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()",
)


@pytest.fixture(scope="session")
def walled() -> Iterator[Mapping[str, str]]:
    """The variables of a stack of its own, whose RabbitMQ speaks TLS alone and answers its management API."""
    stack = (sys.executable, "-P", "-m", "rotary_stack", "exec", "--quiet", "--tls", "--management", "--", *_COMMAND)
    with subprocess.Popen(stack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, "the stack did not start"
        yield {name: value for name, value in json.loads(told).items() if name.startswith("ROTARY_")}
        process.communicate(timeout=60)
    assert process.returncode == os.EX_OK
