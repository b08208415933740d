"""The write model: owners, versions, suggestions, rotation, idempotency keys, and who did it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from rotary.management import audit, caller_ids, campaigns, customers, groups, members, tokens
from rotary.management.actor import act_as
from rotary.management.audit import AuditFilter
from rotary.management.caller_ids import CallerIdFilter
from rotary.management.campaigns import CampaignFilter
from rotary.management.definitions_file.apply import apply_source
from rotary.management.definitions_file.mistakes import InvalidFileError
from rotary.management.definitions_file.read import Format, read_content
from rotary.management.errors import (
    ConflictError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
    RefusedError,
    StaleError,
)
from rotary.management.fields import (
    CallerIdFields,
    CampaignFields,
    CustomerFields,
    GroupFields,
    NewCallerId,
    NewCampaign,
    NewToken,
)
from rotary.management.groups import GroupFilter
from rotary.management.idempotency import StoredAnswer, claim, keep
from rotary.management.pages import PageRequest
from rotary.management.rows import Target
from rotary.postgres.connection import Connection

Change = Callable[[Connection, Target], Awaitable[object]]
FIRST_PAGE = PageRequest()

CHANGES: list[tuple[int, Change]] = [
    (18, lambda c, t: caller_ids.update_caller_id(c, t, CallerIdFields(daily_cap=5))),
    (18, caller_ids.delete_caller_id),
    (3, lambda c, t: groups.update_group(c, t, GroupFields(name="x"))),
    (3, groups.delete_group),
    (7, lambda c, t: customers.update_customer(c, t, CustomerFields(name="x"))),
    (100, lambda c, t: tokens.rotate_token(c, t, 60)),
    (1, lambda c, t: campaigns.update_campaign(c, t, CampaignFields(name="x"))),
    (1, lambda c, t: campaigns.set_campaign_status(c, t, "active")),
]


@pytest.fixture
async def draft(connection: Connection) -> int:
    """Customer 7's campaign 1, which has group 3."""
    await connection.execute(
        "INSERT INTO campaigns (customer_id, name, dialer_mode, caller_id_group_id) VALUES (7, 'c', 'manual', 3)"
    )
    return 1


@pytest.mark.parametrize(("row_id", "change"), CHANGES)
async def test_a_change_of_a_version_that_is_over_is_refused_and_one_of_the_current_version_is_made(
    connection: Connection, draft: int, row_id: int, change: Change
) -> None:
    with pytest.raises(StaleError):
        await change(connection, Target(row_id, 7, 2))
    await change(connection, Target(row_id, 7, 1))


@pytest.mark.parametrize(("row_id", "change"), CHANGES)
async def test_another_customers_row_is_refused_as_one_that_does_not_exist(
    connection: Connection, draft: int, row_id: int, change: Change
) -> None:
    with pytest.raises(NotFoundError) as theirs:
        await change(connection, Target(row_id, 8))
    with pytest.raises(NotFoundError) as missing:
        await change(connection, Target(9999, 8))
    assert str(theirs.value) == str(missing.value).replace("9999", str(row_id))


async def test_of_two_changes_of_one_version_that_run_at_once_one_is_refused(
    connection: Connection, second: Connection
) -> None:
    async def change(on: Connection, cap: int) -> str:
        try:
            async with on.transaction():
                await caller_ids.update_caller_id(on, Target(18, 7, 1), CallerIdFields(daily_cap=cap))
                await asyncio.sleep(0)
        except StaleError:
            return "stale"
        return "done"

    assert sorted(await asyncio.gather(change(connection, 5), change(second, 6))) == ["done", "stale"]


