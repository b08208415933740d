"""Past days, as the service has them on record: of a group, and of one number."""

from playwright.async_api import expect

from browser.world import Visitors, World

TODAY = "(now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date"
DAYS = f"""
INSERT INTO customer_days (customer_id, day, begins_at, ends_at, calls_known, flags_known, resting_known, health_known)
SELECT $1, day, day - interval '7 hours', day + interval '17 hours', true, true, true, true
FROM generate_series({TODAY} - 4, {TODAY} - 1, interval '1 day') AS day
ON CONFLICT (customer_id, day) DO UPDATE
SET calls_known = true, flags_known = true, resting_known = true, health_known = true
"""
FIGURES = f"""
INSERT INTO caller_id_days (caller_id_id, customer_id, day, calls, spam_label, blocked, user_report, rejected,
  resting_seconds, health) VALUES ($1, $2, {TODAY} - $3::int, $4, $5, 0, 0, 0, $6, $7)
"""


async def test_days_are_summed_for_a_group_and_told_for_each_number(world: World, visitors: Visitors) -> None:
    group = await world.group("Remembered", 2)
    first, second = group.callers
    # The next sweep is after midnight: what is on record until then is ours.
    await world.swept()
    await world.execute(DAYS, world.customer)
    for caller, ago, calls, spam, resting, health in (
        (first, 4, 100, 0, 0, 100),
        (first, 3, 120, 2, 7_200, 25),
        (second, 3, 80, 0, 0, 100),
        (second, 1, 1_000, 0, 0, 60),
    ):
        await world.execute(FIGURES, caller, world.customer, ago, calls, spam, resting, health)
    visitor = await visitors.visitor()
    page = await visitor.open(f"{group.page}/history")
    tiles = page.locator(".history-tiles dd")
    await expect(tiles).to_have_text(["1,300", "2", "2 hrs", "80"])
    await expect(page.locator(".chart-figure canvas.pattern")).to_have_count(4)
    await page.get_by_text("Show as a table").first.click()
    await expect(page.get_by_role("table", name="Calls", exact=True).locator("tbody tr").last).to_contain_text("1,000")
    number = page.get_by_role("table", name="Numbers").get_by_role("link").first
    text = await number.inner_text()
    await number.click()
    await expect(page.locator("h1")).to_have_text(f"History of {text}")
    await expect(tiles).to_have_text(["220", "2", "2 hrs", "100"])
    await page.get_by_label("From").fill("2020-01-01")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("Must be at most 34 days before `to`.")
    await expect(page.get_by_label("From")).to_be_visible()
