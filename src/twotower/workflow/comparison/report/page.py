"""The HTML report of a comparison: one self-contained file."""

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
    "accuracy": "Dot plot: accuracy of each model with confidence intervals",
    "differences": "Dot plot: difference of each model to the reference with confidence intervals",
    "slices": "Dot plot: accuracy of each model in a slice with confidence intervals",
    "buckets": "Line chart: recall of each model by item popularity",
    "beyond": "Scatter plot: coverage and novelty of each model",
    "stages": "Bar chart: retrieval only, both stages, perfect ranking of the candidates",
    "costs": "Scatter plot: accuracy of each model against its cost",
    "curves": "Line chart: validation accuracy during training",
    "search": "Line chart: best validation accuracy so far by trial",
}
"""Section -> text alternative of its plot."""

WIDE = {"search", "stages"}
"""Sections with the table below the plot instead of next to it."""


def page(document: Document) -> str:
    """The whole page, including its scripts."""
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
    """The verdict, the failed models, and the size of the data and of the search."""
    budget = document["budget"]
    facts = [
        ("test users", f"{document['num_queries']:,}"),
        ("items ranked", f"{document['num_items']:,}"),
        ("training rows", f"{document['rows']['training']:,}"),
        ("test rows", f"{document['rows']['test']:,}"),
        ("models", f"{len(document['models'])}"),
        ("tuning per model", f"{budget['trials']} trials or {budget['seconds']:,.0f} s"),
    ]
    return tag(
        "header",
        tag("p", "twotower compare", class_="kind"),
        tag("h1", "Model comparison"),
        tag("div", [tag("p", sentence) for sentence in sentences(document)], class_="verdict"),
        warnings(document),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="facts"),
    )


def warnings(document: Document) -> Content:
    """The failed models with their reasons; empty if none failed."""
    if not document["failed"]:
        return Html("")
    entries = [
        tag("li", tag("strong", entry["title"]), ": ", entry["reason"])
        for entry in document["failed"]
    ]
    return tag(
        "div",
        tag("strong", "Failed models, not included in this comparison"),
        tag("ul", entries),
        class_="verdict warning",
    )


def section(
    variants: Sequence[Mapping[str, Any]] | None, name: str, title: str, note: str, made: Content
) -> Html:
    """A heading, a note, the plot if there is one, and the same figures as a table."""
    body: Content = made
    if variants:
        layout = "beside below" if name in WIDE else "beside"
        body = tag("div", plot(name, variants), tag("div", made), class_=layout)
    return tag("section", tag("h2", title), tag("p", note, class_="note"), body, id=name)


def plot(name: str, variants: Sequence[Mapping[str, Any]]) -> Html:
    """The element that the script draws into, with buttons if the plot has several variants."""
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
            aria_label=f"Variant of the plot: {DESCRIPTIONS[name]}",
            data_plot=name,
        )
    drawn = tag("div", class_="plot", id=f"plot-{name}", role="img", aria_label=DESCRIPTIONS[name])
    return tag("div", buttons, drawn)


def foot(document: Document) -> Html:
    """The protocol: candidates, split, tuning, intervals and tests."""
    budget = document["budget"]
    masked = "excluded" if document["mask_seen"] else "not excluded"
    search = {"tpe": "Optuna's TPE", "random": "random search"}[budget["search"]]
    return tag(
        "footer",
        tag(
            "p",
            f"Protocol: full catalogue ({document['candidates']} items), items seen by the user "
            f"{masked}, {document['split']} split. {document['leak']} Every model, baselines "
            f"included, was tuned on the validation part with at most {budget['trials']} trials or "
            f"{budget['seconds']:,.0f} seconds ({search}, seed {budget['seed']}, defaults first). "
            "It was then trained on the training part with the best hyperparameters and evaluated "
            "once on the test part, where the users' histories include their validation rows.",
        ),
        tag(
            "p",
            f"Intervals: {document['level']:.0%} percentile bootstrap over users, "
            f"{document['resamples']:,} resamples, the same for all models. Tests: two-sided, "
            "paired by user, against the reference, with Holm correction; significant if p < "
            f"{document['significance']:g}.",
        ),
    )


def asset(name: str) -> Html:
    """A file of this folder, included without escaping."""
    return Html((files(__package__) / name).read_text(encoding="utf-8"))


def plotly_script() -> Html:
    """Plotly's script from its Python package, so that the page loads nothing from the network."""
    return Html((files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


def as_script(value: object) -> Html:
    """JSON for a script element: `<` is escaped, so that nothing can close the element."""
    return Html(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
