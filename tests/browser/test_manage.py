"""Numbers, groups, campaigns and files are managed on the pages; what is saved there happens in the world."""

import json
import re

from playwright.async_api import FilePayload, Page, expect

from browser.test_appearance import violations_in_both_themes
from browser.world import Visitors, World, said
from rotary.management.fields import Role

_CSV = "number,display_name,carrier,daily_cap,group,rotation_strategy,weight\n"


async def dropped(page: Page, name: str, content: str) -> None:
    """A file is chosen, and checked."""
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    await page.get_by_label("File to import").set_input_files(file)
    await page.get_by_role("button", name="Check the file").click()


async def test_a_new_group_gets_numbers_that_a_monitor_elsewhere_shows_at_once(
    world: World, visitors: Visitors
) -> None:
    spare = await world.group("Reservoir", 5)
    numbers = await world.numbers(spare)
    visitor, watching = await visitors.visitor("admin"), await visitors.visitor("viewer")
    page = await visitor.open("/#/caller-id-groups")
    await page.get_by_role("button", name="New group").click()
    await page.get_by_label("Name").fill("Night shift")
    await page.get_by_label("Rotation").select_option("weighted")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("h1")).to_have_text("Night shift")
    row_id = int(page.url.rpartition("/")[2])

    # By a button, by dragging, and by pasting, with a weight, and in the form in which people write numbers.
    await page.get_by_label("Search number or name").fill(numbers[0])
    await page.get_by_role("button", name=f"Add {numbers[0]}").click()
    await page.get_by_label("Search number or name").fill(numbers[1])
    await expect(page.locator("[data-candidate]")).to_have_count(1)  # a list that is drawn anew drops what is dragged
    await page.locator(f"[data-candidate='{spare.callers[1]}']").drag_to(page.locator(".side").first)
    await expect(page.locator(f"[data-member='{spare.callers[1]}']")).to_be_visible()
    await page.get_by_role("button", name="Paste a list").click()
    local = numbers[2].replace("+84", "0")
    await page.get_by_label("Numbers, one on each line").fill(f"{local}, 3\n{numbers[0]}\n0999999999")
    await page.get_by_role("button", name="Look them up").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("2 numbers are known. 1 is in the group already.")
    await expect(dialog).to_contain_text("1 number is not yours: 0999999999", use_inner_text=True)
    await dialog.get_by_role("button", name="Add 2 numbers").click()

    await watching.open(f"/#/groups/{row_id}")
    await watching.is_live()
    await expect(watching.page.locator("[data-id]")).to_have_count(0)
    await page.get_by_role("button", name="Review and save").click()
    await expect(dialog).to_contain_text("3 numbers are added")
    await expect(dialog).to_contain_text(f"{numbers[2]} weight 3", use_inner_text=True)
    await dialog.get_by_role("button", name="Save").click()
    await said(page, "Saved: 3 added, 0 taken out, 0 reweighted.")
    for caller in spare.callers[:3]:
        await expect(watching.row(caller)).to_be_visible()

    # With the keyboard: one leaves, is seen as leaving, and comes back.
    await page.get_by_role("button", name=f"Take {numbers[0]} out").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Not saved yet")).to_contain_text(re.compile(r"\+0 \S1"))
    await page.get_by_role("button", name=f"Undo for {numbers[0]}").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Not saved yet")).to_have_count(0)


async def test_members_that_somebody_else_changed_are_shown_beside_mine(world: World, visitors: Visitors) -> None:
    group, other = await world.group("Contested", 3), await world.group("Others", 1)
    visitor = await visitors.visitor("admin")
    page = await visitor.open(f"/#/caller-id-groups/{group.id}")
    numbers = await world.numbers(group)
    await page.get_by_role("button", name=f"Take {numbers[0]} out").click()
    path = f"/api/customers/{world.customer}/management/caller-id-groups/{group.id}/members"
    theirs = [{"caller_id_id": caller} for caller in (*group.callers, *other.callers)]
    assert (await visitor.ask("PUT", path, {"members": theirs}, If_Match="*"))[0] == 200
    await page.get_by_role("button", name="Review and save").click()
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="Somebody else has changed this")
    await expect(dialog.locator("tbody tr")).to_have_count(2)
    await expect(dialog.locator("tbody tr").first).to_contain_text("not in the group")
    await dialog.get_by_role("button", name="Take theirs").click()
    await expect(page.locator("[data-member]")).to_have_count(4)
    _, answer = await visitor.ask("GET", path)
    assert [one["caller_id_id"] for one in answer["data"]] == sorted([*group.callers, *other.callers])


