"""`rotary-admin` on a real database: what it changes, what it prints, and what it says when it will not."""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import cast

import click
import pytest
from click.testing import CliRunner

from integration.admin_runner import Admin, dump
from integration.private_database import private_database
from rotary_admin.cli import cli

# Customers, groups, caller IDs, members.


def test_a_customer_is_created_and_listed(admin: Admin) -> None:
    assert admin.done("customer", "create", "--name", "Sài Gòn", "--id", 7) == "created customer 7: Sài Gòn\n"
    admin.done("customer", "create", "--name", "K", "--timezone", "Asia/Kathmandu", "--policy", '{"volume_calls": 5}')
    assert admin.json("customer", "list") == [
        {
            "id": 7,
            "name": "Sài Gòn",
            "timezone": "Asia/Ho_Chi_Minh",
            "policy": None,
            "groups": 0,
            "caller_ids": 0,
            "version": 1,
        },
        {
            "id": 8,
            "name": "K",
            "timezone": "Asia/Kathmandu",
            "policy": {"volume_calls": 5},
            "groups": 0,
            "caller_ids": 0,
            "version": 1,
        },
    ]
    header, first, _ = admin.done("customer", "list").splitlines()
    assert header.split() == ["ID", "NAME", "TIMEZONE", "POLICY", "GROUPS", "CALLER", "IDS", "VERSION"]
    assert header.index("TIMEZONE") == first.index("Asia/")


def test_a_group_from_its_creation_to_its_end(seeded: Admin) -> None:
    created = seeded.json(
        "group", "create", "--customer", 7, "--name", "Weekend", "--strategy", "least_used", "--sticky"
    )
    assert isinstance(created, dict)
    group = created["id"]
    assert (created["sticky_enabled"], created["status"], created["members"]) == (True, "active", [])
    assert seeded.done("group", "update", group, "--not-sticky", "--status", "disabled", "--description", "d")
    shown = seeded.json("group", "show", group)
    assert isinstance(shown, dict)
    assert [shown[name] for name in ("name", "sticky_enabled", "status", "description")] == [
        "Weekend",
        False,
        "disabled",
        "d",
    ]
    seeded.done("group", "update", group, "--description", "")
    assert seeded.rows(f"SELECT description FROM caller_id_groups WHERE id = {group}") == [(None,)]
    assert "Weekend" in seeded.done("group", "list", "--customer", 7)
    assert seeded.done("group", "delete", group, "--yes") == f"deleted group {group}: Weekend\n"
    assert "Weekend" not in seeded.done("group", "list", "--customer", 7)


def test_a_caller_id_from_its_creation_to_its_end(seeded: Admin) -> None:
    created = seeded.json("caller-id", "create", "--customer", 7, "--number", "0901", "--carrier", "viettel")
    assert isinstance(created, dict)
    expected = {"customer_id": 7, "number": "0901", "display_name": None, "carrier": "viettel", "status": "active"}
    engine = {"hourly_cap": None, "min_gap_seconds": None, "activated_at": None}
    assert created == {
        "id": created["id"],
        **expected,
        "trunk_name": None,
        "daily_cap": 200,
        "groups": [],
        **engine,
        "version": 1,
    }
    seeded.done(
        "caller-id",
        "update",
        created["id"],
        "--daily-cap",
        9,
        "--trunk",
        "t1",
        "--status",
        "disabled",
        "--hourly-cap",
        5,
    )
    seeded.done("member", "add", 5, created["id"])
    listed = seeded.json("caller-id", "list", "--group", 5)
    changed = {"daily_cap": 9, "trunk_name": "t1", "status": "disabled", "groups": [5], "hourly_cap": 5, "version": 2}
    assert listed == [created | changed]
    activated = "2026-06-06T00:00:00Z"
    seeded.done("caller-id", "update", created["id"], "--min-gap-seconds", 30, "--activated-at", activated)
    [limited] = cast("list[dict[str, object]]", seeded.json("caller-id", "list", "--group", 5))
    assert (limited["hourly_cap"], limited["min_gap_seconds"], limited["activated_at"]) == (5, 30, activated)
    cleared = ("--min-gap-seconds", "", "--activated-at", "", "--hourly-cap", "")
    seeded.done("caller-id", "update", created["id"], *cleared)
    assert seeded.json("caller-id", "list", "--group", 5) == [created | changed | engine | {"version": 4}]
    seeded.done("caller-id", "delete", created["id"], "--yes")
    assert seeded.json("caller-id", "list", "--group", 5) == []


