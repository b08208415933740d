"""`rotary-admin import` and `export`, on a real database."""

from pathlib import Path

import pytest

from integration.admin_runner import DEFINITIONS, EXAMPLE, Admin, dump
from integration.private_database import EMPTY, execute

# Import and export.


def test_the_example_is_imported_once(admin: Admin) -> None:
    first = admin.done("import", DEFINITIONS)
    assert "create group HCM outbound\n" in first
    before = dump(admin)
    assert admin.done("import", DEFINITIONS) == "nothing to change\n"
    assert admin.json("import", DEFINITIONS) == {"dry_run": False, "changes": []}
    assert dump(admin) == before
    assert admin.rows("SELECT name, customer_id FROM caller_id_groups WHERE id = 3") == [("HCM outbound", 7)]


def test_a_dry_run_says_the_same_and_changes_nothing(admin: Admin) -> None:
    told = admin.done("import", DEFINITIONS, "--dry-run")
    assert admin.rows("SELECT count(*) FROM customers") == [(0,)]
    done = admin.done("import", DEFINITIONS)
    assert told == done.rstrip("\n") + " (dry run: nothing was changed)\n"


def test_ids_given_by_hand_do_not_stand_in_the_way_of_later_ones(seeded: Admin) -> None:
    assert seeded.done("group", "create", "--customer", 7, "--name", "next", "--strategy", "random").startswith(
        "created group 10:"
    )


@pytest.mark.parametrize("form", ["yaml", "json", "csv"])
def test_what_is_exported_is_what_would_be_imported(seeded: Admin, tmp_path: Path, form: str) -> None:
    seeded.done("import", str(EXAMPLE / "caller_ids.csv"))
    file = tmp_path / f"definitions.{form}"
    seeded.done("export", "--format", form, "--output", str(file))
    assert file.read_text() == seeded.done("export", "--format", form)
    assert seeded.done("import", str(file)) == "nothing to change\n"


def test_an_export_restores_an_empty_database_ids_included(seeded: Admin, tmp_path: Path) -> None:
    exported = seeded.done("export")
    before = dump(seeded)
    file = tmp_path / "definitions.yaml"
    file.write_text(exported)
    execute(seeded.url, EMPTY)
    seeded.done("import", str(file))
    assert dump(seeded) == before


def written(tmp_path: Path, text: str, name: str = "x.yaml") -> str:
    file = tmp_path / name
    file.write_text(text)
    return str(file)


def test_only_what_a_file_names_changes(seeded: Admin, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        customers:
          - name: Saigon Telesales
            policy: {volume_calls: 80}
            caller_ids: [{number: +84901234567, daily_cap: 50}]
            groups: [{name: HCM outbound, status: disabled}]
        """,
    )
    assert seeded.json("import", file) == {
        "dry_run": False,
        "changes": [
            {"action": "update", "what": "customer", "name": "Saigon Telesales", "fields": ["policy"]},
            {"action": "update", "what": "caller ID", "name": "+84901234567", "fields": ["daily_cap"]},
            {"action": "update", "what": "group", "name": "HCM outbound", "fields": ["status"]},
        ],
    }
    assert seeded.rows("SELECT display_name, daily_cap FROM caller_ids WHERE id = 18") == [("Saigon Telesales", 50)]
    assert seeded.rows("SELECT count(*) FROM caller_id_group_members WHERE group_id = 3") == [(5,)]


def test_a_row_known_by_its_id_can_be_renamed(seeded: Admin, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        customers:
          - id: 7
            name: Saigon
            caller_ids: [{id: 18, number: "0909"}]
            groups: [{id: 3, name: first contact, members: ["0909"]}]
        """,
    )
    seeded.done("import", file, "--yes")
    assert seeded.rows("SELECT name FROM customers WHERE id = 7") == [("Saigon",)]
    assert seeded.rows("SELECT number FROM caller_ids WHERE id = 18") == [("0909",)]
    assert seeded.rows("SELECT caller_id_id FROM caller_id_group_members WHERE group_id = 3") == [(18,)]
    assert seeded.done("import", file) == "nothing to change\n"


def test_removing_members_is_asked_about(seeded: Admin, tmp_path: Path) -> None:
    file = written(tmp_path, 'customers: [{id: 7, groups: [{name: HCM outbound, members: ["+84901234567"]}]}]')
    before = dump(seeded)
    declined = seeded("import", file, answer="n\n")
    assert (declined.exit_code, dump(seeded)) == (1, before)
    assert "remove member +84912345678 of HCM outbound" in declined.stderr
    assert "Remove 4 members?" in declined.stderr
    assert "removed 4 members" in seeded.done("import", file, answer="y\n")
    assert seeded.rows("SELECT caller_id_id FROM caller_id_group_members WHERE group_id = 3") == [(18,)]


def test_csv_adds_caller_ids_and_members_and_removes_none(seeded: Admin) -> None:
    told = seeded.done("import", str(EXAMPLE / "caller_ids.csv"))
    assert told.endswith("created 3 caller IDs, created 1 group, added 3 members\n")
    query = "SELECT count(*) FROM caller_id_group_members WHERE group_id = 3"
    assert seeded.rows(query) == [(7,)]
    assert seeded.done("import", str(EXAMPLE / "caller_ids.csv")) == "nothing to change\n"


