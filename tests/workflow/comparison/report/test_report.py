"""The report of a comparison, in a real browser without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from tests.workflow.comparison.test_verdict import document as verdict_document
from twotower.html import Html, tag
from twotower.workflow.comparison.report import page, write_report
from twotower.workflow.comparison.report.page import as_script

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
EVIL = "<script>alert('x')</script>"


def figure(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean, "num_queries": 5400}


def document() -> dict[str, Any]:
    """A comparison with everything in it."""
    scores = {"two_tower": 0.312, "ease": 0.29, "ials": 0.28, "popularity": 0.1}
    found = verdict_document(scores, "ials")
    for place, model in enumerate(found["models"]):
        name, score = model["name"], scores[model["name"]]
        for part in ("all", "warm"):
            if name != "ials":
                model["tests"][part] = {
                    **model["tests"]["all"],
                    "low": scores[name] - 0.3,
                    "high": scores[name] - 0.2,
                    "p_value": 0.001,
                }
        model |= {
            "about": "",
            "validation": score,
            "metrics": {
                f"{metric}@10": figure(score * (1 + step / 10))
                for step, metric in enumerate(("ndcg", "recall", "hit", "mrr"))
            },
            "slices": {
                part: {"num_queries": 50, "ndcg@10": figure(score), "recall@10": figure(score)}
                for part in ("warm", "cold_user", "cold_item")
            },
            "buckets": [figure(score), figure(score / 2)],
            "beyond_accuracy": {"coverage@10": 0.3, "novelty@10": 7.5, "gini@10": 0.9},
            "settings": {} if name == "popularity" else {"l2": 12.3456, "kind": EVIL},
            "trials": [
                {"number": number, "value": score - 0.01 * (2 - number)} for number in range(3)
            ],
            "num_trials": 3,
            "num_failed_trials": place,
            "tuning_seconds": 12.0,
            "memory_mb": 120.0,
            "peak_memory_mb": 700.0,
            "parameters": 12345,
            "milliseconds": {"p50": 0.3, "p95": 0.9},
            "curve": [
                {"epoch": epoch, "seconds": 2.0 * epoch, "metric": score * epoch / 5}
                for epoch in (1, 2, 3, 4, 5)
            ]
            if name in ("two_tower", "ials")
            else [],
            "stages": None,
        }
    found["models"][0]["stages"] = {
        "index": "hnsw",
        "index_recall": 0.987,
        "num_candidates": 200,
        "retrieve": {"ndcg@10": 0.3},
        "pipeline": {"ndcg@10": 0.312},
        "ceiling": {"ndcg@10": 0.8, "recall@200": 0.7},
        "lift": {"ndcg@10": 0.012, "interval": [0.01, 0.014], "p_value": 0.001},
        "milliseconds": {"retrieve": 0.1, "rank": 0.25},
    }
    found |= {
        "k": 10,
        "candidates": "all",
        "mask_seen": True,
        "split": "random",
        "leak": "The future leaks.",
        "num_items": 3706,
        "rows": {"training": 600000, "validation": 60000, "test": 60000},
        "budget": {"trials": 8, "seconds": 600.0, "search": "tpe", "seed": 0},
        "resamples": 2000,
        "level": 0.95,
        "significance": 0.05,
        "buckets": [
            {"fewest": 100, "most": 900, "num_items": 10, "share": 0.5},
            {"fewest": 1, "most": 99, "num_items": 300, "share": 0.5},
        ],
        "failed": [{"name": "svd", "title": EVIL, "family": "deep", "reason": f"{EVIL} & more"}],
        "interrupted": False,
        "verdict": "",
    }
    return found


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b", [tag("b", "c & d")], class_='x"y', title=None) == (
        '<p class="x&quot;y">a &lt; b<b>c &amp; d</b></p>'
    )
    assert tag("td", Html("<i>x</i>"), data_plot="n") == '<td data-plot="n"><i>x</i></td>'
    assert as_script({"a": "</script>"}) == '{"a": "\\u003c/script>"}'


def test_no_foreign_markup_gets_into_the_page() -> None:
    text = page(document())
    assert EVIL not in text
    assert text.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; more") == 1


def test_the_page_loads_nothing() -> None:
    text = page(document())
    assert not re.search(r"<(link|img|iframe)\b|<script[^>]* src=|@import|url\(", text[:20_000])
    assert 4_000_000 < len(text) < 6_000_000  # Plotly's script is in it


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(document(), path)
    return path


@pytest.fixture(
    scope="module", params=[(1440, "light"), (390, "dark")], ids=["desktop-light", "phone-dark"]
)
def shown(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=cast(Any, scheme), offline=True
    )
    complaints: list[str] = []
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda asked: complaints.append(asked.url) if not asked.url.startswith("file:") else None,
    )
    opened.goto(file.as_uri())
    yield opened
    context.close()
    assert complaints == []


def test_everything_is_drawn_and_told(shown: Page) -> None:
    plots = shown.locator(".plot")
    expect(plots).to_have_count(9)
    expect(shown.locator(".plot .main-svg").first).to_be_visible()
    for place in range(9):
        expect(plots.nth(place).locator(".main-svg").first).to_be_visible()
    # The same figures stand in a table beside each plot.
    expect(shown.locator("section table")).to_have_count(9)
    expect(shown.locator("h1")).to_have_text("Model comparison")
    expect(shown.locator(".verdict").first).to_contain_text("Two-tower wins: ndcg@10 of 0.312")
    expect(shown.locator(".warning")).to_contain_text("<script>alert('x')</script> & more")
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_buttons_switch_and_hide(shown: Page) -> None:
    accuracy = shown.locator("#accuracy")
    axis = accuracy.locator(".plot .xtitle")
    expect(axis).to_have_text("ndcg@10 with 95% confidence interval")
    accuracy.get_by_role("button", name="recall@10").press("Enter")
    expect(axis).to_have_text("recall@10 with 95% confidence interval")
    expect(accuracy.get_by_role("button", name="ndcg@10")).to_have_attribute(
        "aria-pressed", "false"
    )
    curves = shown.locator("#curves")
    lines = curves.locator(".plot .scatterlayer .trace")
    expect(lines).to_have_count(2)
    curves.get_by_role("button", name="iALS").click()
    expect(lines).to_have_count(1)
    curves.get_by_role("button", name="iALS").click()
    expect(lines).to_have_count(2)


def test_it_can_be_read_by_everybody(shown: Page) -> None:
    expect(shown.locator("#search .plot .main-svg").first).to_be_visible()
    found = Axe().run(shown, options=RULES)
    assert found.violations_count == 0, found.generate_report()
