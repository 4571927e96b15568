"""The course in a real browser against a real server, from the first step to the last one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.browsing import DESKTOP, PHONE, Windows, photograph, ready, violations
from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.course.contents import CourseStep, OptionField, steps
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store

COMPILES_WITHIN = 90
"""Seconds; for a machine with other work. `tests/course` has the bound on the work itself."""
CHOICES: dict[str, dict[str, str]] = {
    "embedding": {"Rows of the user table (num_embeddings)": "601"},
    "factorization": {"Numbers per user and item (embedding_dim)": "64"},
    "activation": {"Activation": "gelu"},
    "item-tower": {"The item tower reads": "metadata"},
    "user-tower": {"The user tower reads": "history"},
    "negatives": {"logQ correction": "on"},
    "search": {"Filter": "inside", "ef_search (HNSW only)": "160"},
    "ranker": {"Early stopping": "on"},
    "comparison": {"Compared with": "strong"},
}
"""Step -> labels and values with which it works."""


@pytest.fixture(scope="module")
def teacher(serve: Serve) -> Server:
    """A service without keys, which trains for learners."""
    return serve(only=("one",))


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def compiled(server: Server, step: str, **values: Any) -> list[dict[str, Any]]:
    body = {"step": step, "values": values}
    with server.client.stream("POST", "/studio/api/course/compile", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events(answer))


# --- the service --------------------------------------------------------------------------------


def test_events_of_a_training_are_streamed(teacher: Server) -> None:
    found = compiled(teacher, "embedding", num_embeddings=601)
    kinds = [event["event"] for event in found]
    assert kinds == ["started", *["progress"] * 6, "result"]
    assert found[-1]["works"]
    assert found[1]["loss"] > found[-2]["loss"]


def test_a_wrong_request_is_refused(teacher: Server) -> None:
    path = "/studio/api/course/compile"
    code, message = teacher.refused("POST", path, 422, json={"step": "attention"})
    assert (code, message) == ("invalid_request", "there is no step 'attention'.")
    values = {"num_embeddings": 10**6}
    body = {"step": "embedding", "values": values}
    _, message = teacher.refused("POST", path, 422, json=body)
    assert message == "num_embeddings must be a number from 1 to 5000 (found 1000000)."
    program = {"step": "embedding", "number": 0, "values": {"rows": "8; import os"}}
    _, message = teacher.refused("POST", "/studio/api/course/run", 422, json=program)
    assert message.startswith("rows must be a number from 1 to 10000")


def test_who_closes_the_connection_cancels_the_training(teacher: Server) -> None:
    body = {"step": "activation", "values": {"activation": "gelu"}}
    with teacher.client.stream("POST", "/studio/api/course/compile", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        following = events(answer)
        next(event for event in following if event["event"] == "progress")
        with httpx.Client(base_url=teacher.client.base_url) as second:
            refused = second.post("/studio/api/course/compile", json=body)
            assert refused.status_code == 409
            assert refused.json()["error"]["message"] == "a training of yours is running"
    start = time.monotonic()
    while True:
        with teacher.client.stream(
            "POST", "/studio/api/course/run", json={"step": "embedding", "number": 1}
        ) as answer:
            if answer.status_code == 200:
                assert [event["event"] for event in events(answer)][-1] == "output"
                break
        assert time.monotonic() - start < 5
        time.sleep(0.05)


def test_the_service_answers_while_it_trains(teacher: Server) -> None:
    body = {"step": "activation", "values": {"activation": "tanh"}}
    with teacher.client.stream("POST", "/studio/api/course/compile", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        following = events(answer)
        next(event for event in following if event["event"] == "progress")
        with httpx.Client(base_url=teacher.client.base_url) as other:
            for _ in range(5):
                start = time.monotonic()
                asked = other.post("/v1/recommendations", json={"user_id": "u00007"})
                assert asked.status_code == 200
                assert time.monotonic() - start < 2
        assert [event["event"] for event in following][-1] == "result"


@pytest.mark.slow
def test_a_service_with_keys_trains_only_if_it_is_told_to(serve: Serve) -> None:
    silent, telling = serve(only=("one",)), serve("--learn", only=("one",))
    for server, enabled in ((silent, False), (telling, True)):
        store = open_store(str(server.events))
        server.client.headers["Authorization"] = f"Bearer {create_key(store, 'a', ['read'])}"
        store.close()
        assert server.get("/studio/api/course")["enabled"] is enabled
    code, message = silent.refused(
        "POST", "/studio/api/course/compile", 404, json={"step": "embedding"}
    )
    assert (code, message) == ("not_found", "this service does not train for learners")
    assert compiled(telling, "embedding")[-1]["verdict"] == "too_small"
    del telling.client.headers["Authorization"]
    telling.refused("POST", "/studio/api/course/compile", 401, json={"step": "embedding"})


def test_a_service_without_keys_trains_unless_it_is_told_not_to(serve: Serve) -> None:
    server = serve("--no-learn", only=("one",))
    assert server.get("/studio/api/course")["enabled"] is False
    server.refused("POST", "/studio/api/course/run", 404, json={"step": "embedding", "number": 0})


# --- the page -----------------------------------------------------------------------------------


def choose(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        field = page.get_by_label(label, exact=True)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def compile_here(page: Page) -> str:
    """Press Compile and wait for what came of it."""
    page.get_by_role("button", name="Compile").click()
    told = page.locator(".told")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden(timeout=1000 * COMPILES_WITHIN)
    expect(told).to_be_visible()
    return told.inner_text()


def answer_all(page: Page, step: CourseStep) -> None:
    for number, question in enumerate(step.questions, start=1):
        asked = page.get_by_role("region", name=f"Question {number}")
        wrong, right = (
            next(answer for answer in question.answers if answer.right is is_right)
            for is_right in (False, True)
        )
        for answer, mark in ((wrong, "✗"), (right, "✓")):
            if answer is wrong and number > 1:
                continue
            asked.get_by_role("button", name=answer.text.replace("`", ""), exact=True).click()
            expect(asked.get_by_role("status")).to_contain_text(mark)


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_course_from_start_to_end(
    windows: Windows, teacher: Server, size: dict[str, int], tmp_path: Path
) -> None:
    page = windows(teacher, "learn", viewport=size)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for number, step in enumerate(steps(), start=1):
        ready(page)
        expect(page.get_by_role("heading", name=step.title, exact=True)).to_be_visible()
        assert compile_here(page).startswith("Not yet.")
        choose(page, CHOICES[step.slug])
        assert compile_here(page).startswith("It works.")
        node = page.locator(f".built [data-step={step.slug}]")
        expect(node).to_have_class(re.compile(r"\blit\b"))
        expect(page.locator(".built summary")).to_contain_text(f"{number} of 9")
        answer_all(page, step)
        program = page.get_by_role("form", name=step.snippets[0].title)
        program.get_by_role("button", name="Run").click()
        expect(program.get_by_label("Output")).to_be_visible()
        assert violations(page) == []
        widest = page.evaluate("document.documentElement.scrollWidth")
        assert widest <= size["width"]
        photograph(page, tmp_path, f"{number}-{step.slug}")
        if number < len(steps()):
            page.get_by_role("navigation", name="Previous and next").get_by_role(
                "link"
            ).last.click()
    total = sum(len(step.questions) for step in steps())
    right = total - len(steps())
    expect(page.locator(".score-line")).to_contain_text(f"{right} of {total} right")
    page.reload()
    ready(page)
    expect(page.locator(".built summary")).to_contain_text("9 of 9")
    host = f"http://127.0.0.1:{teacher.port}/"
    assert [url for url in asked if not url.startswith((host, "data:", "blob:"))] == []


def test_a_step_is_taken_with_the_keyboard_alone(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/embedding")
    ready(page)

    def reach(name: str, role: Any = "button") -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            focused = page.get_by_role(role, name=name).and_(page.locator(":focus"))
            if focused.count():
                return
        raise AssertionError(f"{name} cannot be reached with the keyboard")

    reach("Rows of the user table (num_embeddings)", "spinbutton")
    page.keyboard.press("Control+a")
    page.keyboard.type("601")
    reach("Compile")
    page.keyboard.press("Enter")
    expect(page.locator(".told")).to_contain_text("It works.")
    expect(page.get_by_role("button", name="Compile")).to_be_focused()
    reach("You get an error as soon as a batch contains an id without a row.")
    page.keyboard.press("Space")
    expect(page.get_by_role("region", name="Question 1").get_by_role("status")).to_contain_text("✓")
    reach("Run")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Output").first).to_contain_text("IndexError: index out of range")


def test_a_visit_to_the_glossary_leaves_the_step_as_it_was(
    windows: Windows, teacher: Server
) -> None:
    page = windows(teacher, "learn/embedding")
    ready(page)
    assert compile_here(page).startswith("Not yet. The goal is a row for the id of every user.")
    choose(page, CHOICES["embedding"])
    told = compile_here(page)
    assert told.startswith("It works. The goal is reached: a row for the id of every")
    both = page.get_by_label("Your choices in this step").locator("tbody tr")
    expect(both).to_have_count(2)
    curves = page.locator(".course-chart").inner_text()
    asked = page.get_by_role("region", name="Question 1")
    asked.get_by_role("button", name="All ids beyond the end share the last row.").click()
    why = asked.get_by_role("status").inner_text()
    page.locator(".article .text").get_by_role("link", name="ndcg@10").click()
    ready(page)
    expect(page.get_by_role("heading", name="ndcg@k", exact=True)).to_be_visible()
    back = page.get_by_role("link", name="← Back to step 1 of the course: An id becomes a row")
    back.click()
    ready(page)
    assert page.locator(".told").inner_text() == told
    assert page.locator(".course-chart").inner_text() == curves
    expect(both).to_have_count(2)
    expect(page.get_by_label("Rows of the user table (num_embeddings)")).to_have_value("601")
    asked = page.get_by_role("region", name="Question 1")
    expect(asked.get_by_role("button", pressed=True)).to_have_text(
        "All ids beyond the end share the last row."
    )
    assert asked.get_by_role("status").inner_text() == why
    page.reload()
    ready(page)
    assert page.locator(".told").inner_text() == told


def test_a_step_points_to_its_lesson_and_the_last_one_to_what_comes_next(
    windows: Windows, teacher: Server
) -> None:
    page = windows(teacher, "learn/comparison")
    ready(page)
    end = page.get_by_role("region", name="The end of the course")
    expect(end).to_contain_text("twotower init shop --interactions YOUR.csv")
    expect(end.get_by_role("link", name="The lessons")).to_have_attribute("href", "#/lessons")
    assert violations(page) == []
    page.get_by_role("link", name="Comparing models honestly").click()
    ready(page)
    expect(page.get_by_role("heading", name="Comparing models honestly").first).to_be_visible()


def test_the_curves_have_axes(windows: Windows, teacher: Server) -> None:
    for size in (DESKTOP, PHONE):
        page = windows(teacher, "learn/embedding", viewport=size)
        ready(page)
        choose(page, CHOICES["embedding"])
        compile_here(page)
        shown = page.evaluate("JSON.parse(localStorage['twotower-course']).shown.embedding")
        plots = page.locator(".course-chart svg")
        expect(plots).to_have_count(2)
        for plot, title, name in (
            (plots.nth(0), "Loss (lower is better)", "loss"),
            (plots.nth(1), "ndcg@10 (higher is better, at most 1)", "ndcg"),
        ):
            expect(plot.locator("text").first).to_have_text(title)
            expect(plot.locator("text").last).to_have_text("epoch")
            ticks = [float(text) for text in plot.locator(".tick").all_text_contents()]
            assert 3 <= len(ticks) <= 5
            values = [point[name] for point in shown["points"]]
            # The ticks are round numbers around the values, and each point is where they say.
            assert ticks[0] <= min(values) < max(values) <= ticks[-1]
            lines = [
                float(line.get_attribute("y1") or "nan") for line in plot.locator(".base").all()
            ]
            for value, point in zip(values, plot.locator("circle").all(), strict=True):
                expected = lines[0] + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (
                    lines[-1] - lines[0]
                )
                assert float(point.get_attribute("cy") or "nan") == pytest.approx(expected, abs=0.5)
            tick = plot.locator(".tick").first.bounding_box()
            assert tick is not None
            assert tick["height"] >= 11


def kept(step: CourseStep) -> dict[str, Any]:
    """What the browser keeps of a step of which two results differ in each choice."""
    first, last = (
        {
            field.name: field.options[place].value
            if isinstance(field, OptionField)
            else int(field.maximum) + place
            for field in step.fields
        }
        for place in (0, -1)
    )
    also = {"item-tower": ("of new items", 0.1), "search": ("recall", 0.9)}.get(step.slug)
    ndcg = None if step.slug == "search" else 0.1
    params = 99_999 if step.has_parameters or step.part != "serve" else 0
    run = {"works": False, "ndcg": ndcg, "also": also}
    runs = [{**run, "choices": first, "params": 0}, {**run, "choices": last, "params": params}]
    return {"runs": runs, "event": {**run, "text": "So it is.", "figures": [], "choices": last}}


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_columns_of_the_choices_are_in_sight(
    windows: Windows, teacher: Server, size: dict[str, int]
) -> None:
    found = {step.slug: kept(step) for step in steps()}
    course = {
        "runs": {slug: one["runs"] for slug, one in found.items()},
        "shown": {slug: {"event": one["event"], "points": []} for slug, one in found.items()},
    }
    page = windows(teacher, "learn/embedding", viewport=size)
    page.evaluate("course => localStorage['twotower-course'] = JSON.stringify(course)", course)
    page.reload()
    for step in steps():
        page.goto(f"http://127.0.0.1:{teacher.port}/#/learn/{step.slug}")
        ready(page)
        expect(page.get_by_role("heading", name=step.title, exact=True)).to_be_visible()
        table = page.get_by_role("group", name="Your choices in this step")
        for field in step.fields:
            name = field.label.partition(" (")[0]
            expect(table.get_by_role("columnheader", name=name)).to_be_visible()
        widths = table.evaluate("table => [table.scrollWidth, table.clientWidth]")
        assert widths[0] <= widths[1], step.slug


def test_choices_that_are_all_the_same_have_no_column(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/embedding")
    ready(page)
    compile_here(page)
    choose(page, {"Rows of the user table (num_embeddings)": "599"})
    compile_here(page)
    table = page.get_by_role("group", name="Your choices in this step")
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "Rows of the user table",
        "goal met",
    ]


def test_what_is_built_comes_before_the_step_on_a_phone(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/embedding", viewport=PHONE)
    ready(page)
    built = page.get_by_role("region", name="What you have built")
    place, title = built.bounding_box(), page.locator(".step-title").bounding_box()
    assert place is not None
    assert title is not None
    assert place["y"] + place["height"] < title["y"] < PHONE["height"]
    expect(built.locator(".flow")).to_be_hidden()
    built.locator("summary").click()
    expect(built.locator("[data-step=embedding]")).to_be_visible()
    widths = [
        built.locator(f"[data-step={step}]").bounding_box() for step in ("embedding", "search")
    ]
    assert len({box["width"] for box in widths if box is not None}) == 1
    page.get_by_role("region", name="Question 1").get_by_role("button").first.click()
    expect(built.locator("[data-step=embedding]")).to_be_visible()
    wide = windows(teacher, "learn/embedding")
    ready(wide)
    node = {"shapes": [["scores", "(B, 100)"]], "params": 10**5}
    course = {"results": {s.slug: {"lit": True, "node": node, "choices": {}} for s in steps()}}
    wide.evaluate("course => localStorage['twotower-course'] = JSON.stringify(course)", course)
    wide.reload()
    ready(wide)
    last = wide.locator(".built [data-step=comparison]")
    wide.get_by_role("region", name="Question 2").scroll_into_view_if_needed()
    place = last.bounding_box()
    assert place is not None
    assert place["y"] + place["height"] < wide.evaluate("innerHeight")


def test_a_saved_course_has_all_that_is_done(
    windows: Windows, teacher: Server, browser: Browser, tmp_path: Path
) -> None:
    page = windows(teacher, "learn/embedding")
    ready(page)
    choose(page, CHOICES["embedding"])
    compile_here(page)
    answer_all(page, steps()[0])
    page.goto(page.url.replace("embedding", "search"))
    ready(page)
    choose(page, CHOICES["search"])
    told = compile_here(page)
    page.goto(page.url.replace("search", "ranker"))
    ready(page)
    with page.expect_download() as waited:
        page.get_by_role("button", name="Save as page").click()
    file = tmp_path / "course.html"
    waited.value.save_as(file)
    saved = browser.new_context(offline=True, java_script_enabled=False).new_page()
    saved.goto(file.as_uri())
    expect(saved.locator(".score-line")).to_contain_text(
        "2 of 9 steps finished. Questions: 1 of 19 right at the first try, 17 to go."
    )
    titles = [step.title for step in steps()]
    expect(saved.locator(".step-title")).to_have_text([titles[0], titles[6], titles[7]])
    expect(saved.locator(".built .node.lit")).to_have_count(2)
    assert told in saved.locator(".told").nth(1).inner_text()
    expect(saved.locator(".course-chart svg")).to_have_count(2)
    card, inside = (saved.locator(name).first.bounding_box() for name in (".compile", ".told"))
    assert card is not None
    assert inside is not None
    assert inside["x"] > card["x"] + 10
    first = steps()[0].questions[0]
    right = next(answer for answer in first.answers if answer.right)
    expect(saved.locator(".answer-choice.right").first).to_have_text(right.text)
    expect(saved.locator(".why").first).to_contain_text(right.why.split("`")[0])
    expect(saved.get_by_text("Not right at the first try.")).to_have_count(1)
    expect(saved.get_by_text("Not compiled yet.")).to_have_count(1)
    for snippet in (steps()[0].snippets[0], steps()[6].snippets[0]):
        expect(saved.get_by_text(snippet.see)).to_be_visible()
    photograph(saved, tmp_path, "saved-course")
    saved.context.close()


def test_the_output_of_a_program_is_explained(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/user-tower")
    ready(page)
    program = page.get_by_role("form", name=steps()[4].snippets[0].title)
    expect(program.locator(".explained")).to_have_count(0)
    program.get_by_role("button", name="Run").click()
    expect(program.locator(".explained")).to_contain_text("What you see: The newest click")
    expect(program.locator(".explained")).to_contain_text("Change the numbers: With a half-life")
    program.get_by_label("half-life in days").fill("1")
    program.get_by_role("button", name="Run").click()
    expect(program.get_by_label("Output")).to_contain_text("[0.0, 0.001, 0.999]")
    expect(program.locator(".explained")).to_contain_text("With the numbers as given: The newest")


def test_a_training_is_cancelled_on_the_page(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/activation")
    ready(page)
    page.get_by_role("button", name="Compile").click()
    expect(page.locator(".elapsed")).to_have_text(re.compile(r"^\d+ s$"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".compile").get_by_role("status")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Compile")).to_be_enabled()
    expect(page.locator(".elapsed")).to_be_empty()


def test_old_links_to_terms_lead_to_the_glossary(windows: Windows, teacher: Server) -> None:
    page = windows(teacher, "learn/hnsw")
    ready(page)
    expect(page.get_by_role("heading", name="HNSW")).to_be_visible()
    expect(page.get_by_role("link", name="Learn", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    page.get_by_role("link", name="Course").click()
    expect(page.get_by_role("heading", name="Learn by building")).to_be_visible()