HEAD = "customer,number,carrier,group,weight\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "x.yaml",
            "customers:\n- name: x\n  timezon: UTC",
            "x.yaml:2: customers[0]: Object contains unknown field `timezon`",
        ),
        (
            "x.yaml",
            "customers:\n- name: x\n  groups:\n  - name: a\n    rotation_strategy: random\n    status: paused",
            "x.yaml:6: customers[0].groups[0].status: Invalid enum value 'paused'",
        ),
        (
            "x.yaml",
            "customers: [{name: x, caller_ids: [{number: 090, daily_cap: 0}]}]",
            "daily_cap: Expected `int` >= 1",
        ),
        (
            "x.yaml",
            "customers:\n- name: x\n  policy: {volume_calls: 0}",
            "x.yaml:3: customers[0].policy.volume_calls: ",
        ),
        ("x.yaml", "customers:\n  - {name: [x}", "x.yaml:2: "),
        ("x.yaml", "- x", "x.yaml:1: Expected `object`, got `array`"),
        ("x.yaml", "customers: [{}]", "a customer needs an id or a name: to create one, specify its name"),
        ("x.yaml", "customers: [{id: 99}]", "customer 99 does not exist: to create one, specify its name"),
        ("x.yaml", "customers: [{name: x, timezone: Mars/Base}]", '"Mars/Base" is not an IANA time zone'),
        (
            "x.yaml",
            "customers: [{name: x, groups: [{name: y}]}]",
            "group y does not exist: to create it, specify its rotation_strategy",
        ),
        (
            "x.yaml",
            "customers: [{name: x, groups: [{name: a}]}]",
            "group a does not exist: to create it, specify its rotation_strategy",
        ),
        (
            "x.yaml",
            "customers: [{name: x, groups: [{name: a, rotation_strategy: random, members: [0901]}]}]",
            "group a: its customer has no caller ID 0901",
        ),
        (
            "x.yaml",
            "customers:\n- name: x\n  caller_ids:\n  - {number: 113, carrier: other}\n  - {number: 113}",
            "x.yaml:5: customers[0].caller_ids[1]: 113 is in the file twice",
        ),
        (
            "x.yaml",
            "customers: [{id: 7, groups: [{id: 8, name: HCM outbound}]}]",
            "has the id 3 in the database, but 8 in the file",
        ),
        (
            "x.yaml",
            "customers: [{id: 7, groups: [{id: 9, name: mine, rotation_strategy: random}]}]",
            "that group id is taken, perhaps by another customer",
        ),
        (
            "x.csv",
            HEAD + "7,111,viettel,,\n7,112,verizon,,\n",
            "x.csv:3: carrier: Invalid enum value 'verizon'; expected",
        ),
        ("x.csv", HEAD + "7,111,viettel,a,x\n", "x.csv:2: weight: Expected `int`, got `str`"),
        ("x.csv", HEAD + "7,111,viettel,,\n7,111,other,,\n", "x.csv:3: carrier: differs from another line about 111"),
        ("x.csv", HEAD + ",111,viettel,,\n", "x.csv:2: Object missing required field `customer`"),
        ("x.csv", HEAD + "7,111,viettel,,,,\n", "x.csv:2: has more cells than the header"),
        (
            "x.csv",
            "customer,number,nummer\n7,111,1\n",
            "x.csv:1: unknown column `nummer`; expected one of",
        ),
        ("x.csv", HEAD + '7,"1,viettel\n', "x.csv:"),
    ],
)
def test_a_file_with_a_mistake_changes_nothing_and_says_where(
    seeded: Admin, tmp_path: Path, name: str, text: str, told: str
) -> None:
    before = dump(seeded)
    error = seeded.refused("import", written(tmp_path, text, name))
    assert told in error
    assert error.count("\n") == 1
    assert dump(seeded) == before


def test_numbers_in_yaml_keep_their_signs_and_zeros(admin: Admin, tmp_path: Path) -> None:
    numbers = ["+84901234567", "0901234567", "0123", "113", "0777", "00084901234567"]
    entries = "".join(f"\n  - {{number: {number}, carrier: other}}" for number in numbers)
    admin.done("import", written(tmp_path, f"customers:\n- name: x\n  caller_ids:{entries}"))
    assert [number for (number,) in admin.rows("SELECT number FROM caller_ids ORDER BY id")] == numbers


def test_customers_of_one_name_need_an_id(admin: Admin, tmp_path: Path) -> None:
    admin.done("customer", "create", "--name", "x")
    admin.done("customer", "create", "--name", "x")
    file = written(tmp_path, "customers: [{name: x, timezone: UTC}]")
    assert "2 customers are called x: specify the id" in admin.refused("import", file)
    admin.done("import", written(tmp_path, "customers: [{id: 2, timezone: UTC}]"))
    assert admin.rows("SELECT timezone FROM customers ORDER BY id") == [("Asia/Ho_Chi_Minh",), ("UTC",)]
