"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from twotower.html import Content, Html, tag
from twotower.workflow.comparison.report.plots import plots
from twotower.workflow.comparison.report.tables import sections
from twotower.workflow.comparison.verdict import sentences

Document = Mapping[str, Any]

DESCRIPTIONS = {
    "accuracy": "Dots with intervals: accuracy of each model",
    "differences": "Dots with intervals: difference of each model to the reference",
    "slices": "Dots with intervals: accuracy of each model in a slice",
    "buckets": "Lines: recall of each model by how much items are taken",
    "beyond": "Points: coverage and novelty of each model",
    "stages": "Bars: retrieval alone, both stages, a perfect ranking of the candidates",
    "costs": "Points: accuracy of each model against its cost",
    "curves": "Lines: accuracy on validation while each model trains",
    "search": "Lines: best accuracy on validation so far, trial by trial",
}

WIDE = {"search", "stages"}
"""Sections whose table stands below the plot."""


def page(document: Document) -> str:
    """The whole page, scripts included."""
    drawn = plots(document)
    written = [
        section(drawn.get(name), name, title, note, made)
        for name, title, note, made in sections(document)
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "Model comparison"),
        tag("style", asset("page.css")),
    )
    body = tag(
        "body",
        tag("div", top(document), tag("main", written), foot(document), class_="wrap"),
        tag("script", as_script(drawn), type="application/json", id="plots"),
        tag("script", plotly_script()),
        tag("script", asset("page.js")),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def top(document: Document) -> Html:
    """The verdict, what went wrong, and the facts that every figure rests on."""
    budget = document["budget"]
    facts = [
        ("test users", f"{document['num_queries']:,}"),
        ("items ranked", f"{document['num_items']:,}"),
        ("training rows", f"{document['rows']['training']:,}"),
        ("test rows", f"{document['rows']['test']:,}"),
        ("models", f"{len(document['models'])}"),
        ("search per model", f"{budget['trials']} trials or {budget['seconds']:,.0f} s"),
    ]
    return tag(
        "header",
        tag("p", "twotower compare", class_="kind"),
        tag("h1", "Model comparison"),
        tag("div", [tag("p", said) for said in sentences(document)], class_="verdict"),
        warnings(document),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="facts"),
    )


def warnings(document: Document) -> Content:
    """Models that failed, with the reason; nothing where all is well."""
    if not document["failed"]:
        return Html("")
    entries = [
        tag("li", tag("strong", entry["title"]), ": ", entry["reason"])
        for entry in document["failed"]
    ]
    return tag(
        "div",
        tag("strong", "Not in this comparison, because they failed"),
        tag("ul", entries),
        class_="verdict warning",
    )


def section(
    variants: Sequence[Mapping[str, Any]] | None, name: str, title: str, note: str, made: Content
) -> Html:
    """A heading, a sentence, the plot if there is one, and the same figures as a table."""
    body: Content = made
    if variants:
        where = "beside below" if name in WIDE else "beside"
        body = tag("div", plot(name, variants), tag("div", made), class_=where)
    return tag("section", tag("h2", title), tag("p", note, class_="note"), body, id=name)


def plot(name: str, variants: Sequence[Mapping[str, Any]]) -> Html:
    """The place that the script draws into, and buttons where there is a choice."""
    buttons: Content = Html("")
    if len(variants) > 1:
        buttons = tag(
            "div",
            [
                tag(
                    "button",
                    variant["name"],
                    type="button",
                    data_variant=str(place),
                    aria_pressed="true" if place == 0 else "false",
                )
                for place, variant in enumerate(variants)
            ],
            class_="choices",
            role="group",
            aria_label=f"What the plot shows: {DESCRIPTIONS[name]}",
            data_plot=name,
        )
    drawn = tag("div", class_="plot", id=f"plot-{name}", role="img", aria_label=DESCRIPTIONS[name])
    return tag("div", buttons, drawn)


def foot(document: Document) -> Html:
    """How it was measured."""
    budget = document["budget"]
    masked = "left out" if document["mask_seen"] else "not left out"
    drawn = {"tpe": "Optuna's TPE", "random": "random search"}[budget["search"]]
    return tag(
        "footer",
        tag(
            "p",
            f"Protocol: full catalogue ({document['candidates']} items), what a user has seen is "
            f"{masked}, split {document['split']}. {document['leak']} Every model, baselines "
            f"included, searched at most {budget['trials']} settings or {budget['seconds']:,.0f} "
            f"seconds on the validation part ({drawn}, seed {budget['seed']}, its defaults first). "
            "Then it was trained on the training part with the best of them and asked once for the "
            "test part, where the validation rows of its users are known to it.",
        ),
        tag(
            "p",
            f"Intervals: {document['level']:.0%} percentile bootstrap over users, "
            f"{document['resamples']:,} resamples, the same for all models. Tests: paired, user by "
            "user, two-sided, against the reference, with Holm's correction; significant below "
            f"{document['significance']:g}.",
        ),
    )


def asset(name: str) -> Html:
    """A file of this folder, which is ours and goes in as it is."""
    return Html((files(__package__) / name).read_text(encoding="utf-8"))


def plotly_script() -> Html:
    """Plotly's script from its Python package, so that the page asks nothing of the network."""
    return Html((files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


def as_script(value: object) -> Html:
    """JSON that can stand in a script element: no `<` can end it."""
    return Html(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
