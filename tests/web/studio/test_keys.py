"""The studio of a service that wants keys: it asks, says what is wrong with a key, and keeps one no
longer than it says. A real process, a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.browsing import PHONE, Windows, photograph, ready, violations
from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.serving.store.keys import create_key, revoke_key
from twotower.serving.store.opening import open_store

READ, WRITE = "read", "write"
UNKNOWN = "Invalid API key: it has been revoked or mistyped."


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Server:
    """A service that learns of its first keys while it runs, and is ready when it wants them."""
    return serve(only=("one",))


@pytest.fixture(scope="module")
def keys(guarded: Server) -> Iterator[dict[str, str]]:
    """A key by its name; `old` is revoked."""
    with closing(open_store(guarded.events)) as store:
        made = {
            "reader": create_key(store, "reader", [READ]),
            "writer": create_key(store, "writer", [WRITE]),
            "both": create_key(store, "both", [READ, WRITE]),
            "old": create_key(store, "old", ["admin"]),
        }
        revoke_key(store, "old")
    while guarded.client.get("/v1/model").status_code != 401:
        pass
    yield made
    for key in made.values():
        assert key not in guarded.log_text()


def asked(page: Page, title: str = "This service requires an API key") -> Locator:
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_be_visible()
    return dialog


def give(dialog: Locator, key: str) -> None:
    dialog.get_by_label("API key").fill(key)
    dialog.get_by_role("button", name="Use key").click()


def entered(page: Page, key: str) -> Page:
    give(asked(page), key)
    expect(page.get_by_role("dialog")).to_have_count(0)
    ready(page)
    return page


def test_a_wrong_key_is_told_and_the_right_one_opens_all_views(
    windows: Windows, guarded: Server, keys: dict[str, str]
) -> None:
    page = windows(guarded, "try")
    dialog = asked(page)
    expect(dialog.get_by_label("API key")).to_be_focused()
    expect(dialog.get_by_role("alert")).to_have_count(0)
    for wrong in (keys["old"], keys["reader"][:-1], "of another shop", "ключ"):
        give(dialog, wrong)
        expect(dialog.get_by_role("alert")).to_have_text(UNKNOWN)
        expect(dialog.get_by_label("API key")).to_be_focused()
        expect(dialog.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    give(dialog, keys["writer"])
    expect(dialog.get_by_role("alert")).to_have_text(
        "This key only has the scope “write”, not “read”."
    )
    entered(page, f"  {keys['reader']} ")
    expect(page.locator(".answer")).to_have_count(10)
    expect(page.locator("#version")).to_have_text("120 items · 150 users")
    for view in ("Map", "Architecture", "Quality", "Learn"):
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("alert")).to_have_count(0)
        ready(page)
    expect(page.get_by_role("region", name="On this bundle")).to_contain_text("embedding table")


def test_it_is_kept_in_this_tab_and_until_it_is_forgotten(
    windows: Windows, guarded: Server, keys: dict[str, str]
) -> None:
    page = entered(windows(guarded, "learn"), keys["reader"])
    page.reload()
    ready(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    stored: dict[str, Any] = page.evaluate(
        "({ local: { ...localStorage }, session: { ...sessionStorage }, cookie: document.cookie })"
    )
    assert stored == {"local": {}, "session": {"twotower-key": keys["reader"]}, "cookie": ""}
    other = page.context.new_page()
    other.goto(page.url)
    asked(other)
    page.get_by_role("button", name="Forget the API key").click()
    asked(page)
    assert page.evaluate("sessionStorage.length") == 0


def test_who_gives_none_is_told_what_is_missing_and_can_think_again(
    windows: Windows, guarded: Server, keys: dict[str, str]
) -> None:
    page = windows(guarded, "quality")
    asked(page).get_by_role("button", name="Cancel").click()
    message = (
        "This requires an API key with the scope “read”. Enter one with the key button in the "
        "header."
    )
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Enter an API key").click()
    entered(page, keys["reader"])
    expect(page.locator(".tile").first).to_be_visible()


def test_a_click_asks_for_a_key_that_may_write(
    windows: Windows, guarded: Server, keys: dict[str, str]
) -> None:
    page = entered(windows(guarded, "try/u00005"), keys["reader"])
    first = page.locator(".answer .pick").first
    first.click()
    dialog = asked(page, "This requires a key with the scope “write”")
    give(dialog, keys["reader"])
    expect(dialog.get_by_role("alert")).to_have_text(
        "This key only has the scope “read”, not “write”."
    )
    page.keyboard.press("Escape")
    expect(page.locator(".status")).to_contain_text(
        "This requires an API key with the scope “write”."
    )
    first.click()
    give(asked(page, "This requires a key with the scope “write”"), keys["both"])
    expect(page.locator(".status")).to_contain_text("is now in the history.")
    expect(page.locator(".history .row.live")).to_have_count(1)


def test_a_key_that_is_revoked_meanwhile_is_asked_for_again(
    windows: Windows, guarded: Server, keys: dict[str, str], complaints: list[str]
) -> None:
    with closing(open_store(guarded.events)) as store:
        passing = create_key(store, "passing", [READ])
    page = windows(guarded, "learn")
    dialog = asked(page)
    while dialog.count():  # a worker looks for new keys once a second
        give(dialog, passing)
        page.wait_for_timeout(300)
    ready(page)
    with closing(open_store(guarded.events)) as store:
        revoke_key(store, "passing")
    with page.expect_response(lambda answer: answer.status == 401):
        page.wait_for_timeout(1200)
        page.get_by_role("link", name="Map", exact=True).click()
    entered(page, keys["reader"])
    expect(page.locator(".legend .key").first).to_be_visible()
    # The browser itself says so of each request that is refused.
    refused = "error: Failed to load resource: the server responded with a status of 401"
    assert complaints == [f"{refused} (Unauthorized)"]
    complaints.clear()


def test_the_dialog_goes_by_keyboard_alone(
    windows: Windows, guarded: Server, keys: dict[str, str]
) -> None:
    page = windows(guarded, "try")
    asked(page)
    focused = "document.activeElement.id || document.activeElement.textContent"
    walked = []
    for _ in range(4):
        walked.append(page.evaluate(focused))
        page.keyboard.press("Tab")
    assert walked[:3] == ["key", "Cancel", "Use key"]
    page.get_by_label("API key", exact=True).focus()
    page.keyboard.type("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(UNKNOWN)
    # What was typed is selected, and is typed over.
    page.keyboard.type(keys["reader"])
    page.keyboard.press("Enter")
    ready(page)
    expect(page.locator(".answer")).to_have_count(10)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing_in_the_dialog(
    windows: Windows,
    guarded: Server,
    keys: dict[str, str],
    scheme: str,
    size: str,
    tmp_path: Path,
) -> None:
    more: dict[str, Any] = {"viewport": PHONE} if size == "phone" else {}
    page = windows(guarded, "try", scheme=scheme, bypass_csp=True, **more)
    dialog = asked(page)
    assert violations(page) == []
    give(dialog, keys["old"])
    expect(dialog.get_by_role("alert")).to_be_visible()
    assert violations(page) == []
    photograph(page, tmp_path, f"key-{size}-{scheme}")
    if size == "phone":
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_what_a_key_may_do_is_told_and_nothing_refused(
    guarded: Server, keys: dict[str, str]
) -> None:
    def access(key: str | None) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return guarded.ask("GET", "/studio/api/access", 200, headers=headers)

    assert access(None) == {"needed": True, "scopes": []}
    assert access(keys["old"]) == {"needed": True, "scopes": []}
    assert access(keys["both"]) == {"needed": True, "scopes": ["read", "write"]}
