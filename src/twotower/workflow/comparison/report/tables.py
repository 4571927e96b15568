"""The figures of a comparison as tables, one a section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twotower.html import Content, Html, table, tag
from twotower.workflow.comparison.report.plots import COLOURS, PARTS, bucket_name
from twotower.workflow.comparison.verdict import FAMILIES

Document = Mapping[str, Any]
Section = tuple[str, str, str, Content]
"""Name, title, a sentence, the table."""

NONE = "–"  # noqa: RUF001
"""In place of a figure that there is not."""


def sections(document: Document) -> list[Section]:
    """The sections of the page in their order."""
    made = [
        accuracy(document),
        differences(document),
        slices(document),
        buckets(document),
        stages(document),
        costs(document),
        curves(document),
        beyond(document),
        search(document),
    ]
    return [section for section in made if section is not None]


def label(place: int, model: Mapping[str, Any], document: Document) -> Html:
    """A model's name with its colour."""
    parts: list[Content] = [
        tag("span", class_="swatch", style=f"background: var(--m{place % COLOURS})"),
        model["title"],
    ]
    if model["name"] == document["reference"]:
        parts.append(tag("span", "reference", class_="tag"))
    return tag("span", parts)


def number(value: float | None) -> str:
    """A figure with four digits, or a dash."""
    return NONE if value is None else f"{value:.4f}"


def with_range(figure: Mapping[str, Any] | None) -> Content:
    """A figure with its interval below it."""
    if figure is None or figure["mean"] is None:
        return NONE
    return [f"{figure['mean']:.4f}", span_of(figure["low"], figure["high"])]


def span_of(low: float, high: float, sign: str = "") -> Html:
    """An interval, small."""
    return tag("span", f"{low:{sign}.3f} … {high:{sign}.3f}", class_="range")


def marked(document: Document) -> frozenset[int]:
    """The place of the reference."""
    return frozenset(
        place
        for place, model in enumerate(document["models"])
        if model["name"] == document["reference"]
    )


def rows_of(document: Document, cells: Any) -> list[list[Content]]:
    """A row a model: its label, then what `cells` gives."""
    return [
        [label(place, model, document), *cells(model)]
        for place, model in enumerate(document["models"])
    ]


def accuracy(document: Document) -> Section:
    """All metrics."""
    names = [f"{name}@{document['k']}" for name in ("ndcg", "recall", "hit", "mrr")]
    made = table(
        f"Means over {document['num_queries']:,} test users, and their intervals",
        ["model", *names],
        rows_of(document, lambda model: [with_range(model["metrics"][name]) for name in names]),
        marked=marked(document),
    )
    note = (
        "Every model ranks the whole catalogue for every test user. The bars are intervals: where "
        "two of them overlap, look at the paired tests below before you believe a difference."
    )
    return "accuracy", "Accuracy", note, made


def differences(document: Document) -> Section | None:
    """The paired tests."""
    tested = [model for model in document["models"] if "all" in model["tests"]]
    if not tested:
        return None
    places = {model["name"]: place for place, model in enumerate(document["models"])}
    reference = next(m for m in document["models"] if m["name"] == document["reference"])

    def cells(model: Mapping[str, Any]) -> list[Content]:
        test = model["tests"]["all"]
        way = "up" if test["difference"] > 0 else "down"
        sure = test["significant"]
        return [
            [
                tag("span", f"{test['difference']:+.4f}", class_=way if sure else None),
                span_of(test["low"], test["high"], "+"),
            ],
            p_value(test["p_value"]),
            p_value(test["p_holm"]),
            "yes" if sure else "no",
        ]

    kind = FAMILIES[reference["family"]]
    made = table(
        f"{document['metric']}, model minus {reference['title']}, user by user",
        ["model", "difference", "p", "p, Holm", "significant"],
        [[label(places[m["name"]], m, document), *cells(m)] for m in tested],
    )
    note = (
        f"The reference is {reference['title']}, the best {kind} on validation. The p-value "
        "after Holm's correction counts for all tests together."
    )
    return "differences", f"Against {reference['title']}", note, made


