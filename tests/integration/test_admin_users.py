"""`rotary-admin user`: who signs in to the console, and that no password is an argument."""

import json
from collections.abc import Iterator

import click
import pytest

from integration.admin_runner import Admin
from integration.cheap_passwords import cheap_passwords
from integration.private_database import execute
from rotary.management.passwords import verify_password
from rotary_admin.commands.user import user

PASSWORD = "correct horse battery"


@pytest.fixture
def users(seeded: Admin) -> Iterator[Admin]:
    """The example's customers, and no users."""
    execute(seeded.url, "DELETE FROM users")
    with cheap_passwords():
        yield seeded


def stored(admin: Admin, name: str) -> str:
    [(found,)] = admin.rows(f"SELECT password_hash FROM users WHERE name = '{name}'")
    return str(found)


def test_a_user_is_made_with_a_password_from_standard_input(users: Admin) -> None:
    said = users.done("user", "create", "Alice", "--customer", 7, "--role", "admin", answer=f"{PASSWORD}\n")
    assert said.endswith(": alice\n")
    assert verify_password(stored(users, "alice"), PASSWORD)
    [(role,)] = users.rows("SELECT role FROM user_roles WHERE customer_id = 7")
    assert role == "admin"


def test_a_password_that_is_made_is_shown_once(users: Admin) -> None:
    password = users.done("user", "create", "alice", "--generate").strip()
    assert len(password) == 24
    assert verify_password(stored(users, "alice"), password)
    again = users.done("user", "password", "alice", "--generate").strip()
    assert again != password
    assert verify_password(stored(users, "alice"), again)
    assert again not in users.done("user", "list")


def test_a_user_of_the_sign_in_provider_has_no_password(users: Admin) -> None:
    users.done("user", "create", "an@example.com", "--no-password")
    assert stored(users, "an@example.com") == "None"
    users.refused("user", "create", "x", "--no-password", "--generate", code=2)


def test_no_password_is_an_argument() -> None:
    assert isinstance(user, click.Group)
    named = {option for command in user.commands.values() for one in command.params for option in one.opts}
    assert not {option for option in named if "password" in option} - {"--no-password"}


@pytest.mark.parametrize(
    ("given", "told"), [("", "no password on standard input"), ("short\n", "12 to 256"), ("a" * 40 + "\n", "repeats")]
)
def test_a_password_that_is_none_is_refused(users: Admin, given: str, told: str) -> None:
    result = users("user", "create", "alice", answer=given)
    assert result.exit_code == 1
    assert told in result.stderr
    assert users.rows("SELECT 1 FROM users") == []


def test_names_are_checked_and_unique(users: Admin) -> None:
    assert "--name" in users.refused("user", "create", "Not A Name", "--generate", code=2)
    users.done("user", "create", "alice", "--generate")
    assert "this user name is taken" in users.refused("user", "create", "ALICE", "--generate")
    told = users.refused("user", "password", "bob", "--generate")
    assert told == "rotary-admin: user bob does not exist; the users are alice\n"


def test_roles_are_given_changed_and_taken(users: Admin) -> None:
    users.done("user", "create", "alice", "--generate")
    assert users.done("user", "role", "alice", "--customer", 7, "viewer") == "alice is viewer of customer 7\n"
    assert users.done("user", "role", "alice", "--customer", 8, "operator") == "alice is operator of customer 8\n"
    users.done("user", "role", "alice", "--customer", 7, "admin")
    assert "7:admin,8:operator" in users.done("user", "list")
    assert "8:operator" not in users.done("user", "list", "--customer", 7)
    assert users.done("user", "role", "alice", "--customer", 7, "none") == "alice has no role for customer 7\n"
    assert users.done("user", "list", "--customer", 7) == ""
    assert "customer 999 does not exist" in users.refused("user", "role", "alice", "--customer", 999, "viewer")


def test_a_disabled_user_has_no_session_left(users: Admin) -> None:
    users.done("user", "create", "alice", "--generate")
    insert = (
        "INSERT INTO user_sessions (user_id, value_sha256, expires_at) SELECT id, sha256('x'), now() + '1 h' FROM users"
    )
    execute(users.url, insert)
    assert users.done("user", "disable", "alice") == "disabled alice\n"
    assert users.rows("SELECT 1 FROM user_sessions") == []
    assert users.done("user", "enable", "alice") == "enabled alice\n"
    execute(users.url, insert)
    users.done("user", "password", "alice", "--generate")
    assert users.rows("SELECT 1 FROM user_sessions") == []


def test_codes_are_turned_off_for_whoever_has_lost_the_device(users: Admin) -> None:
    users.done("user", "create", "alice", "--generate")
    execute(users.url, "UPDATE users SET totp_secret = 'JBSWY3DPEHPK3PXP'")
    assert "pass --yes" in users.refused("user", "reset-totp", "alice")
    assert users.done("user", "reset-totp", "alice", "--yes") == "alice signs in without a code\n"
    assert users.rows("SELECT has_totp FROM users") == [(False,)]


def test_every_command_prints_json(users: Admin) -> None:
    made = users.json("user", "create", "alice", "--generate", "--customer", 7)
    assert isinstance(made, dict)
    assert (made["name"], made["roles"]) == ("alice", [{"customer_id": 7, "role": "viewer", "disabled": False}])
    assert len(made["password"]) == 24
    for command in (("disable",), ("enable",), ("reset-totp", "--yes"), ("password", "--generate")):
        told = users.json("user", command[0], "alice", *command[1:])
        assert isinstance(told, dict)
        assert told["name"] == "alice"
        assert "password_hash" not in told
    listed = users.json("user", "list")
    assert isinstance(listed, list)
    assert [one["has_password"] for one in listed] == [True]


def test_the_audit_log_has_every_change_without_a_secret(users: Admin) -> None:
    users.done("user", "create", "alice", "--generate", "--customer", 7)
    users.done("user", "password", "alice", "--generate")
    execute(users.url, "UPDATE users SET totp_secret = 'JBSWY3DPEHPK3PXP', totp_step = 5")
    users.done("user", "role", "alice", "--customer", 7, "admin")
    users.done("user", "disable", "alice")
    logged = users.rows(
        "SELECT entity, action, customer_id, before::text, after::text FROM audit_log"
        " WHERE entity LIKE 'user%' ORDER BY id"
    )
    told = [(entity, action, customer) for entity, action, customer, _, _ in logged if action != "truncate"]
    assert told[-6:] == [
        ("user", "create", None),
        ("user_role", "create", 7),
        ("user", "update", None),
        ("user", "update", None),
        ("user_role", "update", 7),
        ("user", "update", None),
    ]
    assert "argon2id" not in str(logged)
    assert "JBSWY3" not in str(logged)
    assert json.loads(str(logged[-1][4]))["disabled_at"] is not None


def test_sql_is_held_to_the_same_rules(users: Admin) -> None:
    for values, constraint in (
        ("('Upper', NULL)", "users_name_check"),
        ("('plain', 'a password')", "users_password_hash_check"),
        ("('md5', '$1$x')", "users_password_hash_check"),
    ):
        with pytest.raises(Exception, match=constraint):
            execute(users.url, f"INSERT INTO users (name, password_hash) VALUES {values}")
