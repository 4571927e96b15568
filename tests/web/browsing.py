"""What tests of the studio share: sizes of windows, when a view is there, what axe says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

Windows = Callable[..., Page]
"""Opens a view of a server's studio: `windows(server, view, scheme=..., viewport=..., ...)`."""

expect.set_options(timeout=20_000)


def ready(page: Page) -> None:
    """Wait until a view has all that it asks for."""
    expect(page.locator("main[data-view] h1")).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def violations(page: Page) -> list[str]:
    """Rules of accessibility that a page breaks, and where."""
    return [
        f"{found['id']}: {' '.join(str(node['target']) for node in found['nodes'][:4])}"
        for found in Axe().run(page, options=RULES).response["violations"]
    ]


def photograph(page: Page, folder: Path, name: str) -> None:
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    assert file.stat().st_size > 10_000