def p_value(value: float) -> str:
    """As people read it."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def slices(document: Document) -> Section | None:
    """By what training had seen."""
    told = [p for p in PARTS if any(p in model["slices"] for model in document["models"])]
    if not told:
        return None
    metric = document["metric"]
    first = document["models"][0]["slices"]
    heads = [f"{PARTS[part]} ({first[part]['num_queries']:,} users)" for part in told]
    made = table(
        f"{metric} by slice, and intervals",
        ["model", *heads],
        rows_of(
            document,
            lambda m: [
                [with_range(m["slices"][part][metric]), standing(m["tests"].get(part))]
                for part in told
            ],
        ),
        marked=marked(document),
    )
    note = (
        "Warm: user and item were seen in training. Cold users and cold items were not; what is "
        "known of them is their features. In a slice only its own items are relevant, the "
        "candidates stay the whole catalogue. Above and below are said of significant differences "
        "to the reference, by Holm's correction in each slice."
    )
    return "slices", "New users, new items", note, made


def standing(test: Mapping[str, Any] | None) -> Html:
    """Whether a model is significantly above or below the reference; nothing where it is not."""
    if test is None or not test["significant"]:
        return Html("")
    above = test["difference"] > 0
    return tag("span", "above" if above else "below", class_=f"range {'up' if above else 'down'}")


def buckets(document: Document) -> Section | None:
    """By how much items are taken."""
    if not document["buckets"]:
        return None
    made = table(
        f"recall@{document['k']} of test items by their training rows, and intervals",
        ["model", *(f"{bucket_name(b)} ({b['num_items']:,} items)" for b in document["buckets"])],
        rows_of(document, lambda model: [with_range(figure) for figure in model["buckets"]]),
        marked=marked(document),
    )
    note = (
        "Items in groups that hold about as many training rows each, from the few that many take "
        "to the many that few take."
    )
    return "buckets", "Popular and rare items", note, made


def stages(document: Document) -> Section | None:
    """What is lost and won between the index and the answer."""
    staged = [
        (place, model)
        for place, model in enumerate(document["models"])
        if model["stages"]
        and ("pipeline" in model["stages"] or model["stages"]["index"] != "exact")
    ]
    if not staged:
        return None
    metric, k = document["metric"], document["k"]

    def cells(stage: Mapping[str, Any]) -> list[Content]:
        index = [f"{stage['index']}", f"{stage['index_recall']:.3f}"]
        if "pipeline" not in stage:
            return [*index, *[NONE] * 6]
        lift, ceiling, taken = stage["lift"], stage["ceiling"], stage["milliseconds"]
        low, high = lift["interval"]
        reach = f"recall@{stage['num_candidates']}"
        return [
            *index,
            f"{stage['retrieve'][metric]:.4f}",
            [number(ceiling.get(reach)), tag("span", reach, class_="range")],
            number(ceiling[metric]),
            f"{stage['pipeline'][metric]:.4f}",
            [f"{lift[metric]:+.4f}", span_of(low, high, "+")],
            f"{taken['retrieve']:.2f} + {taken['rank']:.2f} ms",
        ]

    made = table(
        "From the index to the answer, on the test part",
        [
            "model",
            "index",
            f"its recall@{k} against exact search",
            f"retrieval alone, {metric}",
            "relevant items among the candidates",
            f"perfect ranking of them, {metric}",
            f"both stages, {metric}",
            "ranker's lift",
            "retrieve + rank, in batches",
        ],
        [[label(place, model, document), *cells(model["stages"])] for place, model in staged],
    )
    note = (
        "What the index loses against exact search; what a ranker could reach at best with the "
        "candidates that retrieval gives it; what it does reach; and how long each stage takes."
    )
    return "stages", "Loss and lift by stage", note, made


def costs(document: Document) -> Section:
    """Time, memory, size."""

    def cells(model: Mapping[str, Any]) -> list[Content]:
        asked = model["milliseconds"]
        return [
            f"{model['train_seconds']:,.1f} s",
            f"{model['memory_mb']:,.0f} MB",
            f"{model['peak_memory_mb']:,.0f} MB",
            f"{model['parameters']:,}",
            [
                f"{asked['p50']:.2f} ms",
                tag("span", f"95 %: {asked['p95']:.1f} ms", class_="range"),
            ],
        ]

    made = table(
        "One training with the best settings; answers to single users: median, 95th percentile",
        ["model", "training", "memory", "whole process", "parameters", "an answer"],
        rows_of(document, cells),
        marked=marked(document),
    )
    note = (
        "What accuracy costs. Memory is the most that training added; the whole process has "
        "libraries and data in it, too. To the left is cheap, to the top is good."
    )
    return "costs", "Cost", note, made


def curves(document: Document) -> Section | None:
    """How fast the models learn."""
    learning = [model for model in document["models"] if model["curve"]]
    if not learning:
        return None
    places = {model["name"]: place for place, model in enumerate(document["models"])}
    rows: list[list[Content]] = []
    for model in learning:
        best = max(model["curve"], key=lambda point: float(point["metric"]))
        rows.append(
            [
                label(places[model["name"]], model, document),
                f"{best['metric']:.4f}",
                f"{best['epoch']:.0f}",
                f"{best['seconds']:,.1f} s",
                f"{model['curve'][-1]['epoch']:.0f}",
            ]
        )
    made = table(
        f"The epoch with the best {document['metric']} on validation is kept",
        ["model", "best", "at epoch", "after", "epochs trained"],
        rows,
    )
    note = "Accuracy on the validation part during training. Models without epochs are not here."
    return "curves", "Learning curves", note, made


def beyond(document: Document) -> Section:
    """Coverage, novelty, Gini."""
    names = list(document["models"][0]["beyond_accuracy"])
    made = table(
        "What is recommended to all test users together",
        ["model", *names],
        rows_of(document, lambda m: [f"{m['beyond_accuracy'][name]:.3f}" for name in names]),
        marked=marked(document),
    )
    note = (
        "Coverage is the share of the items that anybody is shown; novelty is how rare the shown "
        "items are (a bit more is half as often taken); Gini is 0 where all items are shown as "
        "often, and near 1 where few fill all lists."
    )
    return "beyond", "Coverage and novelty", note, made


def search(document: Document) -> Section:
    """What was spent, and what was found."""

    def cells(model: Mapping[str, Any]) -> list[Content]:
        found = ", ".join(f"{key} = {setting(v)}" for key, v in model["settings"].items())
        failed = model["num_failed_trials"]
        return [
            f"{model['num_trials']}" + (f" ({failed} failed)" if failed else ""),
            f"{model['tuning_seconds']:,.0f} s",
            f"{model['validation']:.4f}",
            tag("code", found or "none to search"),
        ]

    budget = document["budget"]
    made = table(
        f"Budget of each: {budget['trials']} trials or {budget['seconds']:,.0f} seconds",
        ["model", "trials", "spent", f"{document['metric']} on validation", "best settings"],
        rows_of(document, cells),
    )
    note = (
        "Baselines had the same budget as the others. A trial that began in time is finished, so "
        "that slow models may spend more; a model without settings has one trial."
    )
    return "search", "Search for settings", note, made


def setting(value: object) -> str:
    """A value without digits that nobody needs."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
