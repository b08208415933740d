"""The console's modules, run by the Node that Playwright brings: what they compute, without a browser."""

import json
import subprocess
from pathlib import Path
from typing import Any

from playwright._impl._driver import compute_driver_executable

JS = Path(__file__).parents[1] / "services/rotary_console/static/js"

# What modules find in every browser, as far as computing needs it.
_BROWSER = """
globalThis.location = { hash: "" };
globalThis.localStorage = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
globalThis.document = { documentElement: { dataset: {} }, hidden: false, addEventListener: () => {} };
globalThis.matchMedia = () => ({ matches: false, addEventListener: () => {} });
globalThis.addEventListener = () => {};
"""


def evaluated(expression: str, given: object = None, imports: str = "") -> Any:
    """The value of a JavaScript expression as JSON; `given` is what it may use under this name. Any: JSON.

    `imports` are names from modules of the console, as `{ crc32 } from live/crc32.js`, one a line.
    """
    node = Path(compute_driver_executable()[0])
    lines = [line.rpartition(" from ") for line in imports.splitlines() if line.strip()]
    loads = "\n".join(f"const {names.strip()} = await import({str(JS / path.strip())!r});" for names, _, path in lines)
    script = f"{_BROWSER}\nconst given = {json.dumps(given)};\n{loads}\n"
    script += f"process.stdout.write(JSON.stringify({expression} ?? null), () => process.exit());"
    command = [str(node), "--no-warnings", "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