def test_members_are_added_reweighted_removed_and_synced(seeded: Admin) -> None:
    def members(group: int) -> list[tuple[object, ...]]:
        query = "SELECT caller_id_id, weight FROM caller_id_group_members WHERE group_id = {} ORDER BY 1"
        return seeded.rows(query.format(group))

    assert seeded.done("member", "add", 5, 18, "19:3") == "group 5: added 2\n"
    assert members(5) == [(18, 1), (19, 3)]
    assert seeded.done("member", "add", 5, 19, "18:2", 20) == "group 5: added 1, reweighted 1\n"
    assert members(5) == [(18, 2), (19, 3), (20, 1)]
    changes = seeded.json("member", "sync", 5, "--yes", 19, "20:5", 21)
    assert changes == {"added": [21], "reweighted": [20], "removed": [18]}
    assert members(5) == [(19, 3), (20, 5), (21, 1)]
    assert seeded.done("member", "sync", 5, 19, "20:5", 21) == "group 5: nothing to change\n"
    assert seeded.done("member", "remove", 5, 19, 18) == "group 5: removed 1\n"
    assert seeded.done("member", "sync", 5, answer="y\n") == "group 5: removed 2\n"
    assert members(5) == []


def test_a_token_is_rotated_with_an_overlap_and_the_audit_log_names_who_did_it(seeded: Admin) -> None:
    first = seeded.json("token", "create", "--customer", 7, "--name", "board")
    assert isinstance(first, dict)
    second = seeded.json("token", "rotate", first["id"], "--overlap", 60)
    assert isinstance(second, dict)
    assert (second["name"], second["expires_at"]) == ("board", None)
    assert second["token"] != first["token"]
    rows = seeded.rows(f"SELECT expires_at < now() + interval '61 s' FROM api_tokens WHERE id = {first['id']}")
    assert rows == [(True,)]
    actors = seeded.rows(
        f"SELECT DISTINCT actor LIKE 'rotary-admin (%@%)' FROM audit_log WHERE entity_id = {first['id']}"
        " AND entity = 'token' AND action <> 'truncate'"
    )
    assert actors == [(True,)]


@pytest.mark.parametrize(
    "command", [("group", "delete", 3), ("caller-id", "delete", 18), ("member", "sync", 3, 18), ("token", "revoke", 1)]
)
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_is_destroyed_without_consent(seeded: Admin, command: tuple[object, ...], answer: str) -> None:
    seeded.done("token", "create", "--customer", 7, "--name", "t")
    before = dump(seeded)
    result = seeded(*command, answer=answer)
    assert result.exit_code == 1
    assert "nothing was changed" in result.stderr
    assert dump(seeded) == before
    seeded.done(*command, answer="y\n")
    assert dump(seeded) != before


# Tokens.


def test_a_token_is_shown_once_and_kept_only_as_its_hash(seeded: Admin) -> None:
    result = seeded("token", "create", "--customer", 7, "--name", "dashboard")
    bearer = result.stdout.strip()
    assert re.fullmatch(r"rot_[0-9A-Za-z]{36}", bearer)
    assert bearer not in result.stderr
    [(digest, scopes, limit, expires)] = seeded.rows(
        "SELECT token_sha256, scopes, rate_limit_per_minute, expires_at FROM api_tokens"
    )
    assert digest == sha256(bearer.encode()).digest()
    assert (scopes, limit, expires) == (["telesales_api_access"], 600, None)
    assert bearer not in seeded.done("token", "list") + seeded.done("token", "list", "--json")


def test_a_token_with_everything_said(seeded: Admin) -> None:
    options = ("--unlimited", "--expires", "2027-01-01T07:00:00+07:00", "--scope", "telesales_api_access")
    created = seeded.json("token", "create", "--customer", 7, "--name", "t", *options)
    assert isinstance(created, dict)
    assert str(created.pop("token")).startswith("rot_")
    assert (created["scopes"], created["rate_limit_per_minute"], created["expires_at"]) == (
        *(["telesales_api_access"], None, "2027-01-01T00:00:00Z"),
    )
    assert seeded.json("token", "list", "--customer", 7) == [created]
    assert seeded.json("token", "list", "--customer", 8) == []


def test_a_revoked_token_stays_revoked_from_the_first_time(seeded: Admin) -> None:
    seeded.done("token", "create", "--customer", 7, "--name", "t", "--rate-limit", 5)
    assert seeded.done("token", "revoke", 1, "--yes") == "revoked token 1: t\n"
    [(first,)] = seeded.rows("SELECT revoked_at FROM api_tokens")
    assert first is not None
    assert seeded.done("token", "revoke", 1) == "token 1 is already revoked\n"
    assert seeded.rows("SELECT revoked_at FROM api_tokens") == [(first,)]


