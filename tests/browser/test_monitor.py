"""The live monitor, on real services: what happens in the world is on the page, and so is the age of what it shows."""

import re

from playwright.async_api import Page, expect

from browser.world import SECONDS, Group, Visitors, World, said
from rotary.events import Event


def flag(world: World, caller: int) -> Event:
    """A spam label, just now."""
    return world.publisher.events.carrier_flag(caller, "spam_label")


async def eligible(page: Page) -> int:
    """How many may dial, as the page says."""
    return int(await page.locator(".tile.eligible .big").evaluate("(one) => one.firstChild.textContent"))


async def test_a_published_flag_turns_a_row_to_cooldown_and_flashes_once(world: World, visitors: Visitors) -> None:
    group = await world.group("Flags", 6)
    visitor = await visitors.visitor(reduced_motion="no-preference")
    page = await visitor.open(group.page)
    await visitor.is_live()
    row = visitor.row(group.callers[2])
    await expect(row.locator(".badge")).to_have_text("Eligible")
    await page.evaluate("addEventListener('animationend', (event) => (window.ended = event.animationName))")
    await world.publish(flag(world, group.callers[2]))
    await expect(row.locator(".badge")).to_have_text("In cooldown")
    await expect(row.locator(".health .numeric")).to_have_text("50")
    await expect(row.locator(".cell.cooldown time")).to_have_text(re.compile(r"^5:59:\d\d$"))
    await page.wait_for_function("() => window.ended === 'flash'")
    assert await eligible(page) == 5
    await expect(page.locator(".tile.cooldown .next-back")).to_contain_text("in 5:59:")
    others = page.locator("[data-id] .badge", has_text="Eligible")
    await expect(others).to_have_count(5)


async def test_a_call_moves_the_bar_of_its_number_alone(world: World, visitors: Visitors) -> None:
    group = await world.group("Calls", 3, daily_cap=2)
    visitor = await visitors.visitor()
    await visitor.open(group.page)
    await visitor.is_live()
    caller = group.callers[1]
    for shown, status in (("1 / 2", "Eligible"), ("2 / 2", "Over quota")):
        await world.publish(world.publisher.events.call_placed(caller))
        await expect(visitor.row(caller).locator(".cell.calls")).to_have_text(shown)
        await expect(visitor.row(caller).locator(".badge")).to_have_text(status)
    await expect(visitor.row(group.callers[0]).locator(".cell.calls")).to_have_text("0 / 2")


async def test_the_page_says_that_redis_is_away_and_recovers_by_itself(world: World, visitors: Visitors) -> None:
    group = await world.group("Outage", 4)
    visitor = await visitors.visitor()
    page = await visitor.open(group.page)
    await visitor.is_live()
    try:
        await world.control("kill", "redis")
        await expect(page.locator("[data-freshness=stale]")).to_contain_text(re.compile(r"\d+ sec old|\d+ secs old"))
        await expect(page.get_by_role("status").filter(has_text="The data is not current.").first).to_be_attached()
        await expect(page.locator(".notice.warning")).to_contain_text("The data store can't be reached.")
        await expect(page.locator("[data-id]")).to_have_count(4)
    finally:
        await world.control("start", "redis")
    await visitor.is_live()
    await expect(page.locator(".notice.warning")).to_have_count(0)
    await world.publish(flag(world, group.callers[0]))
    await expect(visitor.row(group.callers[0]).locator(".badge")).to_have_text("In cooldown")


async def test_a_lost_connection_is_told_and_comes_back_by_itself(world: World, visitors: Visitors) -> None:
    group = await world.group("Connection", 2)
    visitor = await visitors.visitor()
    page = await visitor.open(group.page)
    await visitor.is_live()
    try:
        await world.control("kill", "query")
        lost = page.locator("[data-freshness=reconnecting]")
        await expect(lost).to_contain_text(re.compile(r"Reconnecting… · \d+ secs? old"))
        await expect(page.locator(".notice.warning")).to_contain_text("The connection is lost.")
    finally:
        await world.control("start", "query")
    await visitor.is_live()
    await world.publish(flag(world, group.callers[1]))
    await expect(visitor.row(group.callers[1]).locator(".badge")).to_have_text("In cooldown")


async def test_a_members_sync_in_one_window_is_seen_in_another(world: World, visitors: Visitors) -> None:
    group, other = await world.group("Sync", 3), await world.group("Spare", 1)
    watching, changing = await visitors.visitor(), await visitors.visitor("admin")
    page = await watching.open(group.page)
    await watching.is_live()
    await changing.open()
    path = f"/api/customers/{world.customer}/management/caller-id-groups/{group.id}/members"
    members = [{"caller_id_id": caller} for caller in (*group.callers[1:], *other.callers)]
    status, answer = await changing.ask("PUT", path, {"members": members}, If_Match="*")
    assert (status, answer["data"]["removed"]) == (200, [group.callers[0]])
    await expect(watching.row(other.callers[0])).to_be_visible()
    await expect(watching.row(group.callers[0])).to_have_count(0)
    assert await page.locator("[data-id]").count() == 3