async def test_a_lost_update_offers_both_versions_and_keeping_mine_keeps_what_only_they_changed(
    world: World, visitors: Visitors
) -> None:
    group = await world.group("Lost update", 1)
    [number] = await world.numbers(group)
    first, second = await visitors.visitor("admin"), await visitors.visitor("admin")
    for visitor in (first, second):
        await visitor.open(f"/#/caller-ids?search={number.removeprefix('+')}")
        await visitor.page.get_by_role("button", name=f"Edit {number}").click()
    await first.page.get_by_label("Trunk").fill("viettel-hcm-2")
    await first.page.get_by_label("Calls a day").fill("120")
    await first.page.get_by_role("button", name="Save").click()
    await said(first.page, "Saved.")
    page = second.page
    await page.get_by_label("Calls a day").fill("180")
    await page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="Somebody else has changed this")
    row = dialog.get_by_role("row", name=re.compile("^Calls a day"))
    await expect(row).to_contain_text("180 changed 120 changed", use_inner_text=True)
    await expect(dialog.get_by_role("row", name=re.compile("^Trunk"))).to_contain_text("viettel-hcm-2")
    assert await violations_in_both_themes(page) == []
    await dialog.get_by_role("button", name="Keep mine").click()
    await said(page, "Saved.")
    status, answer = await second.ask(
        "GET", f"/api/customers/{world.customer}/management/caller-ids/{group.callers[0]}"
    )
    assert (status, answer["data"]["daily_cap"], answer["data"]["trunk_name"]) == (200, 180, "viettel-hcm-2")
    changes = await second.log("caller_id", group.callers[0])
    assert [one["actor"] for one in changes[:2]] == [f"user {world.user('admin')}"] * 2


async def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_survives_the_network(
    world: World, visitors: Visitors
) -> None:
    taken = (await world.numbers(await world.group("Taken", 1)))[0]
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/caller-ids")
    await page.get_by_role("button", name="New caller ID").click()
    number = page.get_by_role("dialog").get_by_label("Number")
    await number.fill("12")
    await page.get_by_role("button", name="Create").click()
    await expect(number).to_have_attribute("aria-invalid", "true")
    await expect(number).to_be_focused()
    await expect(page.locator(".error")).to_contain_text("not a phone number")
    await number.fill(taken)
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator(".field .error")).to_contain_text(re.compile("already"))
    await number.fill("+84 90 777 6655")
    await visitor.context.set_offline(True)
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("alert")).to_contain_text("The server can't be reached.")
    await expect(page.get_by_text("Nothing you typed is lost.")).to_be_visible()
    await visitor.context.set_offline(False)
    await page.get_by_role("button", name="Create").click()
    await said(page, "+84907776655 is created.")