async def test_a_new_caller_id_gets_the_carrier_that_its_number_suggests_and_keeps_it(connection: Connection) -> None:
    created = await caller_ids.create_caller_id(connection, 7, NewCallerId(number="0981234567"))
    assert created.carrier == "viettel"
    ported = await caller_ids.update_caller_id(connection, created.id, CallerIdFields(carrier="mobifone"))
    renumbered = await caller_ids.update_caller_id(connection, created.id, CallerIdFields(number="0912345678"))
    assert (ported.carrier, renumbered.carrier) == ("mobifone", "mobifone")
    given = await caller_ids.create_caller_id(connection, 7, NewCallerId(number="0981234568", carrier="other"))
    assert given.carrier == "other"


@pytest.mark.parametrize(
    ("search", "found"),
    [("+8418", [18]), ("841", [18, 19]), ("SALES", [20]), ("%", []), ("_", []), (None, [18, 19, 20])],
)
async def test_caller_ids_are_found_by_part_of_their_number_or_name(
    connection: Connection, search: str | None, found: list[int]
) -> None:
    await connection.execute("UPDATE caller_ids SET display_name = 'Sales line' WHERE id = 20")
    page = await caller_ids.find_caller_ids(connection, 7, CallerIdFilter(search=search), FIRST_PAGE)
    assert [one.id for one in page.data] == found
    assert page.total == len(found)


async def test_a_list_in_pages_has_every_row_once_and_tells_how_many_there_are(connection: Connection) -> None:
    pages = [await caller_ids.find_caller_ids(connection, 7, CallerIdFilter(), PageRequest(n, 2)) for n in (1, 2, 3)]
    assert [[one.id for one in page.data] for page in pages] == [[18, 19], [20], []]
    assert {(page.last_page, page.per_page, page.total) for page in pages} == {(2, 2, 3)}
    assert [page.current_page for page in pages] == [1, 2, 3]
    empty = await campaigns.find_campaigns(connection, 7, CampaignFilter(), FIRST_PAGE)
    assert (empty.last_page, empty.total, empty.data) == (1, 0, [])


async def test_groups_are_found_by_name_and_status(connection: Connection) -> None:
    await connection.execute("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 4")
    found = await groups.find_groups(connection, 7, GroupFilter(search="F"), FIRST_PAGE)
    assert [(one.id, one.caller_ids_count) for one in found.data] == [(4, 1), (5, 0)]
    found = await groups.find_groups(connection, 7, GroupFilter(status="disabled"), FIRST_PAGE)
    assert [one.id for one in found.data] == [4]


async def test_members_are_synced_only_onto_those_that_were_read(connection: Connection) -> None:
    before = await members.read_members(connection, 3, 7)
    async with connection.transaction():
        changes = await members.sync_members(
            connection, 3, {18: 5, 20: None}, owner=7, digests=frozenset({before.digest})
        )
    assert changes == members.MemberChanges(added=[20], reweighted=[18], removed=[19])
    with pytest.raises(StaleError):
        await members.sync_members(connection, 3, {}, owner=7, digests=frozenset({before.digest}))
    after = await members.read_members(connection, 3, 7)
    assert [(one.caller_id, one.weight) for one in after.members] == [(18, 5), (20, 1)]
    with pytest.raises(NotFoundError):
        await members.sync_members(connection, 3, {}, owner=8, digests=None)


@pytest.mark.parametrize(
    ("prepare", "field", "kind"),
    [
        ("UPDATE campaigns SET caller_id_group_id = NULL", "caller_id_group_id", InvalidError),
        ("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 3", "caller_id_group_id", InvalidError),
        ("DELETE FROM caller_id_groups WHERE id = 3", "caller_id_group_id", InvalidError),
        (
            "DELETE FROM caller_id_group_members; UPDATE caller_id_groups SET customer_id = 8 WHERE id = 3",
            *("caller_id_group_id", InvalidError),
        ),
        ("UPDATE campaigns SET status = 'archived'", "status", ConflictError),
    ],
)
async def test_a_draft_is_activated_only_with_a_group_that_can_be_used(
    connection: Connection, draft: int, prepare: str, field: str, kind: type[RefusedError]
) -> None:
    await connection.execute(prepare)
    with pytest.raises(kind) as refused:
        await campaigns.set_campaign_status(connection, Target(draft, 7), "active")
    assert refused.value.field == field