# What is refused.


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ("customer", "create", "--name", "x", "--timezone", "Asia/Saigonn"),
            '"Asia/Saigonn" is not an IANA time zone',
        ),
        (("customer", "create", "--name", "x", "--id", 7), "that customer id is taken"),
        (("group", "create", "--customer", 99, "--name", "x", "--strategy", "random"), "customer 99 does not exist"),
        (
            ("caller-id", "create", "--customer", 99, "--number", "111", "--carrier", "other"),
            "customer 99 does not exist",
        ),
        (
            ("caller-id", "create", "--customer", 7, "--number", "+84901234567", "--carrier", "other"),
            "this customer already has a caller ID with that number",
        ),
        (("caller-id", "update", 99, "--status", "active"), "caller ID 99 does not exist"),
        (("caller-id", "update", 18), "nothing to change"),
        (("caller-id", "delete", 99, "--yes"), "caller ID 99 does not exist"),
        (("group", "show", 99), "group 99 does not exist; the groups are 3 (HCM outbound), 4 (HCM renewals), 5 ("),
        (("group", "list", "--customer", 99), "customer 99 does not exist"),
        (
            ("caller-id", "list", "--customer", 99),
            "customer 99 does not exist; the customers are 7 (Saigon Telesales), 8 (",
        ),
        (("caller-id", "list", "--group", 99), "group 99 does not exist"),
        (("token", "list", "--customer", 99), "customer 99 does not exist"),
        (("group", "update", 99, "--sticky"), "group 99 does not exist"),
        (("group", "delete", 99, "--yes"), "group 99 does not exist"),
        (("member", "add", 99, 18), "group 99 does not exist"),
        (("member", "add", 3, 31), "customer 7 has no caller ID 31; the caller IDs are 18 (+84901234567), 19 ("),
        (("member", "remove", 3, 18, 999), "customer 7 has no caller ID 999"),
        (("member", "sync", 3, "31:2", "--yes"), "customer 7 has no caller ID 31"),
        (("token", "create", "--customer", 99, "--name", "x"), "customer 99 does not exist"),
        (("token", "revoke", 99, "--yes"), "token 99 does not exist"),
        (("export", "--customer", 99), "customer 99 does not exist"),
    ],
)
def test_what_the_database_will_not_have_is_told_in_one_line(
    seeded: Admin, command: tuple[object, ...], told: str
) -> None:
    before = dump(seeded)
    error = seeded.refused(*command)
    assert error.startswith("rotary-admin: ")
    assert told in error
    assert error.count("\n") == 1
    assert dump(seeded) == before


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("customer", "create", "--name", "n" * 151), "--name: Expected `str` of length <= 150"),
        (
            ("customer", "create", "--name", "x", "--policy", '{"cap": 1}'),
            "--policy: Object contains unknown field `cap`",
        ),
        (("customer", "create", "--name", "x", "--policy", "{"), "--policy"),
        (("group", "create", "--customer", 7, "--name", "", "--strategy", "random"), "--name: Expected `str`"),
        (("group", "create", "--customer", 7, "--name", "x", "--strategy", "fastest"), "'fastest' is not one of"),
        (("caller-id", "update", 18, "--daily-cap", 0), "--daily-cap: Expected `int` >= 1"),
        (("caller-id", "update", 18, "--daily-cap", 2**31), "--daily-cap: Expected `int` <= 2147483647"),
        (("member", "add", 3, "18:0"), "ids and weights are whole numbers from 1"),
        (("member", "add", 3, "+8490"), "is invalid; expected ID or ID:WEIGHT, such as 18 or 18:3"),
        (("member", "add", 3, "x:1"), "is invalid; expected ID or ID:WEIGHT, such as 18 or 18:3"),
        (("cooldown", "clear", "--customer", 7, "--reason", "x" * 201, 18), "--reason: "),
        (
            ("token", "create", "--customer", 7, "--name", "x", "--expires", "2027-01-01"),
            "expected a time with an offset",
        ),
        (
            ("token", "create", "--customer", 7, "--name", "x", "--scope", "telesales_api_acess"),
            (
                "'telesales_api_acess' is not one of 'telesales_api_access', 'caller_id_read', 'caller_id_pick', "
                "'manage_caller_ids'"
            ),
        ),
        (
            ("token", "create", "--customer", 7, "--name", "a\x1b[2J"),
            "contains a line break or another control character",
        ),
        (
            ("caller-id", "create", "--customer", 7, "--number", "8.49012E+11", "--carrier", "other"),
            "--number: '8.49012E+11' is a decimal number, as spreadsheets write long numbers",
        ),
        (("caller-id", "update", 18, "--number", "09 01"), "--number: '09 01' is not a phone number: expected 3 to 20"),
        (("caller-id", "update", 18, "--display-name", "a\nb"), "--display-name: 'a\\nb' contains a line break"),
        (("token", "create", "--customer", 7, "--name", "x", "--unlimited", "--rate-limit", 5), "not both"),
    ],
)
def test_options_of_the_wrong_form_exit_with_2(seeded: Admin, command: tuple[object, ...], told: str) -> None:
    assert told in seeded.refused(*command, code=2)


def test_a_missing_or_malformed_setting_exits_with_2() -> None:
    for value, told in (
        ("", "ROTARY_POSTGRES_URL is not set"),
        ("mysql://x", "ROTARY_POSTGRES_URL is invalid"),
    ):
        result = CliRunner().invoke(cli, ["customer", "list"], env={"ROTARY_POSTGRES_URL": value})
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert told in result.stderr


def test_a_database_without_tables_names_the_command(postgres_url: str) -> None:
    with private_database(postgres_url, migrated=False) as bare:
        assert "rotary-admin migrate" in Admin(bare).refused("customer", "list")


# The command line as a whole.


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))
    else:
        yield path, command


@pytest.mark.parametrize(("path", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()])
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert result.stdout.startswith("Usage: ")