async def test_what_is_typed_stays_while_the_form_is_drawn_anew(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("operator")
    page = await visitor.open("/#/campaigns/new")
    await page.get_by_role("button", name="At certain hours").click()
    begins = page.get_by_label("Monday, from").first
    await begins.click()
    await begins.press("Control+A")
    await begins.press_sequentially("9")
    await page.get_by_label("Name").evaluate(
        "(field) => { field.value = 'July'; field.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    await page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    await expect(begins).to_have_value("9")
    await begins.press("Tab")
    await expect(begins).to_have_value("09:00")


async def test_a_campaign_without_a_group_says_what_it_lacks_and_starts_with_one(
    world: World, visitors: Visitors
) -> None:
    group = await world.group("For campaigns", 2)
    visitor = await visitors.visitor("operator")
    page = await visitor.open("/#/campaigns/new")
    await page.get_by_label("Name").fill("June loans")
    await page.get_by_role("button", name="At certain hours").click()
    await page.get_by_label("Monday, from").first.fill("9")
    await page.get_by_role("button", name="Create as a draft").click()
    await expect(page.locator(".title .badge")).to_have_text("Draft")
    await expect(page.get_by_label("Monday, from").first).to_have_value("09:00")
    await page.get_by_role("button", name="Start June loans").click()
    dialog = page.get_by_role("dialog", name="June loans can't start yet")
    field = dialog.get_by_label("Caller ID group")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(dialog.locator(".error")).to_have_text("A caller ID group is required to activate a campaign.")
    await field.select_option(str(group.id))
    await dialog.get_by_role("button", name="Use this group and start").click()
    await expect(page.locator(".title .badge")).to_have_text("Active")
    await expect(page.locator("form").get_by_label("Caller ID group")).to_have_value(str(group.id))

    # A group in use can't be deleted: the server says why.
    admin = await visitors.visitor("admin")
    await admin.open("/#/caller-id-groups?search=For+campaigns")
    await admin.page.get_by_role("button", name="More for For campaigns").click()
    await admin.page.get_by_role("menuitem", name="Delete").click()
    await admin.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(admin.page.get_by_role("alert")).to_contain_text(
        "A campaign that is active or paused uses this group."
    )

    await page.get_by_role("button", name="Pause June loans").click()
    await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    await expect(page.locator(".title .badge")).to_have_text("Paused")
    await visitor.open("/#/campaigns?status=paused")
    await expect(page.get_by_role("rowheader", name="June loans")).to_be_visible()


async def test_hours_that_overlap_are_told_at_their_day(visitors: Visitors) -> None:
    visitor = await visitors.visitor("operator")
    page = await visitor.open("/#/campaigns/new")
    await page.get_by_label("Name").fill("Overlapping")
    await page.get_by_role("button", name="At certain hours").click()
    await page.get_by_label("Friday, to").first.fill("14:00")
    await page.get_by_role("button", name="Create as a draft").click()
    friday = page.get_by_role("group", name="Friday")
    await expect(friday.get_by_role("alert")).to_contain_text("overlaps")
    await expect(friday.get_by_label("Friday, from").first).to_be_focused()


async def test_a_file_is_checked_line_by_line_and_then_applied_as_a_whole(world: World, visitors: Visitors) -> None:
    visitor = await visitors.visitor("admin")
    page = await visitor.open("/#/imports")
    await dropped(page, "bad.csv", _CSV + "+84908880001,,viettel,200,Imported,random,1\n12,,viettel,200,,,\n")
    row = page.locator(".mistakes tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("3 number", use_inner_text=True)
    await page.get_by_role("button", name="Another file").click()
    good = "+84908880001,First,viettel,200,Imported,random,1\n+84908880002,,mobifone,150,Imported,,2\n"
    await dropped(page, "good.csv", _CSV + good)
    counts = page.locator(".import-counts")
    await expect(counts.locator("li").first).to_have_text("2 caller IDs created")
    await expect(page.get_by_role("rowheader", name="+84908880002", exact=True)).to_be_visible()
    search = f"/api/customers/{world.customer}/management/caller-ids?search=8490888000"
    assert (await visitor.ask("GET", search))[1]["total"] == 0
    await page.get_by_role("button", name="Apply").click()
    await page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("This was changed:")).to_be_visible()
    assert (await visitor.ask("GET", search))[1]["total"] == 2
    await expect(page.get_by_role("table", name="Earlier imports").locator("tbody tr")).to_have_count(3)


async def test_a_role_is_offered_what_it_may_do_and_told_why_not_more(world: World, visitors: Visitors) -> None:
    group = await world.group("Roles", 1)
    [number] = await world.numbers(group)
    pages = {"viewer": ["Caller IDs", "Groups", "Campaigns"], "operator": ["Webhooks", "Audit log"]}
    offers: tuple[tuple[Role, list[str], list[str]], ...] = (
        ("viewer", pages["viewer"], ["Import", "API tokens", *pages["operator"], "Settings"]),
        ("operator", pages["viewer"] + pages["operator"], ["Import", "API tokens", "Dialers", "Users"]),
    )
    for role, offered, refused in offers:
        visitor = await visitors.visitor(role)
        page = await visitor.open(f"/#/caller-ids?search={number.removeprefix('+')}")
        await expect(page.get_by_role("rowheader", name=number)).to_be_visible()
        menu = page.get_by_role("navigation", name="Main")
        for name in offered:
            await expect(menu.get_by_role("link", name=name, exact=True)).to_be_visible()
        for name in refused:
            await expect(menu.get_by_role("link", name=name, exact=True)).to_have_count(0)
        await expect(page.get_by_role("button", name="New caller ID")).to_have_count(0)
        await expect(page.get_by_role("button", name=f"Edit {number}")).to_have_count(0)
        await expect(page.locator(".page-header")).to_contain_text("Administrators")
        await page.goto(f"{world.url}/#/tokens")
        await expect(page.get_by_role("heading", name="Your role does not open this page")).to_be_visible()
    # An operator disables a number, and the log says who did.
    await visitor.open(f"/#/caller-ids?search={number.removeprefix('+')}")
    await page.get_by_role("button", name=f"More for {number}").click()
    await page.get_by_role("menuitem", name="Disable").press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    await said(page, f"{number} is disabled.")
    await page.get_by_role("button", name=f"More for {number}").click()
    await page.get_by_role("menuitem", name="Who changed it").click()
    entry = page.locator(".entry").first
    await expect(entry).to_contain_text(f"user {world.user('operator')}")
    await expect(entry).to_contain_text("Status Active → Disabled", use_inner_text=True)


async def test_what_was_changed_and_not_saved_waits_while_somebody_looks_elsewhere(
    world: World, visitors: Visitors
) -> None:
    group = await world.group("Interrupted", 2)
    visitor = await visitors.visitor("admin")
    page = await visitor.open(f"/#/caller-id-groups/{group.id}")
    [number, _] = await world.numbers(group)
    await page.get_by_label(f"Weight of {number}").fill("7")
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("was 1")).to_be_visible()
    await page.get_by_role("link", name="Campaigns").click()
    await expect(page.locator("h1")).to_have_text("Campaigns")
    await page.goto(f"{world.url}/#/caller-id-groups/{group.id}")
    await expect(page.get_by_text("This is what you typed before and did not save.")).to_be_visible()
    await expect(page.get_by_label(f"Weight of {number}")).to_have_value("7")
    await page.get_by_role("button", name="Discard").click()
    await page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    await expect(page.get_by_label(f"Weight of {number}")).to_have_value("1")


async def test_a_cooldown_is_cleared_with_a_reason_that_the_log_keeps(world: World, visitors: Visitors) -> None:
    group = await world.group("Cleared", 1)
    [number] = await world.numbers(group)
    await world.publish(world.publisher.events.carrier_flag(group.callers[0], "spam_label"))
    visitor, watching = await visitors.visitor("operator"), await visitors.visitor()
    await watching.open(group.page)
    await expect(watching.row(group.callers[0]).locator(".badge")).to_have_text("In cooldown")
    page = await visitor.open(f"/#/caller-ids?search={number.removeprefix('+')}")
    await page.get_by_role("button", name=f"More for {number}").click()
    await page.get_by_role("menuitem", name="Clear cooldown").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill("The label is gone")
    await dialog.get_by_role("button", name="Clear cooldown").click()
    await said(page, "may dial again")
    await expect(watching.row(group.callers[0]).locator(".badge")).to_have_text("Eligible")
    [entry] = await visitor.log("cooldown_clear", group.callers[0])
    assert (entry["actor"], "The label is gone" in json.dumps(entry["after"])) == (
        f"user {world.user('operator')}",
        True,
    )
