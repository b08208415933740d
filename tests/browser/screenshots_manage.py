"""Pictures of the management pages, with what people did there and not yet saved."""

from typing import TYPE_CHECKING, Any

from playwright.async_api import FilePayload, Page, expect

from rotary_demo.cli import GROUP_ID

if TYPE_CHECKING:
    from browser.screenshots import Camera

_FILE = """number,display_name,carrier,daily_cap,group,rotation_strategy,weight
+84907100001,Saigon Telesales,mobifone,200,Spring campaign,weighted,2
+84907100002,Saigon Telesales,mobifone,200,Spring campaign,,1
+84917100003,,vinaphone,150,Spring campaign,,1
+84987100004,,viettel,150,Spring campaign,,3
"""
_ASK = """async ([method, path, body, headers]) => {
    const session = await (await fetch("/api/session")).json();
    const url = `/api/customers/${session.data.customers[0].id}${path}`;
    const sent = { "X-Rotary-Console": "1", ...headers };
    return (await fetch(url, { method, headers: sent, body: body && JSON.stringify(body) })).json();
}"""
_WEEK = {
    **{
        day: [{"from": "08:00", "to": "12:00"}, {"from": "13:30", "to": "18:00"}]
        for day in ("mon", "tue", "wed", "thu")
    },
    "fri": [{"from": "08:00", "to": "12:00"}, {"from": "13:30", "to": "20:30"}],
    "sat": [{"from": "09:00", "to": "12:00"}],
}


async def ask(page: Page, method: str, path: str, body: object = None, **headers: str) -> Any:
    """A request of the page's own. Any: JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await page.evaluate(_ASK, [method, path, body, named])


async def read(page: Page) -> None:
    """Waits until the page has what it asked for."""
    await expect(page.locator("main .page h1")).to_be_visible()
    await expect(page.locator("main .loading")).to_have_count(0)


async def members(page: Page) -> None:
    """Moves some numbers; nothing is saved."""
    await read(page)
    await page.locator("[data-member]").nth(1).get_by_role("button").click()
    await page.locator("[data-candidate] .button").nth(2).click()
    await page.locator("[data-member] input").first.fill("3")
    await page.keyboard.press("Tab")
    await page.mouse.move(0, 0)
    await page.evaluate("scrollTo(0, 0)")


async def conflict(page: Page) -> None:
    """Changes a number that somebody else changes meanwhile."""
    await read(page)
    await page.get_by_role("button", name="Edit ").first.click()
    await page.get_by_label("Calls a day").fill("180")
    row_id = await page.locator("tr[data-row]").first.get_attribute("data-row")
    theirs = {"daily_cap": 120, "trunk_name": "mobifone-hcm-2"}
    await ask(page, "PUT", f"/management/caller-ids/{row_id}", theirs, If_Match="*")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("button", name="Keep mine")).to_be_visible()
    await page.wait_for_timeout(500)


async def campaign(page: Page) -> None:
    """Creates one that may dial at certain hours."""
    await read(page)
    fields = {"name": "Consumer loans, June", "dialer_mode": "predictive", "time_window": _WEEK}
    made = await ask(page, "POST", "/telesales/campaigns", fields | {"caller_id_group_id": GROUP_ID})
    await ask(page, "PUT", f"/telesales/campaigns/{made['data']['id']}/status", {"status": "active"})
    await page.evaluate(f"location.hash = '#/campaigns/{made['data']['id']}'")
    await expect(page.locator("h1")).to_have_text("Consumer loans, June")


async def checked_file(page: Page) -> None:
    """Chooses a file, and sees what it would change."""
    await read(page)
    file: FilePayload = {"name": "spring.csv", "mimeType": "text/csv", "buffer": _FILE.encode()}
    await page.get_by_label("File to import").set_input_files(file)
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.locator(".import-counts li").first).to_be_visible()
    await expect(page.get_by_role("table", name="Changes").locator("tbody tr").first).to_be_visible()


async def policy(page: Page) -> None:
    """Lets spam labels rest for longer; not saved."""
    await read(page)
    await page.get_by_label("Rest after a spam label", exact=True).fill("12")
    await page.evaluate("document.activeElement.blur()")


async def log(page: Page) -> None:
    """Opens a change."""
    await read(page)
    await page.locator(".entry summary").first.click()
    await page.mouse.move(0, 0)


async def management_pictures(camera: "Camera") -> None:
    """In an order in which each has something to show."""
    await camera.take("members", f"/#/caller-id-groups/{GROUP_ID}", members)
    await camera.take("lost-update", "/#/caller-ids", conflict)
    await camera.take("campaign", "/#/campaigns", campaign)
    await camera.take("import", "/#/imports", checked_file)
    await camera.take("settings-dark", "/#/settings", policy, theme="dark")
    await camera.take("audit-log", "/#/audit", log)
    await camera.take("caller-ids-phone", "/#/caller-ids", read, view={"width": 390, "height": 844}, locale="vi-VN")
