"""`rotary-admin import` of files as people and spreadsheets make them."""

import csv
import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.admin_runner import DEFINITIONS, Admin, dump
from integration.private_database import EMPTY, execute
from rotary.management.definitions_file.read_csv import formula_free, plain


def written(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


# Mistakes.

CARRIERS = "expected one of viettel, mobifone, vinaphone, vietnamobile, landline, other"
STRATEGIES = "expected one of round_robin, least_used, cap_based, weighted, sticky_lead, random"
DECIMAL = (
    "is a decimal number, as spreadsheets write long numbers, so digits or a leading 0 may be missing: "
    "format the column as text and enter the number again"
)
FIELDS = (
    "expected one of number, display_name, carrier, status, trunk_name, daily_cap, "
    "hourly_cap, min_gap_seconds, activated_at, id"
)

YAML = """\
customers:
  - id: 7
    timezone: Mars/Base
    caller_ids:
      - {number: "0901", carrier: verizon, daily_cap: 0}
      - {number: 8.49012E+11, carrier: viettel}
      - {carrier: viettel, wieght: 2}
      - "0904"
    groups:
      - name: A
        rotation_strategy: fastest
        members: ["0999", {number: "0901", weight: 0}, {number: nan}]
"""


def test_all_mistakes_of_a_yaml_file_are_told_with_line_and_allowed_values(seeded: Admin, tmp_path: Path) -> None:
    before = dump(seeded)
    file = written(tmp_path, "x.yaml", YAML)
    head, *told = seeded.refused("import", file).splitlines()
    assert head == f"rotary-admin: {file}: 9 mistakes, nothing was changed:"
    assert [line.removeprefix(f"{file}:") for line in told] == [
        f"5: customers[0].caller_ids[0].carrier: Invalid enum value 'verizon'; {CARRIERS}",
        "5: customers[0].caller_ids[0].daily_cap: Expected `int` >= 1",
        f"6: customers[0].caller_ids[1].number: '8.49012E+11' {DECIMAL}",
        f"7: customers[0].caller_ids[2]: Object contains unknown field `wieght`; {FIELDS}",
        "7: customers[0].caller_ids[2]: Object missing required field `number`",
        "8: customers[0].caller_ids[3]: Expected `object`, got `str`",
        f"11: customers[0].groups[0].rotation_strategy: Invalid enum value 'fastest'; {STRATEGIES}",
        "12: customers[0].groups[0].members[1].weight: Expected `int` >= 1",
        f"12: customers[0].groups[0].members[2].number: 'nan' {DECIMAL}",
    ]
    assert dump(seeded) == before


def test_all_that_the_database_contradicts_is_told_too(seeded: Admin, tmp_path: Path) -> None:
    text = """\
customers:
  - id: 99
  - id: 7
    timezone: UTC
    caller_ids:
      - {number: "0901"}
      - {id: 31, number: "0902", carrier: viettel}
      - {id: 44, number: "+84901234567"}
    groups:
      - {name: A}
      - {name: HCM outbound, members: ["0999", "+84912345678", "0998"]}
"""
    before = dump(seeded)
    file = written(tmp_path, "x.yaml", text)
    told = [line.removeprefix(f"{file}:") for line in seeded.refused("import", file).splitlines()[1:]]
    assert told == [
        "2: customers[0]: customer 99 does not exist: to create one, specify its name",
        "7: customers[1].caller_ids[1]: that caller ID id is taken, perhaps by another customer",
        "8: customers[1].caller_ids[2]: caller ID +84901234567 has the id 18 in the database, but 44 in the file",
        "10: customers[1].groups[0]: group A does not exist: to create it, specify its rotation_strategy",
        "11: customers[1].groups[1].members[0]: group HCM outbound: its customer has no caller ID 0999",
        "11: customers[1].groups[1].members[2]: group HCM outbound: its customer has no caller ID 0998",
    ]
    assert dump(seeded) == before


def test_all_mistakes_of_a_csv_file_are_told(seeded: Admin, tmp_path: Path) -> None:
    text = """\
customer,number,carrier,daily_cap,group,rotation_strategy,weight
7,8.49012E+11,viettel,,,,
7,901234567.0,viettel,,,,
7,NaN,viettel,1.5,,,
7,0901,verizon,,A,random,0
7,0902,,,,,
7,0903,viettel,,B,,2
7,0903,viettel,,B,,3
"""
    file = written(tmp_path, "x.csv", text)
    told = [line.removeprefix(f"{file}:") for line in seeded.refused("import", file).splitlines()[1:]]
    assert told == [
        f"2: number: '8.49012E+11' {DECIMAL}",
        f"3: number: '901234567.0' {DECIMAL}",
        f"4: number: 'NaN' {DECIMAL}",
        "4: daily_cap: Expected `int`, got `str`",
        f"5: carrier: Invalid enum value 'verizon'; {CARRIERS}",
        "5: weight: Expected `int` >= 1",
        "8: weight: differs from another line about 0903",
    ]
    file = written(tmp_path, "x.csv", "customer,number,group\n7,0902,C\n7,+84901234567,B\n")
    told = [line.removeprefix(f"{file}:") for line in seeded.refused("import", file).splitlines()[1:]]
    assert told == [
        "2: group C does not exist: to create it, specify its rotation_strategy",
        "3: group B does not exist: to create it, specify its rotation_strategy",
    ]


def test_mistakes_beyond_a_hundred_are_counted(seeded: Admin, tmp_path: Path) -> None:
    rows = "".join(f"7,{number},nobody\n" for number in range(1_000, 3_000))
    file = written(tmp_path, "x.csv", f"customer,number,carrier\n{rows}")
    head, *told = seeded.refused("import", file).splitlines()
    assert head.endswith("x.csv: 2,000 mistakes, nothing was changed; the first 100:")
    assert len(told) == 100


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("customers:\n- name: x\n  name: y", "x.yaml:3: name is given twice"),
        ("customers: []\n---\ncustomers: []", "x.yaml:2: the file has a second document"),
        ("customers: !!python/object:os.system x", "x.yaml:1: unknown tag"),
        ("customers: *nowhere", "x.yaml:1: unknown alias"),
        ("customers: &a [*a]", "x.yaml:1: unknown alias"),
        ("customers: " + "[" * 500 + "]" * 500, "x.yaml:1: nested too deeply"),
        ("customers:\n- {<<: 1}", "x.yaml:2: << merges mappings only"),
    ],
)
def test_yaml_that_is_not_meant_for_this_is_refused(seeded: Admin, tmp_path: Path, text: str, told: str) -> None:
    error = seeded.refused("import", written(tmp_path, "x.yaml", text))
    assert told in error
    assert error.count("\n") == 1


