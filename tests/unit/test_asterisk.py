"""Values from a call, a lead or a carrier are never executed by the scripts or the dialplan."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DIALERS = Path(__file__).parents[2] / "infra" / "dialers"
SCRIPTS = DIALERS / "asterisk"
HOSTILE = [
    "$(touch {canary})",
    "`touch {canary}`",
    "; touch {canary}",
    "| touch {canary}",
    "&& touch {canary} #",
    "'; touch {canary}; '",
    '"; touch {canary}; "',
    "x\ntouch {canary}",
    "x\r\n!touch {canary}",
    "${{SHELL(touch {canary})}}",
    "x):System(touch {canary}",
    "-rx !touch {canary}",
    "../../../{canary}",
    '", "caller_id_id": 99, "x": "',
    "\x1b]0;owned\x07%n%s\\n",
    "Nguyễn; touch {canary}",
]


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    value: str = request.param
    return value.format(canary=tmp_path / "canary")


def agi(spool: Path, unique: str, *arguments: str) -> str:
    """Runs the AGI script as Asterisk does; returns what it says to Asterisk."""
    channel = f"agi_request: rotary-event\nagi_uniqueid: {unique}\n\n"
    done = subprocess.run(
        [SCRIPTS / "rotary-event", *arguments],
        input=channel,
        env=os.environ | {"ROTARY_SPOOL": str(spool)},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "position", ["unique id", "type", "caller ID", "group", "lead", "kind", "SIP result", "SIP text behind the code"]
)
def test_no_value_of_a_call_is_evaluated(tmp_path: Path, hostile: str, position: str) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    values: dict[str, tuple[str, ...]] = {
        "unique id": ("call-placed", "18"),
        "type": (hostile, "18"),
        "caller ID": ("call-placed", hostile),
        "group": ("call-placed", "18", hostile),
        "lead": ("call-placed", "18", "3", hostile),
        "kind": ("carrier-flag", "18", hostile),
        "SIP result": ("sip-result", "18", hostile),
        "SIP text behind the code": ("sip-result", "18", f"SIP 608 {hostile}"),
    }
    said = agi(spool, hostile if position == "unique id" else "1780747140.17", *values[position])
    # One command to Asterisk at most, of plain characters: a quote or a line break would begin another.
    assert re.fullmatch(r'(VERBOSE "rotary-event: [A-Za-z0-9 ._:+@/-]*" 1\n)?', said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spool"]
    for file in spool.iterdir():
        (line,) = file.read_text().splitlines()
        event = json.loads(line)
        assert event.keys() <= {"type", "id", "caller_id_id", "group_id", "lead_id", "kind", "code"}
        assert (event["caller_id_id"], event["type"]) in {(18, "call-placed"), (18, "carrier-flag")}
        assert all(re.fullmatch(r"[A-Za-z0-9 ._:+@/-]*", str(value)) for value in event.values())


def numbers(tmp_path: Path, *rows: dict[str, object]) -> tuple[int, list[str]]:
    """Runs rotary-numbers with an Asterisk that writes down each argument; returns the status and the arguments."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    asterisk = folder / "asterisk"
    asterisk.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >>"{calls}"\n')
    asterisk.chmod(0o755)
    done = subprocess.run(
        [SCRIPTS / "rotary-numbers"],
        input=json.dumps({"data": {"caller_ids": rows}}),
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    written = calls.read_text().split("\0")[:-1] if calls.exists() else []
    return done.returncode, written


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="rotary-numbers needs jq")


@needs_jq
def test_numbers_are_mapped_to_ids(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": 18, "number": "+84901234567"}, {"id": 23, "number": "02873001234"}]
    assert numbers(tmp_path, *rows) == (
        0,
        ["-rx", "database put rotary +84901234567 18", "-rx", "database put rotary 02873001234 23"],
    )


@needs_jq
@pytest.mark.parametrize("number", ["+84901234567\n", "0901\ncore stop now", "", "09 01", "+", "٠١٢٣٤"])
def test_a_number_with_other_characters_reaches_no_command(tmp_path: Path, number: str) -> None:
    assert numbers(tmp_path, {"id": 18, "number": number}, {"id": 19, "number": "0902"}) == (
        1,
        ["-rx", "database put rotary 0902 19"],
    )


@needs_jq
def test_no_hostile_number_reaches_a_command(tmp_path: Path, hostile: str) -> None:
    assert numbers(tmp_path, {"id": 18, "number": hostile}) == (1, [])
    assert not (tmp_path / "canary").exists()


# The dialplan cannot run here. These tests check the text for its two rules.

DIALPLAN = "".join((SCRIPTS / name).read_text() for name in ("extensions_rotary.conf", "extensions_rotary_pick.conf"))
PAGE = (DIALERS / "README.md").read_text()
LINES = [line.strip() for line in [*DIALPLAN.splitlines(), *PAGE.splitlines()] if re.match(r"\s*(exten|same) =>", line)]
OWN = (
    r"\$\{(ROTARY_(CALLER|GROUP|PICK|NUMBER)|ARG\d|JSON_DECODE\(|LEAD_ID|EXTEN(:\d+)?|CALLERID\((num|name)\)"
    r"|HANGUPCAUSE_KEYS\(\)|HANGUPCAUSE\(|DB\()"
)
"""What comes from outside: the call, the lead, the carrier, the engine, Asterisk's database."""


@pytest.mark.parametrize("line", LINES)
def test_the_dialplan_evaluates_no_value(line: str) -> None:
    assert not re.search(r"\b(ExecIf|Exec|TryExec|System|TrySystem|SHELL|EVAL|MacroIf|GosubIf)\(", line)
    for value in re.finditer(OWN, line):
        assert re.search(r"FILTER\([^,]+,$", line[: value.start()]), f"{value[0]} is not filtered"


@pytest.mark.parametrize("allowed", re.findall(r"FILTER\(([^,]+),", DIALPLAN + PAGE))
def test_the_filters_admit_no_character_that_an_application_reads(allowed: str) -> None:
    plain = re.sub(r"\\x2[dc]|0-9|A-Z|a-z", "", allowed)
    assert set(plain) <= set("+*# ._:@/"), "a hyphen elsewhere would be taken for a range"
