"""`/docs`: the page of the API in a real browser, without a request to another host."""

from __future__ import annotations

from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store


def opened(browser: Browser, base: str) -> tuple[Page, list[str], list[str]]:
    """The page with all operations, the URLs that it asked for, and what the console says."""
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: said.append(f"{line.type}: {line.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{base}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    return page, asked, said


def sent(page: Page, operation: str, body: str | None = None) -> Page:
    """Send a request from the page; its answer is in `.responses-inner`."""
    block = page.locator(f"[id$=-{operation}]")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    if body is not None:
        block.locator("textarea").first.fill(body)
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table")).to_be_visible()
    return page


def test_requests_are_sent_from_the_page_and_to_no_other_host(
    server: Server, browser: Browser
) -> None:
    base = f"http://127.0.0.1:{server.port}"
    page, asked, said = opened(browser, base)
    operations = [
        operation["operationId"]
        for path in server.get("/openapi.json")["paths"].values()
        for operation in path.values()
    ]
    expect(page.locator(".opblock")).to_have_count(len(operations))
    sent(page, "recommend", '{"user_id": "u00003", "k": 3}')
    answer = page.locator("[id$=-recommend] .live-responses-table")
    expect(answer.locator(".response .response-col_status")).to_contain_text("200")
    expect(answer).to_contain_text('"user_id": "u00003"')
    page.wait_for_load_state("networkidle")
    page.close()
    assert f"{base}/docs/swagger-ui-bundle.js" in asked
    assert [url for url in asked if not url.startswith((f"{base}/", "data:", "blob:"))] == []
    assert said == []


def test_a_key_is_sent_once_it_is_entered(serve: Serve, browser: Browser) -> None:
    server = serve("--root-path", "/recs", only=("one",))
    with closing(open_store(server.events)) as store:
        key = create_key(store, "shop", ["read"])
    # The prefix is kept by the proxy, and is a part of each address.
    page, asked, _ = opened(browser, f"http://127.0.0.1:{server.port}/recs")
    sent(page, "get_model")
    status = page.locator("[id$=-get_model] .live-responses-table .response .response-col_status")
    expect(status).to_contain_text("401")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").fill(key)
    page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").click()
    page.locator("[id$=-get_model]").get_by_role("button", name="Execute").click()
    expect(status).to_contain_text("200")
    page.close()
    assert f"http://127.0.0.1:{server.port}/recs/v1/model" in asked


@pytest.mark.parametrize("name", ["", "/swagger-ui-bundle.js", "/swagger-ui.css", "/start.js"])
def test_files_are_kept_by_the_browser_and_guarded(server: Server, name: str) -> None:
    answer = server.client.get(f"/docs{name}")
    assert answer.status_code == 200
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    again = server.client.get(f"/docs{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