def test_anchors_and_merges_mean_what_they_mean_in_yaml(seeded: Admin, tmp_path: Path) -> None:
    text = """\
customers:
  - id: 7
    caller_ids:
      - &first {number: "0901", carrier: viettel, daily_cap: 5}
      - {<<: *first, number: "0902", daily_cap: 6}
"""
    seeded.done("import", written(tmp_path, "x.yaml", text))
    query = "SELECT number, carrier, daily_cap FROM caller_ids WHERE number LIKE '090_' ORDER BY id"
    assert seeded.rows(query) == [("0901", "viettel", 5), ("0902", "viettel", 6)]


def test_a_number_can_pass_from_one_caller_id_to_a_new_one(seeded: Admin, tmp_path: Path) -> None:
    text = """\
customers:
  - id: 7
    caller_ids:
      - {number: "+84901234567", carrier: other}
      - {id: 18, number: "0909"}
"""
    seeded.done("import", written(tmp_path, "x.yaml", text))
    assert seeded.rows("SELECT number FROM caller_ids WHERE id = 18") == [("0909",)]
    assert seeded.rows("SELECT carrier FROM caller_ids WHERE number = '+84901234567'") == [("other",)]


def test_new_rows_get_their_ids_in_the_order_of_the_file(seeded: Admin, tmp_path: Path) -> None:
    rows = [
        f"      - {{number: '{number}', carrier: other{', daily_cap: 5' * (number % 2)}}}" for number in range(700, 720)
    ]
    seeded.done("import", written(tmp_path, "x.yaml", "customers:\n  - id: 7\n    caller_ids:\n" + "\n".join(rows)))
    query = "SELECT number FROM caller_ids WHERE number LIKE '7__' ORDER BY id"
    assert seeded.rows(query) == [(str(number),) for number in range(700, 720)]


# Large files.


