"""The studio in a real browser against a real server: each view used, by mouse and by keyboard, in
light and dark, on a desktop and on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.browsing import PHONE, Windows, photograph, ready, violations
from tests.web.server import Server
from twotower.web.routes.base import ScopedRoute
from twotower.web.studio.lessons import lesson_routes
from twotower.web.studio.pages import FOLDER
from twotower.web.studio.routes import glossary_routes, item_routes, model_routes
from twotower.web.studio.share import share_routes

VIEWS = {
    "try": "Try it",
    "map": "Map",
    "architecture": "Architecture",
    "quality": "Quality",
    "learn": "Learn",
    "glossary": "Learn",
    "lessons": "Learn",
}
LAYOUTS = ("components", "neighbours")
Open = Callable[..., Page]
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}
"""Names that look like addresses; nothing is fetched from there."""


@pytest.fixture
def open_page(windows: Windows, server: Server) -> Open:
    """Opens a view in a window of its own."""

    def opened(view: str = "try", **more: Any) -> Page:
        page = windows(server, view, **more)
        ready(page)
        return page

    return opened


def answered(page: Page) -> list[str | None]:
    """Item ids of the recommendations, best first."""
    expect(page.locator(".answers")).to_have_attribute("aria-busy", "false")
    return [card.get_attribute("data-item") for card in page.locator(".answer").all()]


def asked_again(page: Page) -> AbstractContextManager[Any]:
    """Waits, at its end, for an answer that was asked for inside it."""
    return page.expect_response("**/v1/recommendations")


def suggestions(page: Page) -> Locator:
    return page.get_by_role("listbox").get_by_role("option")


def covers_of(page: Page) -> Locator:
    return page.locator(".answer .cover svg")


# --- try it -------------------------------------------------------------------------------------


def test_a_click_is_an_event_and_changes_the_answer(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    page = open_page("try/u00007")
    before = answered(page)
    assert len(before) == 10
    assert before == ids_of(server, "u00007")
    title = page.locator(".answer .title").first.inner_text().split(":")[-1].strip()
    events = len(server.get("/v1/users/u00007")["history"])

    page.locator(".answer .pick").first.click()
    expect(page.locator(".status")).to_contain_text(f"{title} is now in the history.")
    expect(page.locator(".status")).to_contain_text(re.compile(r"\d+ new items?, \d+ moved"))
    after = answered(page)
    assert before[0] not in after
    assert after != before[1:]
    assert after == ids_of(server, "u00007")
    history = server.get("/v1/users/u00007")["history"]
    assert (len(history), history[-1]["item_id"], history[-1]["live"]) == (
        events + 1,
        before[0],
        True,
    )
    expect(page.locator(".history .row.live")).to_have_count(1)
    expect(page.locator(".answer .moved").first).to_be_visible()
    expect(page.locator(".status")).to_contain_text(
        re.compile(r"The query vector turned by [\d.]+°")
    )
    photograph(page, tmp_path, "try")


def ids_of(server: Server, user_id: str, **fields: Any) -> list[str]:
    return [item["item_id"] for item in server.recommend(user_id, k=10, **fields)["items"]]


@pytest.mark.parametrize("fragment", ["#quality", "#/nowhere"])
def test_an_address_that_names_no_view_opens_the_first(open_page: Open, fragment: str) -> None:
    page = open_page("map")
    address = page.url.split("#")[0] + fragment
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_role("link", name="Try it")).to_have_attribute("aria-current", "page")


def test_a_user_is_found_by_typing(open_page: Open) -> None:
    page = open_page("try")
    find = page.get_by_role("combobox", name="Find a user")
    find.fill("u0001")
    suggestions(page).filter(has_text="u00012").click()
    expect(page.get_by_role("heading", name="For u00012")).to_be_visible()


def test_a_user_is_invented_by_features_and_clicks(open_page: Open, tmp_path: Path) -> None:
    page = open_page("try")
    page.get_by_role("button", name="Custom user").click()
    expect(page.get_by_text("path: popular")).to_be_visible()
    popular = answered(page)
    page.get_by_label("region").select_option(label="north")
    expect(page.get_by_text("path: features")).to_be_visible()
    assert answered(page) != popular
    page.locator(".answer .pick").nth(2).click()
    expect(page.get_by_text("path: history")).to_be_visible()
    expect(page.locator(".history .row")).to_have_count(1)
    page.get_by_role("combobox", name="Add an item").fill("the")
    suggestions(page).first.click()
    expect(page.locator(".history .row")).to_have_count(2)
    page.get_by_role("button", name=re.compile("^Remove ")).first.click()
    expect(page.locator(".history .row")).to_have_count(1)
    photograph(page, tmp_path, "invented")


def test_suggested_items_are_chips_of_one_line(open_page: Open) -> None:
    page = open_page("try")
    page.get_by_role("button", name="Custom user").click()
    chips = page.get_by_role("group", name="Popular items").get_by_role("button")
    expect(chips).to_have_count(6)
    for chip in chips.all():
        box, sign = chip.bounding_box(), chip.locator("svg").bounding_box()
        assert box is not None
        assert sign is not None
        assert box["height"] < 36
        assert sign["width"] <= 16
    chips.first.click()
    expect(page.locator(".history .row")).to_have_count(1)


def test_a_number_can_be_unknown_again(open_page: Open) -> None:
    page = open_page("try")
    page.get_by_role("button", name="Custom user").click()
    expect(page.get_by_text("path: popular")).to_be_visible()
    page.get_by_label("age", exact=True).fill("40")
    expect(page.get_by_text("path: features")).to_be_visible()
    expect(page.locator(".answer .reason").first).to_have_text("Matches your age")
    page.get_by_role("button", name="Clear age").click()
    expect(page.get_by_text("path: popular")).to_be_visible()
    expect(page.get_by_label("age", exact=True)).to_be_focused()
    expect(page.get_by_role("button", name="Clear age")).to_be_hidden()


def test_of_an_unknown_user_the_page_says_one_thing(open_page: Open) -> None:
    page = open_page("try/nobody")
    expect(page.get_by_text("path: popular")).to_be_visible()
    expect(page.get_by_text("live: new events change the answer")).to_be_visible()
    expect(page.get_by_role("region", name="User")).to_contain_text(
        "Nothing is known about this user: popular items are recommended until the first event."
    )
    history = page.get_by_role("region", name="History")
    expect(history).to_have_text("HistoryNo events yet. Click a recommendation.")
    page.locator(".answer .pick").first.click()
    expect(page.get_by_text("path: history")).to_be_visible()
    expect(history).to_contain_text("The query tower reads the latest 1")
    expect(page.get_by_role("region", name="User")).not_to_contain_text("Nothing is known")


def test_the_query_vector_is_inside_its_panel(open_page: Open, server: Server) -> None:
    page = open_page("try/u00040")
    points = server.get("/studio/api/map")
    place = server.post("/studio/api/vector", {"user_id": "u00040"})["place"]
    xs, ys = [*points["x"], place[0]], [*points["y"], place[1]]
    box = page.locator(".mini canvas").bounding_box()
    assert box is not None
    unit = 0.86 * min(box["width"] / (max(xs) - min(xs)), box["height"] / (max(ys) - min(ys)))
    left = box["width"] / 2 + (place[0] - (max(xs) + min(xs)) / 2) * unit
    top = box["height"] / 2 - (place[1] - (max(ys) + min(ys)) / 2) * unit
    # The diamond is there, in the colour of the query side.
    found = page.locator(".mini canvas").evaluate(
        """(canvas, [left, top]) => {
            const ratio = canvas.width / canvas.clientWidth;
            const { data } = canvas.getContext("2d").getImageData(left * ratio, top * ratio, 1, 1);
            return [...data.slice(0, 3)];
        }""",
        [left, top],
    )
    assert found == [0x4C, 0x43, 0xC6]


def test_the_invented_user_is_on_the_map(open_page: Open) -> None:
    page = open_page("try")
    page.get_by_role("button", name="Custom user").click()
    page.get_by_label("region").select_option(label="west")
    expect(page.get_by_text("path: features")).to_be_visible()
    page.get_by_role("link", name="Show on map").click()
    expect(page.locator("aside h2")).to_have_text("Custom user")
    expect(page.locator("aside .facts")).to_contain_text("west")
    expect(page.locator("aside .list button")).to_have_count(12)


def test_the_vector_is_the_services_own(server: Server) -> None:
    known = server.post("/studio/api/vector", {"user_id": "u00003"})["vector"]
    assert known == pytest.approx(server.get("/v1/users/u00003")["vector"], abs=1e-6)
    assert server.post("/studio/api/vector", {"user": {}}) == {
        "vector": None,
        "place": None,
    }
    invented = {"user": {"region": "west"}, "history": ["i00003"]}
    assert len(server.post("/studio/api/vector", invented)["vector"]) == 16


def test_filters_keep_the_list_full(open_page: Open, server: Server) -> None:
    page = open_page("try/u00009")
    page.get_by_text("Filters", exact=True).click()
    with asked_again(page):
        page.get_by_role("button", name="comedy", exact=True).click()
    expect(page.get_by_text("Filters (1)")).to_be_visible()
    comedy = {"column": "genres", "in": ["comedy"]}
    assert answered(page) == ids_of(server, "u00009", filter=comedy)
    for tags in page.locator(".answer .tag").all_inner_texts():
        assert "comedy" in tags
    page.get_by_label("price, at most").fill("0")
    expect(page.get_by_role("heading", name="No matching items")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator(".answer")).to_have_count(10)


def test_the_slider_asks_for_diversity(open_page: Open, server: Server) -> None:
    page = open_page("try/u00011")
    best = answered(page)
    page.get_by_label("Relevance or diversity").fill("0.8")
    diverse = ids_of(server, "u00011", diversity=0.8)
    assert diverse != best
    expect(page.locator(".answer").last).to_have_attribute("data-item", diverse[-1])
    assert answered(page) == diverse


def test_covers_are_drawn_from_the_place_on_the_map(open_page: Open) -> None:
    page = open_page("try")
    assert covers_of(page).count() == 10
    fills = (
        covers_of(page)
        .locator("rect")
        .evaluate_all("all => all.map((one) => one.getAttribute('fill'))")
    )
    assert all(str(fill).startswith("oklch(") for fill in fills)
    assert len(set(fills)) > 1


# --- the other views ----------------------------------------------------------------------------


def test_the_map_shows_items_and_a_user(open_page: Open, tmp_path: Path) -> None:
    page = open_page("map")
    expect(page.locator(".legend .key").first).to_be_visible()
    find = page.get_by_role("combobox", name="Find an item")
    find.fill("river")
    find.press("ArrowDown")
    find.press("Enter")
    expect(page.locator("aside h2")).to_contain_text("River")
    expect(page.locator("aside .list button")).to_have_count(10)
    page.locator("aside .list button").first.click()
    expect(page.locator("aside h3")).to_have_text("Similar items")
    page.get_by_label("Colour by").select_option("price")
    expect(page.locator(".legend .ramp")).to_be_visible()
    person = page.get_by_role("combobox", name="Show a user")
    person.fill("u00003")
    person.press("Enter")
    expect(page.locator("aside h2")).to_have_text("User u00003")
    before = page.locator("canvas").screenshot()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(100)
    assert page.locator("canvas").screenshot() != before
    photograph(page, tmp_path, "map")


def test_the_map_says_what_it_keeps_and_draws_true_neighbours(
    open_page: Open, server: Server
) -> None:
    page = open_page("map")
    lead = page.locator(".head p")
    kept = {name: server.get("/studio/api/map", layout=name)["kept"] for name in LAYOUTS}
    assert kept["neighbours"] > kept["components"]
    expect(lead).to_contain_text("placed by the two principal components of their vectors")
    said = "Of the 10 items most similar to an item, {:.1%} are among the 10 nearest to it"
    expect(lead).to_contain_text(said.format(kept["components"]))
    by_chance = 10 / (len(server.get("/studio/api/map", layout="components")["item_id"]) - 1)
    expect(lead).to_contain_text(f"on this map; by chance, {by_chance:.2%} would be.")
    page.get_by_role("combobox", name="Find an item").fill("river")
    page.keyboard.press("Enter")
    side = page.locator("aside")
    near = re.compile(r"Lines lead to them; \d+ of the 10 are among the 10 nearest points\.")
    expect(side).to_contain_text(near)
    chosen = side.locator("h2").inner_text()
    page.get_by_label("Layout").select_option("neighbours")
    expect(lead).to_contain_text("placed by t-SNE, which keeps similar items together")
    expect(lead).to_contain_text(said.format(kept["neighbours"]))
    # The selection stays, and its lines are drawn anew.
    expect(side.locator("h2")).to_have_text(chosen)
    expect(side).to_contain_text(near)
    page.get_by_role("combobox", name="Show a user").fill("u00003")
    page.keyboard.press("Enter")
    expect(side).to_contain_text("in the middle of the items most similar to the query vector")


def test_without_the_extra_the_map_says_how_to_keep_more(open_page: Open, server: Server) -> None:
    page = open_page("learn")
    plain = {**server.get("/studio/api/map"), "can_arrange": False}
    page.route("**/studio/api/map?*", lambda route: route.fulfill(json=plain))
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator(".head p")).to_contain_text(
        'With pip install "twotower[map]" on the server, a layout by t-SNE keeps more.'
    )
    expect(page.get_by_label("Layout")).to_have_count(0)


def test_a_point_of_the_map_can_be_clicked(open_page: Open, server: Server) -> None:
    page = open_page("map")
    points = server.get("/studio/api/map")
    box = page.locator("canvas").bounding_box()
    assert box is not None
    x, y = points["x"], points["y"]
    unit = 0.86 * min(box["width"] / (max(x) - min(x)), box["height"] / (max(y) - min(y)))
    far = x.index(max(x))
    page.mouse.click(
        box["x"] + box["width"] / 2 + (x[far] - (max(x) + min(x)) / 2) * unit,
        box["y"] + box["height"] / 2 - (y[far] - (max(y) + min(y)) / 2) * unit,
    )
    expect(page.locator("aside h2")).to_have_text(points["name"][far])


def test_a_batch_lights_the_architecture_in_order(open_page: Open, tmp_path: Path) -> None:
    page = open_page("architecture")
    there = page.locator(".node:not(.lacking)")
    assert page.locator(".node.lit").count() == 0
    expect(page.get_by_role("button", name="query vector (B, 16)")).to_be_visible()
    page.get_by_role("button", name="Trace a batch").click()
    expect(page.locator(".play [role=status]")).to_contain_text("32 users and 32 items in")
    expect(page.locator(".node.lit")).to_have_count(there.count())
    page.get_by_role("button", name="query vector (32, 16)").click()
    expect(page.locator("aside h2")).to_have_text("query vector")
    page.get_by_role("button", name=re.compile(r"^history \(32, 16\)")).click()
    expect(page.locator("aside .steps li").last).to_contain_text("HistoryEncoder")
    page.get_by_role("button", name="+ text").click()
    expect(page.locator("aside pre")).to_contain_text('type = "text"')
    photograph(page, tmp_path, "architecture")


def test_no_line_looks_like_one_that_is_missing_or_runs_behind_a_feature(open_page: Open) -> None:
    page = open_page("architecture")
    lines = page.locator(".drawing > svg path")
    assert lines.count() > 10
    dashes = lines.evaluate_all("all => all.map((one) => getComputedStyle(one).strokeDasharray)")
    assert set(dashes) == {"none"}
    borders = page.locator(".node:not(.lacking)").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).borderTopStyle)"
    )
    assert set(borders) == {"solid"}
    # No point of a line lies behind a feature, nor behind a box that the line does not end at.
    behind = page.evaluate(
        """() => {
            const frame = document.querySelector(".drawing").getBoundingClientRect();
            const boxes = [...document.querySelectorAll(".node.narrow:not(.lacking)")]
                .map((node) => [node.textContent, node.getBoundingClientRect()]);
            const found = [];
            for (const path of document.querySelectorAll(".drawing > svg path")) {
                for (let part = 0; part <= path.getTotalLength(); part += 2) {
                    const at = path.getPointAtLength(part);
                    const [x, y] = [at.x + frame.left, at.y + frame.top];
                    for (const [name, box] of boxes) {
                        const inside = x > box.left + 2 && x < box.right - 2;
                        if (inside && y > box.top + 2 && y < box.bottom - 2) found.push(name);
                    }
                }
            }
            return found;
        }"""
    )
    assert behind == []


def test_what_stands_beside_the_towers_is_shown_with_its_weights(
    open_page: Open, server: Server
) -> None:
    page = open_page("architecture")
    shares = server.get("/studio/api/quality")["blend"]["shares"]
    page.get_by_role("button", name=re.compile("^blend")).click()
    selected = page.locator("aside")
    expect(selected).to_contain_text(f"share of towers{shares['towers']:.0%}")
    page.get_by_role("button", name="Trace a batch").click()
    expect(page.locator(".play [role=status]")).to_contain_text("32 users and 32 items in")
    expect(page.get_by_role("button", name=re.compile(r"^blend \(32, 10\)"))).to_have_class(
        re.compile("lit")
    )


def test_the_batch_runs_step_by_step_where_motion_is_welcome(open_page: Open) -> None:
    page = open_page("architecture", reduced_motion="no-preference")
    page.get_by_role("button", name="Trace a batch").click()
    expect(page.locator(".node.now")).to_have_count(1)
    assert page.locator(".node.lit").count() < page.locator(".node:not(.lacking)").count()


def test_quality_shows_the_measured_and_the_live(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    server.recommend("u00001")
    page = open_page("quality")
    metrics = server.get("/v1/model")["metrics"]
    figure = f"{metrics['metrics']['ndcg@10']:.4f}"
    blend = page.get_by_role("region", name="Blend")
    expect(blend).to_contain_text("these figures differ from the ndcg@10 at the top of this page")
    expect(page.get_by_role("region", name="Training")).to_contain_text(
        "It is measured with the towers alone, on other rows than the test part."
    )
    # There is nothing to compare where the index is exact.
    assert "against exact search" not in page.locator("main").inner_text()
    expect(page.locator(".tile", has_text="ndcg@10")).to_contain_text(figure)
    for name in ("warm", "cold user", "cold item"):
        expect(page.get_by_role("rowheader", name=name, exact=True)).to_be_visible()
    live = page.get_by_role("region", name="Live latency")
    expect(live.get_by_role("rowheader").filter(has_text="/v1/recommendations")).to_be_visible()
    photograph(page, tmp_path, "quality")


def test_quantiles_are_read_from_the_buckets(open_page: Open) -> None:
    page = open_page("learn")
    text = "\n".join(
        [
            "# TYPE twotower_stage_seconds histogram",
            'twotower_stage_seconds_bucket{stage="rank",le="0.001"} 50',
            'twotower_stage_seconds_bucket{stage="rank",le="0.002"} 90',
            'twotower_stage_seconds_bucket{stage="rank",le="+Inf"} 100',
            'twotower_stage_seconds_bucket{stage="none",le="+Inf"} 0',
            'twotower_answers_total{path="known",variant=""} 7',
        ]
    )
    found = page.evaluate(
        """async (text) => {
            const { histograms, parse } = await import("/studio/static/quality/prometheus.js");
            return histograms(parse(text)).map((one) =>
                [one.name, one.labels.stage, one.count, ...[0.25, 0.7, 0.99].map(one.quantile)]);
        }""",
        text,
    )
    assert found == [["twotower_stage", "rank", 100, 0.0005, pytest.approx(0.0015), 0.002]]


def compared(name: str, mean: float, test: dict[str, Any] | None) -> dict[str, Any]:
    """A model as `twotower compare` describes it."""
    figure = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "num_queries": 50}
    return {
        "name": name,
        "title": name.replace("_", " "),
        "about": "",
        "metrics": {"ndcg@10": figure, "recall@10": figure},
        "slices": {"warm": {"ndcg@10": {**figure, "mean": mean + 0.01}}},
        "buckets": [figure],
        "tests": {} if test is None else {"all": test},
        "train_seconds": 2.5,
        "memory_mb": 12.0,
        "milliseconds": {"p50": 0.5 + mean},
    }


def test_a_comparison_beside_the_bundle_is_drawn(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    test = {"difference": 0.05, "p_holm": 0.0002, "significant": True}
    document = {
        "verdict": "two-tower wins.",
        "metric": "ndcg@10",
        "k": 10,
        "level": 0.95,
        "num_queries": 50,
        "reference": "popularity",
        "buckets": [{"fewest": 3, "most": 9}],
        "models": [compared("two_tower", 0.2, test), compared("popularity", 0.1, None)],
        "failed": [{"title": "EASE", "reason": "no memory"}],
    }
    file = server.source / "comparison.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    try:
        page = open_page("quality")
        expect(page.get_by_text("two-tower wins.")).to_be_visible()
        expect(page.locator(".intervals .number").first).to_contain_text("0.2000")
        page.get_by_label("Show").select_option(label="ndcg@10, warm")
        expect(page.locator(".intervals .number").first).to_contain_text("0.2100")
        page.get_by_label("Show").select_option(label="recall@10, items with 3 to 9 interactions")
        figures = page.get_by_role("group", name="Table of models")
        expect(figures).to_contain_text("+0.0500")
        expect(figures).to_contain_text("< 0.001")
        expect(page.get_by_text("EASE failed: no memory")).to_be_visible()
        page.locator(".intervals").scroll_into_view_if_needed()
        photograph(page, tmp_path, "compared")
    finally:
        file.unlink()


STAGES = {
    "k": 10,
    "num_candidates": 200,
    "num_queries": 140,
    "retrieve": {"ndcg@10": 0.1},
    "pipeline": {"ndcg@10": 0.13},
    "ceiling": {"recall@200": 0.8, "ndcg@10": 0.7},
    "lift": {"ndcg@10": 0.03, "interval": [0.01, 0.05], "p_value": 0.004},
    "calibration": {
        "expected_calibration_error": 0.01,
        "brier_score": 0.02,
        "reliability": {"predicted": [0.01, 0.1], "observed": [0.02, 0.12]},
    },
    "milliseconds": {"retrieve": 0.2, "rank": 1.5},
}
LIFT = "The ranker changes ndcg@10 by 0.0300 (0.0100 to 0.0500; p = 0.004)."


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_ranker_brings_is_drawn(open_page: Open, server: Server, kept: bool) -> None:
    told = {
        **server.get("/studio/api/quality"),
        "has_ranker": True,
        "stages": STAGES if kept else None,
        "forgotten": 0 if kept else 2,
    }
    again = {**STAGES, "num_queries": 150}
    page = open_page("learn")
    page.route("**/studio/api/quality", lambda route: route.fulfill(json=told))
    page.route("**/studio/api/stages", lambda route: route.fulfill(json=again))
    page.get_by_role("link", name="Quality").click()
    stages = page.get_by_role("region", name="Stages")
    when = stages.get_by_text(re.compile("^Measured"))
    recorded = page.get_by_text("the figures still count 2 users forgotten since")
    expect(recorded).to_have_count(0 if kept else 1)
    if kept:
        expect(stages).to_contain_text(LIFT)
        expect(when).to_have_text(
            "Measured when the bundle was built, on 140 held-out users with 200 candidates each."
        )
        page.get_by_role("button", name="Measure again on this server").click()
    else:
        expect(when).to_have_count(0)
        page.get_by_role("button", name="Measure on held-out users").click()
    expect(when).to_have_text(
        "Measured just now on this server, on 150 held-out users with 200 candidates each."
    )
    expect(stages).to_contain_text("candidates (recall@200)")
    expect(stages).to_contain_text(LIFT)
    expect(page.get_by_role("button", name="Measure again on this server")).to_be_focused()
    reliability = page.get_by_role("img", name="Observed frequency against predicted probability")
    expect(reliability.locator("circle")).to_have_count(2)
    expect(reliability.locator("text")).to_have_text(
        ["0.00%", "0.00%", "3.00%", "3.00%", "12.0%", "12.0%", "predicted probability"]
    )


def test_the_curves_of_training_are_drawn_and_described(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    run = server.get("/studio/api/quality")["curves"]["retriever"]
    epochs = run["epochs"]
    best = epochs[run["best_epoch"] - 1]
    page = open_page("quality")
    card = page.get_by_role("region", name="Training")
    expect(card).to_contain_text(f"{len(epochs)} epochs in {run['seconds']:.1f} s.")
    expect(card).to_contain_text(
        f"The weights are from epoch {best['epoch']}, which has the best validation ndcg@10."
    )
    for figure in ("loss", "ndcg@10"):
        drawn = card.get_by_role(
            "img",
            name=f"Two towers, {figure} by epoch: {epochs[0][figure]:.4f} in epoch 1, "
            f"{epochs[-1][figure]:.4f} in epoch {len(epochs)}, {best[figure]:.4f} in epoch "
            f"{best['epoch']}, the best.",
            exact=True,
        )
        points = str(drawn.locator("path").last.get_attribute("d"))[1:].split("L")
        heights = [float(point.split()[1]) for point in points]
        values = [epoch[figure] for epoch in epochs]
        # Up is more: the order of the points is that of the values.
        assert sorted(range(len(heights)), key=lambda n: -heights[n]) == sorted(
            range(len(values)), key=lambda n: values[n]
        )
        expect(drawn.locator("circle")).to_have_count(1)
    card.get_by_text("Table", exact=True).click()
    row = card.get_by_role("row").nth(best["epoch"])
    expect(row).to_contain_text(f"{best['loss']:.4f}")
    expect(row).to_contain_text(f"{best['ndcg@10']:.4f}")
    card.scroll_into_view_if_needed()
    photograph(page, tmp_path, "curves")


def test_a_bundle_that_tells_nothing_of_its_training_is_shown_without(
    open_page: Open, server: Server
) -> None:
    page = open_page("learn")
    told = {**server.get("/studio/api/quality"), "curves": {}}
    page.route("**/studio/api/quality", lambda route: route.fulfill(json=told))
    page.get_by_role("link", name="Quality").click()
    expect(page.get_by_role("region", name="Stages")).to_be_visible()
    expect(page.get_by_role("region", name="Training")).to_have_count(0)


def test_a_term_has_figures_of_this_bundle_and_an_answer(open_page: Open, tmp_path: Path) -> None:
    page = open_page("glossary")
    here = page.get_by_role("region", name="On this bundle")
    expect(here).to_contain_text("the embedding table has")
    question = page.get_by_role("region", name="Question")
    expect(question).to_contain_text("smaller than the largest id")
    expect(question.get_by_text("The lookup has no row to return.")).to_be_hidden()
    question.get_by_role("button", name="Show the answer").click()
    expect(question.get_by_text("The lookup has no row to return.")).to_be_visible()
    page.get_by_role("navigation", name="Terms").get_by_role("link", name="HNSW").click()
    expect(page.get_by_role("heading", name="HNSW")).to_be_visible()
    expect(page.get_by_role("region", name="On this bundle").locator(".bar-row")).to_have_count(3)
    photograph(page, tmp_path, "glossary")


# --- for everybody ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, scheme: str) -> None:
    page = open_page("try/u00020", scheme=scheme, bypass_csp=True)
    found: dict[str, list[str]] = {}
    for view in VIEWS:
        page.goto(page.url.split("#")[0] + f"#/{view}")
        ready(page)
        if view == "architecture":
            page.get_by_role("button", name="Trace a batch").click()
            expect(page.locator(".play [role=status]")).to_contain_text("32 users")
        if view == "map":
            page.locator("aside .chip").first.click()
            expect(page.locator("aside h2")).to_contain_text("User")
        if broken := violations(page):
            found[view] = broken
    assert found == {}


def test_everything_goes_by_keyboard(open_page: Open) -> None:
    page = open_page("try/u00030")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    before = answered(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('pick')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("is now in the history.")
    assert answered(page) != before
    # Focus stays where it was, on the item that is there now.
    expect(page.locator(".answer .pick").first).to_be_focused()
    page.get_by_role("link", name="Map", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Map", level=1)).to_be_focused()
    canvas = page.locator("canvas")
    canvas.focus()
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    expect(page.locator("aside h3")).to_have_text("Similar items")


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_one_way(open_page: Open, view: str, tmp_path: Path) -> None:
    page = open_page(view, viewport=PHONE, scheme="dark", is_mobile=True, has_touch=True)
    widest = page.evaluate("document.documentElement.scrollWidth")
    assert widest <= PHONE["width"]
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    assert page.locator(".node").evaluate_all(cut) == []
    expect(page.get_by_role("link", name=VIEWS[view])).to_have_attribute("aria-current", "page")
    photograph(page, tmp_path, f"{view}-phone")


def test_the_theme_is_the_systems_until_it_is_chosen(open_page: Open) -> None:
    page = open_page("learn", scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Switch to light mode").click()
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    ready(page)
    assert page.evaluate(paper) == light


def test_text_of_the_catalogue_is_text(open_page: Open, server: Server) -> None:
    title = '<img src=x onerror="document.title=1"> & "quotes"'
    server.put("/v1/items", {"items": [{"item_id": "bad/<b>", "columns": {"title": title}}]})
    try:
        page = open_page("try")
        page.get_by_role("button", name="Custom user").click()
        page.get_by_role("combobox", name="Add an item").fill("onerror")
        found = suggestions(page).filter(has_text="onerror")
        expect(found).to_contain_text(title)
        found.click()
        expect(page.locator(".history .name")).to_have_text(title)
        assert page.locator("main img").count() == 0
    finally:
        server.client.delete("/v1/items/bad/<b>")


# --- what is sent -------------------------------------------------------------------------------


def test_the_page_may_run_its_own_files_alone(server: Server) -> None:
    answer = server.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("http-equiv", "")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=", answer.text)


def test_files_are_named_one_by_one_and_kept_by_the_browser(server: Server) -> None:
    answer = server.client.get("/studio/static/app.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    again = server.client.get(
        "/studio/static/app.js", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    for name in ("../studio.py", "%2e%2e/studio.py", "learn/01-embedding.md", ""):
        assert server.client.get(f"/studio/static/{name}").status_code == 404


def test_nothing_is_fetched_from_elsewhere() -> None:
    for file in filter(Path.is_file, FOLDER.rglob("*")):
        text = file.read_text(encoding="utf-8")
        links = re.findall(r"https?://[^\s\"'`)]+", text)
        assert set(links) <= NAMESPACES
        assert not re.search(
            r"\b(inner|outer)HTML\b|insertAdjacentHTML|document\.write|\beval\(", text
        )


def test_the_studios_data_needs_the_scope_of_reading() -> None:
    parts = (item_routes, model_routes, glossary_routes, lesson_routes, share_routes)
    routes = [route for part in parts for route in part().routes]
    assert len(routes) == 20
    for route in routes:
        assert isinstance(route, ScopedRoute)
        assert route.openapi_extra == {"x-scope": "read"}