async def test_a_thousand_members_are_drawn_as_far_as_they_are_seen(world: World, visitors: Visitors) -> None:
    group = await world.group("Thousand", 1_000)
    visitor = await visitors.visitor()
    page = await visitor.open(group.page)
    await visitor.is_live()
    table = page.get_by_role("table", name="Caller IDs of the group")
    await expect(table).to_have_attribute("aria-rowcount", "1001")
    assert await page.locator("[data-id]").count() < 60
    await page.locator(".members").evaluate("(one) => one.scrollTo(0, one.scrollHeight)")
    await expect(visitor.row(group.callers[-1])).to_be_visible()
    await expect(visitor.row(group.callers[-1])).to_have_attribute("aria-rowindex", "1001")
    number = await visitor.row(group.callers[-1]).locator(".cell.number").inner_text()
    await page.get_by_label("Search numbers").fill(number.replace("+84", "0"))
    await expect(page.locator("[data-id] .cell.number")).to_have_text([number])
    await page.get_by_label("Search numbers").fill("")
    await page.get_by_role("combobox", name="Carrier").select_option("MobiFone")
    await expect(page.get_by_text("167 of 1,000")).to_be_visible()
    await expect(page).to_have_url(re.compile("carrier=mobifone"))
    await page.get_by_role("button", name=re.compile("^In cooldown")).click()
    await expect(page.get_by_text("No caller ID matches the filter.")).to_be_visible()


async def test_columns_sort_both_ways_and_back(world: World, visitors: Visitors) -> None:
    group = await world.group("Sorted", 3)
    await world.publish(flag(world, group.callers[1]))
    visitor = await visitors.visitor()
    page = await visitor.open(group.page)
    await expect(visitor.row(group.callers[1]).locator(".badge")).to_have_text("In cooldown")
    header = page.get_by_role("columnheader", name="Health")

    async def order() -> list[int]:
        return [int(each) for each in await page.locator("[data-id]").evaluate_all(
            "(rows) => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.dataset.id)"
        )]  # fmt: skip

    first, second, third = group.callers
    for direction, expected in (
        ("ascending", [second, first, third]),
        ("descending", [first, third, second]),
        ("none", [first, second, third]),
    ):
        await header.get_by_role("button").click()
        await expect(header).to_have_attribute("aria-sort", direction)
        assert await order() == expected


async def test_a_score_is_explained_and_a_cooldown_cleared_with_the_keyboard(world: World, visitors: Visitors) -> None:
    group = await world.group("Explained", 2)
    await world.publish(flag(world, group.callers[0]))
    visitor = await visitors.visitor("operator")
    page = await visitor.open(group.page)
    button = page.get_by_role("button", name="Health 50 of 100, fair. Why?")
    await button.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Flags and calls have halved its health once.")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(button).to_be_focused()
    await page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="Clear cooldown").click()
    question = page.get_by_role("dialog").filter(has_text="Reason")
    await question.get_by_label("Reason").fill("The carrier took the label away")
    await question.get_by_role("button", name="Clear cooldown").click()
    # The row can be eligible before the request is answered, and only then is the reason on record.
    await said(page, "may dial again")
    await expect(visitor.row(group.callers[0]).locator(".badge")).to_have_text("Eligible")
    [entry] = await visitor.log("cooldown_clear", group.callers[0])
    assert entry["after"]["reason"] == "The carrier took the label away"


async def test_a_viewer_is_offered_nothing_that_a_viewer_may_not_do(world: World, visitors: Visitors) -> None:
    group = await world.group("Viewed", 1)
    await world.publish(flag(world, group.callers[0]))
    visitor = await visitors.visitor("viewer")
    page = await visitor.open(group.page)
    await page.get_by_role("button", name=re.compile("^Health 50")).click()
    await expect(page.get_by_role("dialog")).to_contain_text("Why 50?")
    await expect(page.get_by_role("button", name="Clear cooldown")).to_have_count(0)
    path = f"/api/customers/{world.customer}/management/caller-ids/{group.callers[0]}/clear-cooldown"
    status, answer = await visitor.ask("POST", path)
    assert (status, answer) == (403, {"message": "Your role does not allow this."})


async def test_a_group_that_is_gone_and_one_of_others_read_alike(world: World, visitors: Visitors) -> None:
    group: Group = await world.group("Short-lived", 1)
    visitor = await visitors.visitor()
    page = await visitor.open(group.page)
    await visitor.is_live()
    await world.execute("DELETE FROM caller_id_groups WHERE id = $1", group.id)
    await expect(page.get_by_role("heading", name="This group is not here")).to_be_visible(timeout=SECONDS * 1000)
    await visitor.open("/#/groups/999999999")
    await expect(page.get_by_role("heading", name="This group is not here")).to_be_visible()


async def test_a_group_that_comes_later_is_shown_by_itself(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor()
    page = await visitor.open("/#/groups/999999998")
    await expect(page.get_by_role("heading", name="This group is not here")).to_be_visible()
    query = (
        "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)"
        " VALUES (999999998, $1, 'Just made', 'random')"
    )
    await world.execute(query, world.customer)
    await visitor.is_live()
    await expect(page.get_by_role("heading", name="Just made")).to_be_visible()


async def test_all_groups_show_who_may_dial_and_the_one_without_comes_first(world: World, visitors: Visitors) -> None:
    ready, spent = await world.group("Ready", 2), await world.group("Spent", 1)
    await world.publish(flag(world, spent.callers[0]))
    visitor = await visitors.visitor()
    page = await visitor.open("/#/groups")
    await visitor.is_live()
    cards = page.locator(".group-card")
    card = cards.filter(has_text="Spent")
    await expect(card.locator(".badge")).to_have_text("Nothing to dial with")
    await expect(card.locator(".next-back")).to_contain_text("in 5:5")
    await page.get_by_label("Search groups").fill("read")
    await expect(cards).to_have_count(1)
    await expect(cards.get_by_role("img")).to_have_attribute("aria-label", re.compile("^Eligible: 2, In cooldown: 0"))
    await cards.get_by_role("link", name=ready.name).click()
    await expect(page.locator("h1")).to_have_text("Ready")
    await expect(page.locator("h1")).to_be_focused()