def large(folder: Path, name: str, count: int) -> str:
    if name.endswith(".csv"):
        rows = [f"7,+8490{number:07d},viettel,Group {number // 100},random" for number in range(count)]
        return written(folder, name, "customer,number,carrier,group,rotation_strategy\n" + "\n".join(rows) + "\n")
    callers = [f"      - {{number: +8490{number:07d}, carrier: viettel}}" for number in range(count)]
    groups = [
        f"      - {{name: Group {group}, rotation_strategy: random, members: ["
        + ", ".join(f"+8490{number:07d}" for number in range(group * 100, group * 100 + 100))
        + "]}"
        for group in range(count // 100)
    ]
    return written(
        folder, name, "\n".join(["customers:", "  - id: 7", "    caller_ids:", *callers, "    groups:", *groups])
    )


@pytest.mark.parametrize("name", ["x.csv", "x.yaml"])
def test_many_rows_are_summed_up_and_written_by_the_thousand(seeded: Admin, tmp_path: Path, name: str) -> None:
    told = seeded.done("import", large(tmp_path, name, 3_000)).splitlines()
    assert told[-1] == "created 3000 caller IDs, created 30 groups, added 3000 members"
    assert told[-2] == "… and 5,980 more"
    assert len(told) == 52
    # One statement writes many rows, and the feed has a row a statement and group.
    (count,) = seeded.rows("SELECT count(*) FROM caller_id_group_members WHERE group_id > 9")[0]
    assert count == 3_000
    (changes,) = seeded.rows("SELECT count(*) FROM definition_changes WHERE entity = 'group'")[0]
    assert isinstance(changes, int)
    assert changes < 250
    assert seeded.done("import", large(tmp_path, name, 3_000)) == "nothing to change\n"


@pytest.fixture
def counted_when_empty(admin: Admin) -> Iterator[Admin]:
    """PostgreSQL has counted the rows of tables that were emptied just before, and does not count again by itself."""
    tables = ("caller_ids", "caller_id_groups", "caller_id_group_members")
    execute(admin.url, *(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in tables))
    admin.done("import", DEFINITIONS)
    execute(admin.url, EMPTY, f"ANALYZE {', '.join(tables)}", "INSERT INTO customers (id, name) VALUES (7, 'Saigon')")
    yield admin
    execute(admin.url, *(f"ALTER TABLE {table} RESET (autovacuum_enabled)" for table in tables))


def counts(admin: Admin) -> list[tuple[object, ...]]:
    named = "('caller_ids', 'caller_id_groups', 'caller_id_group_members')"
    return admin.rows(f"SELECT relname, reltuples FROM pg_class WHERE relname IN {named} ORDER BY relname")


def test_postgresql_knows_how_many_rows_an_import_wrote(counted_when_empty: Admin, tmp_path: Path) -> None:
    # Planning for none, it would compare every member with every caller ID in the next import.
    admin, file = counted_when_empty, large(tmp_path, "x.csv", 2_000)
    before = counts(admin)
    assert {rows for _, rows in before} == {0}
    admin.done("import", "--dry-run", file)
    assert counts(admin) == before
    admin.done("import", file)
    assert counts(admin) == [("caller_id_group_members", 2_000), ("caller_id_groups", 20), ("caller_ids", 2_000)]


def process(database_url: str, *arguments: str, stderr: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rotary_admin", *arguments]
    environ = os.environ | {"ROTARY_POSTGRES_URL": database_url, "TERM": "xterm"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=stderr)


def test_progress_is_shown_on_a_terminal_and_nowhere_else(seeded: Admin, tmp_path: Path) -> None:
    file = large(tmp_path, "x.yaml", 4_000)
    with process(seeded.url, "import", "--dry-run", file, stderr=subprocess.PIPE) as running:
        _, told = running.communicate(timeout=60)
    assert (running.returncode, told) == (0, b"")
    ours, theirs = pty.openpty()
    with process(seeded.url, "import", file, stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal ends
            while some := os.read(ours, 65_536):
                shown += some
    os.close(ours)
    assert running.returncode == 0
    assert b"writing" in shown
    assert b"100%" in shown


# Formulas.

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "'quoted", "'=1", "''", "=cmd|'/C calc'!A0", "O'Brien", "plain", "'"]


def test_no_cell_of_an_exported_csv_is_a_formula(seeded: Admin, tmp_path: Path) -> None:
    for number, text in enumerate(HOSTILE):
        seeded.done("caller-id", "update", 18 + number % 6, f"--display-name={text}", f"--trunk={text}")
        seeded.done("group", "update", 3, f"--name={text}")
        exported = seeded.done("export", "--format", "csv")
        header, *rows = csv.reader(io.StringIO(exported))
        for row in rows:
            for column, cell in zip(header, row, strict=True):
                assert column == "number" or not cell.startswith(tuple("=+-@\t\r\n")), (column, cell)
                assert column != "number" or cell.removeprefix("+").isdecimal()
        before = dump(seeded)
        file = written(tmp_path, "x.csv", exported)
        assert seeded.done("import", file) == "nothing to change\n"
        assert dump(seeded) == before


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from(["display_name", "trunk_name", "group"]),
    text=st.text(st.sampled_from("=+-@'\t\r\na0 "), max_size=6),
)
def test_what_export_puts_before_a_cell_import_takes_away(column: str, text: str) -> None:
    cell = str(formula_free(column, text))
    assert plain(column, cell) == text
    assert not cell.startswith(tuple("=+-@\t\r\n"))


def test_an_apostrophe_that_makes_a_number_text_is_no_part_of_it(seeded: Admin, tmp_path: Path) -> None:
    seeded.done("import", written(tmp_path, "x.csv", "customer,number,carrier\n7,'0901,viettel\n7,'+849,other\n"))
    query = "SELECT number FROM caller_ids WHERE number IN ('0901', '+849') ORDER BY id"
    assert seeded.rows(query) == [("0901",), ("+849",)]