@pytest.mark.parametrize("group", [4, 6, 99])
async def test_a_campaign_is_given_only_a_group_that_can_be_used(
    connection: Connection, draft: int, group: int
) -> None:
    await connection.execute("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 4")
    with pytest.raises(InvalidError) as refused:
        await campaigns.update_campaign(connection, Target(draft, 7), CampaignFields(caller_id_group_id=group))
    assert refused.value.field == "caller_id_group_id"
    new = NewCampaign(name="new", dialer_mode="manual", caller_id_group_id=group)
    with pytest.raises(InvalidError):
        await campaigns.create_campaign(connection, 7, new)


async def test_a_running_campaign_keeps_a_group_and_its_group_stays(connection: Connection, draft: int) -> None:
    await campaigns.set_campaign_status(connection, Target(draft, 7), "active")
    with pytest.raises(InvalidError):
        await campaigns.update_campaign(connection, Target(draft, 7), CampaignFields(caller_id_group_id=None))
    with pytest.raises(ConflictError, match="uses this group"):
        await groups.delete_group(connection, 3)
    moved = await campaigns.update_campaign(connection, Target(draft, 7), CampaignFields(caller_id_group_id=4))
    assert moved.caller_id_group_id == 4
    await groups.delete_group(connection, 3)


async def test_an_activation_waits_for_a_change_of_its_group(
    connection: Connection, second: Connection, draft: int
) -> None:
    transaction = second.transaction()
    await transaction.start()
    await second.execute("UPDATE caller_id_groups SET status = 'disabled' WHERE id = 3")
    activation = asyncio.create_task(campaigns.set_campaign_status(connection, Target(draft, 7), "active"))
    done, _ = await asyncio.wait([activation], timeout=0.2)
    assert not done
    await transaction.commit()
    with pytest.raises(InvalidError, match="disabled"):
        await activation


async def test_a_campaigns_name_is_used_once(connection: Connection, draft: int) -> None:
    with pytest.raises(ConflictError) as refused:
        await campaigns.create_campaign(connection, 7, NewCampaign(name="c", dialer_mode="manual"))
    assert refused.value.field == "name"
    await campaigns.create_campaign(connection, 8, NewCampaign(name="c", dialer_mode="manual"))


async def test_a_rotated_token_and_its_successor_overlap(connection: Connection) -> None:
    created, bearer = await tokens.rotate_token(connection, Target(100, 7), 3_600)
    old = await tokens.read_token(connection, 100)
    assert (created.name, created.scopes, created.rate_limit_per_minute) == (old.name, old.scopes, 600)
    assert created.expires_at is None
    assert bearer.startswith("rot_")
    assert old.expires_at is not None
    assert 3_500 < (old.expires_at - datetime.now(UTC)).total_seconds() <= 3_600
    await connection.execute("UPDATE api_tokens SET revoked_at = now() WHERE id = 100")
    with pytest.raises(ConflictError):
        await tokens.rotate_token(connection, Target(100, 7), 3_600)


async def test_a_token_may_have_several_scopes(connection: Connection) -> None:
    scopes = ["telesales_api_access", "caller_id_pick", "manage_caller_ids"]
    created, _ = await tokens.create_token(connection, 7, NewToken(name="all", scopes=scopes))
    assert created.scopes == scopes


ANSWER = StoredAnswer(201, b'{"data":{}}', '"1"', "/x")


async def test_a_request_that_is_sent_again_gets_its_answer_again(connection: Connection) -> None:
    assert await claim(connection, 7, "k", b"1" * 32) is None
    await keep(connection, 7, "k", ANSWER)
    assert await claim(connection, 7, "k", b"1" * 32) == ANSWER
    assert await claim(connection, 8, "k", b"1" * 32) is None  # another customer's key is another key
    with pytest.raises(KeyReusedError):
        await claim(connection, 7, "k", b"2" * 32)
    await connection.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert await claim(connection, 7, "k", b"2" * 32) is None


