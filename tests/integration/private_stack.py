"""A stack of the tests' own, whose servers are theirs to kill and to configure."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# Tells what it was given, then stays until its standard input ends, as it does with us, however we end.
_COMMAND = (
    sys.executable,
    "-c",
    "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()",
)


@contextmanager
def private_stack(*options: str) -> Iterator[Mapping[str, str]]:
    """Runs `rotary-stack exec` with these options; yields the variables that it gives a command."""
    stack = (sys.executable, "-P", "-m", "rotary_stack", "exec", "--quiet", *options, "--", *_COMMAND)
    with subprocess.Popen(stack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, "the stack did not start"
        yield json.loads(told)
        process.communicate(timeout=60)
    assert process.returncode == os.EX_OK
