"""Lessons in the studio, and views saved as files: a real browser on a page of a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, Download, Page, expect

from tests.web.browsing import PHONE, Windows, photograph, ready, violations
from tests.web.server import Server
from twotower.course.contents import steps
from twotower.lessons.notebooks import notebook
from twotower.lessons.texts import SNIPPET, lessons

VIEWS = {
    "try/u00007": "recommendations",
    "map": "map",
    "architecture": "architecture",
    "quality": "quality",
    "learn": "course",
}
"""View -> the name of its files."""


def opened(windows: Windows, server: Server, view: str, **more: Any) -> Page:
    page = windows(server, view, **more)
    ready(page)
    return page


def downloaded(page: Page, button: str) -> Download:
    with page.expect_download() as waited:
        page.get_by_role("button", name=button).click()
    expect(page.get_by_role("group", name="Share").get_by_role("status")).to_have_text("Saved.")
    return waited.value


def content_of(download: Download) -> str:
    return Path(download.path()).read_text(encoding="utf-8")


def test_a_lesson_has_formulas_plots_programs_and_figures_of_this_bundle(
    windows: Windows, server: Server, tmp_path: Path
) -> None:
    page = opened(windows, server, "lessons")
    expect(page.get_by_role("heading", name=lessons()[0].title)).to_be_visible()
    page.get_by_role("navigation", name="Lessons").get_by_role("link", name="logQ").click()
    expect(page.get_by_role("heading", name=lessons()[2].title)).to_be_visible()
    ready(page)
    formula = page.locator("math[display=block]").first
    expect(formula.locator("mfrac")).to_have_count(1)
    box = formula.bounding_box()
    assert box is not None
    assert box["height"] > 30  # a fraction and not a line of text
    plot = page.locator("article img").first
    assert plot.evaluate("image => image.naturalWidth") > 300
    here = page.get_by_role("region", name="On this bundle")
    expect(here.locator(".bar-row").first).to_be_visible()
    expect(page.get_by_role("group", name="Program 1", exact=True)).to_contain_text("import")
    expect(page.get_by_role("group", name="Output of program 2")).to_contain_text("% of all rows")
    photograph(page, tmp_path, "lesson")


def test_a_solution_is_opened_and_a_program_copied_by_keyboard(
    windows: Windows, server: Server
) -> None:
    page = opened(
        windows,
        server,
        f"lessons/{lessons()[1].slug}",
        permissions=["clipboard-read", "clipboard-write"],
    )
    solution = page.locator("details").first
    inside = solution.get_by_text("Every lookup succeeds")
    expect(inside).to_be_hidden()
    solution.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(inside).to_be_visible()
    copy = page.get_by_role("button", name="Copy program 1", exact=True)
    copy.focus()
    page.keyboard.press("Enter")
    expect(copy).to_have_text("Copied")
    assert str(page.evaluate("navigator.clipboard.readText()")).startswith("import torch\n")


def test_lessons_are_turned_at_their_end(windows: Windows, server: Server) -> None:
    page = opened(windows, server, f"lessons/{lessons()[-1].slug}")
    around = page.get_by_role("navigation", name="Previous and next lesson")
    expect(around.get_by_role("link")).to_have_count(1)
    around.get_by_role("link").click()
    expect(page.get_by_role("heading", name=lessons()[-2].title)).to_be_visible()
    expect(page.get_by_role("heading", name="Lessons", level=1)).to_be_focused()


def test_a_lesson_opens_as_a_notebook(windows: Windows, server: Server) -> None:
    lesson = lessons()[5]
    page = opened(windows, server, f"lessons/{lesson.slug}")
    found = downloaded(page, "Open as notebook")
    assert found.suggested_filename == f"{lesson.slug}.ipynb"
    assert content_of(found) == notebook(lesson.text)
    assert server.client.get("/studio/api/lessons/none").status_code == 404


def test_programs_are_as_wide_as_the_page_on_a_phone(windows: Windows, server: Server) -> None:
    page = windows(server, "learn", viewport=PHONE)
    for step in steps():
        page.goto(f"http://127.0.0.1:{server.port}/#/learn/{step.slug}")
        for snippet in step.snippets:
            program = page.get_by_role("form", name=snippet.title).locator("pre")
            expect(program).to_be_visible()
            assert program.text_content() == snippet.filled({}).strip()
            assert program.evaluate("pre => pre.scrollWidth <= pre.clientWidth"), snippet.title
    for lesson in lessons():
        page.goto(f"http://127.0.0.1:{server.port}/#/lessons/{lesson.slug}")
        expect(page.get_by_role("heading", name=lesson.title)).to_be_visible()
        programs = page.locator("article pre:not(.printed)").all()
        assert [program.text_content() for program in programs] == [
            found["code"] for found in SNIPPET.finditer(lesson.text)
        ]
        for program in programs:
            assert program.evaluate("pre => pre.scrollWidth <= pre.clientWidth"), lesson.slug


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing_in_lessons(
    windows: Windows, server: Server, scheme: str, size: str, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"viewport": PHONE, "is_mobile": True} if size == "phone" else {}
    page = opened(windows, server, "lessons", scheme=scheme, bypass_csp=True, **more)
    for lesson in (lessons()[0], lessons()[6]):
        page.goto(page.url.split("#")[0] + f"#/lessons/{lesson.slug}")
        expect(page.get_by_role("heading", name=lesson.title)).to_be_visible()
        ready(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert violations(page) == []
        if size == "phone":
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    photograph(page, tmp_path, f"lesson-{size}-{scheme}")


# --- share --------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [*VIEWS, "lessons"])
def test_a_view_becomes_a_page_that_needs_nothing_else(
    windows: Windows, server: Server, browser: Browser, view: str, tmp_path: Path
) -> None:
    page = opened(windows, server, view)
    found = downloaded(page, "Save as page")
    name = {"lessons": lessons()[0].slug, **VIEWS}[view]
    assert found.suggested_filename == f"{name}.html"
    file = tmp_path / "saved.html"
    found.save_as(file)
    said: list[str] = []
    saved = browser.new_context(offline=True, java_script_enabled=False).new_page()
    saved.on("console", lambda message: said.append(message.text))
    saved.on("request", lambda request: said.append(request.url[:60]))
    saved.goto(file.as_uri())
    expect(saved.get_by_role("heading", level=1)).to_have_text(
        page.get_by_role("heading", level=1).inner_text()
    )
    assert [text for text in said if not text.startswith(("file:", "data:"))] == []
    assert (
        saved.get_by_role("button").count() == saved.locator("select, input, script").count() == 0
    )
    expect(saved.get_by_text("Saved from the twotower studio on")).to_be_visible()
    if view.startswith("try"):
        titles = page.locator(".answer .title").all_inner_texts()
        expect(saved.locator(".answer .title")).to_have_text(
            [title.split(":")[-1].strip() for title in titles]
        )
    if view == "map":
        assert saved.locator(".plot img").evaluate("image => image.naturalWidth") > 400
        expect(saved.get_by_text("Nothing selected")).to_have_count(0)
    if view == "learn":
        expect(saved.get_by_text("Step 1 of 9")).to_be_visible()
        expect(saved.locator(".contents li")).to_have_count(9)
    if view == "architecture":
        expect(saved.locator(".drawing path")).to_have_count(page.locator(".drawing path").count())
    photograph(saved, tmp_path, "saved")
    saved.set_viewport_size(cast(Any, PHONE))
    assert saved.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    saved.context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_becomes_a_notebook(windows: Windows, server: Server, view: str) -> None:
    page = opened(windows, server, view)
    found = downloaded(page, "Open as notebook")
    assert found.suggested_filename == f"{VIEWS[view]}.ipynb"
    made = json.loads(content_of(found))
    code = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    assert 3 <= len(code) <= 5
    if view == "learn":
        assert code[0].startswith("from twotower.course.notebooks import compile_step\n")
    if view.startswith("try"):
        shown = [card.get_attribute("data-item") for card in page.locator(".answer").all()]
        assert re.findall(r'\{"item_id": "(\w+)", "name": "[^"]+", "score"', code[0]) == shown


def test_text_of_others_does_not_become_a_program_of_a_notebook(server: Server) -> None:
    bad = "`\n\n```python\nraise SystemExit\n```\n\n<details>"
    server.put("/v1/items", {"items": [{"item_id": "bad", "columns": {"title": bad}}]})
    try:
        body = {"user_id": bad, "k": 100}
        made = server.client.post("/studio/api/share/answer", json=body).json()
        cells = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
        assert len(cells) == 3
        assert not any("\nraise SystemExit\n" in "".join(cell["source"]) for cell in cells)
    finally:
        server.client.delete("/v1/items/bad")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("view", ["answer", "map", "architecture", "quality"])
def test_a_shared_notebook_runs(server: Server, view: str, tmp_path: Path) -> None:
    from tests.lessons.test_notebooks import execute

    if view == "answer":
        text = server.client.post("/studio/api/share/answer", json={"user_id": "u00007"}).text
    else:
        text = server.client.get(f"/studio/api/share/{view}").text
    outputs = execute(text, tmp_path)
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    if view == "answer":
        answer = server.recommend("u00007", k=10)
        for item in answer["items"]:
            assert f"{item['scores']['retrieve']:8.3f}" in printed
    if view == "quality":
        assert "Measured on " in printed
        assert "No comparison was made" in printed
    if view != "architecture":
        assert any("image/png" in o.data for o in outputs if o.output_type == "display_data")