async def test_a_key_of_a_transaction_that_failed_is_free(connection: Connection, second: Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    assert await claim(connection, 7, "k", b"1" * 32) is None
    waiting = asyncio.create_task(claim(second, 7, "k", b"1" * 32))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await transaction.rollback()
    assert await waiting is None


async def test_the_audit_log_is_read_newest_first_by_entity_and_actor(connection: Connection) -> None:
    async with connection.transaction():
        await act_as(connection, "token 100 (a)")
        await caller_ids.update_caller_id(connection, Target(18, 7), CallerIdFields(daily_cap=5))
        await groups.update_group(connection, Target(3, 7), GroupFields(name="x"))
    found = await audit.find_changes(connection, 7, AuditFilter(actor="token 100 (a)"), PageRequest(1, 2))
    assert [(one.entity, one.entity_id, one.action) for one in found.data] == [
        ("group", 3, "update"),
        ("caller_id", 18, "update"),
    ]
    found = await audit.find_changes(connection, 7, AuditFilter(entity="caller_id", entity_id=18), PageRequest(1, 1))
    assert b'"daily_cap": 5' in bytes(found.data[0].after or b"")
    assert (
        await audit.find_changes(connection, 8, AuditFilter(entity="caller_id", entity_id=18), FIRST_PAGE)
    ).total == 0


YAML = b"""\
customers:
  - caller_ids:
      - {number: "0981234567"}
      - {number: "+8418", daily_cap: 7}
    groups:
      - {name: three, members: ["0981234567", "+8418"]}
"""
CSV = b"number,daily_cap,group,weight\n0981234567,,three,2\n+8418,7,three,\n"


@pytest.mark.parametrize(("content", "form", "removed"), [(YAML, "yaml", 1), (CSV, "csv", 0)])
async def test_a_customer_imports_a_file_that_does_not_name_it(
    connection: Connection, content: bytes, form: Format, removed: int
) -> None:
    edits = await apply_source(connection, read_content("upload", content, form, owner=7))
    counts = {(edit.action, edit.what) for edit in edits}
    assert {("create", "caller ID"), ("update", "caller ID"), ("add", "member")} <= counts
    assert sum(edit.action == "remove" for edit in edits) == removed
    row = await connection.fetchrow("SELECT customer_id, carrier FROM caller_ids WHERE number = '0981234567'")
    assert tuple(row or ()) == (7, "viettel")


@pytest.mark.parametrize(
    ("content", "form", "line", "detail"),
    [
        (b"customers: [{id: 8, caller_ids: []}]", "yaml", 1, "the file names another customer"),
        (b"customers: [{name: Hanoi}]", "yaml", 1, "the file names another customer"),
        (b"customer,number\n7,0901234567\n8,0901234568\n", "csv", 3, "the file names another customer"),
        (
            b'customers:\n- caller_ids:\n  - {id: 28, number: "+8428"}',
            "yaml",
            3,
            "caller ID 28 does not exist: leave out",
        ),
        (
            b'customers:\n- caller_ids:\n  - {id: 999, number: "+8428"}',
            "yaml",
            3,
            "caller ID 999 does not exist: leave out",
        ),
        (b"number,daily_cap\n0901234567,0\n", "csv", 2, "Expected `int` >= 1"),
    ],
)
async def test_a_file_about_another_customer_is_refused_with_the_line(
    connection: Connection, content: bytes, form: Format, line: int, detail: str
) -> None:
    with pytest.raises(InvalidFileError) as refused:
        await apply_source(connection, read_content("upload", content, form, owner=7))
    [(place, told)] = refused.value.mistakes
    assert (place.line, told[: len(detail)]) == (line, detail)
