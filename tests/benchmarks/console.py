"""The console in a browser, measured from its pages: weight, first row, an event on the screen, frames under load."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median
from time import time

from playwright.async_api import Page, async_playwright

from benchmarks.rounds import percentile
from benchmarks.run import Run
from benchmarks.table import Row, at_least, at_most
from browser.world import Group, Visitor, Visitors, World, open_world
from integration.private_stack import private_stack
from rotary_stack.binaries import find_or_install

MEMBERS = 1_000
CHANGES_A_SECOND = 50
FIRST_ROWS = 7
PROBES = 100
FRAMES_SECONDS = 10
NAMES = ("weight", "first_row", "event", "frames")

# When the first row was painted, in milliseconds since the navigation began.
_FIRST_ROW = """
const watch = new MutationObserver(() => {
  if (!document.querySelector("[data-id]")) return;
  watch.disconnect();
  requestAnimationFrame(() => requestAnimationFrame((at) => { window.firstRow = at; }));
});
watch.observe(document, { childList: true, subtree: true });
"""
# When each count of calls of one row was painted, in milliseconds of the machine's clock.
_PAINTED = """(id) => {
  const cell = document.querySelector(`[data-id="${id}"] .cell.calls`);
  window.painted = {};
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => {
    window.painted[parseInt(cell.innerText)] ??= Date.now();
  }))).observe(cell, { childList: true, characterData: true, subtree: true });
}"""
# Every file of the console that was loaded, also those that were preloaded.
_FILES = """() => performance.getEntries()
  .filter((one) => one.transferSize && one.name.startsWith(location.origin) && !one.name.includes("/api/"))
  .map((one) => [one.name.split("/").pop(), one.encodedBodySize, one.transferSize])"""
_FRAMES = """(seconds) => new Promise((done) => {
  const began = performance.now();
  let frames = 0, last = began, longest = 0;
  const next = (now) => {
    frames++;
    longest = Math.max(longest, now - last);
    last = now;
    if (now - began < seconds * 1000) requestAnimationFrame(next);
    else done([frames / ((now - began) / 1000), longest]);
  };
  requestAnimationFrame(next);
})"""


async def measure(run: Run) -> None:
    """Every row about the console; all programs on all cores, with servers of their own."""
    if not any(run.wants(f"console.{name}") for name in NAMES):
        return
    with run.on_all_cores():
        async with _console() as visitors:
            cases = ConsolePages(visitors)
            await run.each({f"console.{name}": getattr(cases, name) for name in NAMES})


@asynccontextmanager
async def _console() -> AsyncIterator[Visitors]:
    chromium = await find_or_install("chromium", "chromium", print)
    with private_stack("--services") as variables:
        async with open_world(variables) as world, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            try:
                yield Visitors(world, browser)
            finally:
                await browser.close()


class ConsolePages:
    """The cases, on one customer."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self._world: World = visitors.world

    async def weight(self) -> Sequence[Row]:
        """Everything that a browser which has nothing yet loads for a live group, in the heavier language."""
        group = await self._world.mixed()
        visitor = await self._visitors.visitor("viewer", locale="vi-VN")
        await visitor.context.add_init_script("localStorage.setItem('rotary.language', 'vi')")
        files = await _loaded(visitor, group)
        await self._visitors.close()
        heaviest = sorted(files, key=lambda file: -file[1])[:3]
        told = ", ".join(f"{name} {size / 1000:.0f}" for name, size, _ in heaviest)
        sent = sum(with_headers for _, _, with_headers in files) / 1000
        return [
            Row(
                case="console: all files of a first page, compressed",
                figure=sum(size for _, size, _ in files) / 1000,
                unit="KB",
                goal=at_most(150),
                detail=f"{len(files)} files, {sent:.0f} KB with headers; {told}",
            )
        ]

    async def first_row(self) -> Sequence[Row]:
        """From the navigation to a painted row of a live group, by a browser that has nothing yet."""
        group = await self._world.mixed()
        told = []
        for _ in range(FIRST_ROWS):
            visitor = await self._visitors.visitor("viewer")
            await visitor.context.add_init_script(_FIRST_ROW)
            page = await visitor.open(group.page)
            told.append(float(await (await page.wait_for_function("() => window.firstRow")).json_value()))
            await self._visitors.close()
        return [
            Row(
                case="console: navigation → first live row, nothing cached",
                figure=median(told),
                unit="ms",
                goal=at_most(500),
                detail=f"{len(told)} windows, {min(told):.0f} to {max(told):.0f} ms",
                samples={"ms": told},
            )
        ]

    async def event(self) -> Sequence[Row]:
        """From before an event is published to its count painted in a row."""
        group = await self._world.group("Probes", 12, daily_cap=10_000)
        visitor = await self._visitors.visitor("viewer")
        page = await visitor.open(group.page)
        await visitor.is_live()
        caller = group.callers[3]
        await page.evaluate(_PAINTED, caller)
        published: list[float] = []
        for number in range(PROBES):
            published.append(time() * 1000)
            self._world.publisher.submit(self._world.publisher.events.call_placed(caller))
            # Apart from the ten snapshots a second that a stream has at most.
            await asyncio.sleep(0.15 + 0.1 * (number % 7) / 7)
        await page.wait_for_function("(count) => window.painted[count]", arg=PROBES)
        painted: dict[str, float] = await page.evaluate("() => window.painted")
        await self._visitors.close()
        delays = [_shown_at(painted, count) - at for count, at in enumerate(published, 1)]
        detail = f"{len(delays)} events, p50 {median(delays):.0f} ms, max {max(delays):.0f} ms"
        return [
            Row(
                case="console: event published → painted: p95",
                figure=percentile(delays, 0.95),
                unit="ms",
                goal=at_most(300),
                detail=detail,
                samples={"ms": delays},
            )
        ]

    async def frames(self) -> Sequence[Row]:
        """Frames a second of a window with 1,000 members, of which 50 a second change."""
        group = await self._world.group("Frames", MEMBERS, daily_cap=10_000)
        visitor = await self._visitors.visitor("viewer", reduced_motion="no-preference")
        page = await visitor.open(group.page)
        await visitor.is_live()
        await page.get_by_role("button", name="Calls today").click()
        dialing = asyncio.create_task(self._dial(group))
        try:
            await page.wait_for_function("() => document.querySelector('.cell.calls').innerText !== '0 / 10,000'")
            rate, longest = await page.evaluate(_FRAMES, FRAMES_SECONDS)
        finally:
            dialing.cancel()
            await asyncio.gather(dialing, return_exceptions=True)
        shown = await _calls(page)
        await self._visitors.close()
        return [
            Row(
                case="console: 1,000 members, 50 changes/s, sorted by calls",
                figure=rate,
                unit="frames/s",
                goal=at_least(50),
                detail=f"the longest frame took {longest:.0f} ms; the first row shows {shown}",
            )
        ]

    async def _dial(self, group: Group) -> None:
        number = 0
        while True:
            # Two of three are calls of the first rows, so that what is seen changes.
            caller = group.callers[number * 7 % (20 if number % 3 else MEMBERS)]
            self._world.publisher.submit(self._world.publisher.events.call_placed(caller))
            number += 1
            await asyncio.sleep(1 / CHANGES_A_SECOND)


def _shown_at(painted: dict[str, float], count: int) -> float:
    """When this count, or a later one, was first painted: counts that come together are painted together."""
    return min(at for shown, at in painted.items() if int(shown) >= count)


async def _loaded(visitor: Visitor, group: Group) -> list[tuple[str, int, int]]:
    """Name, compressed bytes, and bytes with headers of each file, once the group is live and its chart drawn."""
    page = await visitor.open(group.page)
    await visitor.is_live()
    await page.wait_for_selector(".strip canvas")
    await page.wait_for_function("() => document.fonts.status === 'loaded'")
    files: list[tuple[str, int, int]] = await page.evaluate(_FILES)
    return files


async def _calls(page: Page) -> str:
    return await page.locator(".cell.calls").nth(1).inner_text()
