"""The figures of a comparison as tables, one per section of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twotower.html import Content, Html, table, tag
from twotower.workflow.comparison.report.plots import COLOURS, PARTS, bucket_name
from twotower.workflow.comparison.verdict import FAMILIES

Document = Mapping[str, Any]
Section = tuple[str, str, str, Content]
"""Id, title, note and table."""

NONE = "–"  # noqa: RUF001
"""Shown for a missing figure."""


def sections(document: Document) -> list[Section]:
    """The sections of the report, in their order."""
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
    """A model's title with its colour."""
    parts: list[Content] = [
        tag("span", class_="swatch", style=f"background: var(--m{place % COLOURS})"),
        model["title"],
    ]
    if model["name"] == document["reference"]:
        parts.append(tag("span", "reference", class_="tag"))
    return tag("span", parts)


def number(value: float | None) -> str:
    """A figure with four decimals, or a dash."""
    return NONE if value is None else f"{value:.4f}"


def with_interval(figure: Mapping[str, Any] | None) -> Content:
    """A figure with its interval below it."""
    if figure is None or figure["mean"] is None:
        return NONE
    return [f"{figure['mean']:.4f}", interval_span(figure["low"], figure["high"])]


def interval_span(low: float, high: float, sign: str = "") -> Html:
    """An interval in small print."""
    return tag("span", f"{low:{sign}.3f} … {high:{sign}.3f}", class_="range")


def marked(document: Document) -> frozenset[int]:
    """The rows to highlight: the reference."""
    return frozenset(
        place
        for place, model in enumerate(document["models"])
        if model["name"] == document["reference"]
    )


def rows_of(document: Document, cells: Any) -> list[list[Content]]:
    """One row per model: its label, then its `cells`."""
    return [
        [label(place, model, document), *cells(model)]
        for place, model in enumerate(document["models"])
    ]


def accuracy(document: Document) -> Section:
    """Accuracy metrics of all models."""
    names = [f"{name}@{document['k']}" for name in ("ndcg", "recall", "hit", "mrr")]
    made = table(
        f"Means over {document['num_queries']:,} test users with confidence intervals",
        ["model", *names],
        rows_of(document, lambda model: [with_interval(model["metrics"][name]) for name in names]),
        marked=marked(document),
    )
    note = (
        "Every model ranks the full catalogue for every test user. The bars are confidence "
        "intervals: if two of them overlap, see the paired tests below for whether the difference "
        "is significant."
    )
    return "accuracy", "Accuracy", note, made


def differences(document: Document) -> Section | None:
    """Paired tests against the reference."""
    tested = [model for model in document["models"] if "all" in model["tests"]]
    if not tested:
        return None
    places = {model["name"]: place for place, model in enumerate(document["models"])}
    reference = next(m for m in document["models"] if m["name"] == document["reference"])

    def cells(model: Mapping[str, Any]) -> list[Content]:
        test = model["tests"]["all"]
        direction = "up" if test["difference"] > 0 else "down"
        significant = test["significant"]
        return [
            [
                tag(
                    "span", f"{test['difference']:+.4f}", class_=direction if significant else None
                ),
                interval_span(test["low"], test["high"], "+"),
            ],
            p_value(test["p_value"]),
            p_value(test["p_holm"]),
            "yes" if significant else "no",
        ]

    kind = FAMILIES[reference["family"]]
    made = table(
        f"{document['metric']}: model minus {reference['title']}, paired by user",
        ["model", "difference", "p", "p, Holm", "significant"],
        [[label(places[m["name"]], m, document), *cells(m)] for m in tested],
    )
    note = (
        f"The reference is {reference['title']}, the best {kind} on validation. A difference is "
        "significant by the Holm-corrected p-value, which accounts for the number of tests."
    )
    return "differences", f"Comparison with {reference['title']}", note, made


def p_value(value: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def slices(document: Document) -> Section | None:
    """Accuracy by warm and cold users and items."""
    present = [p for p in PARTS if any(p in model["slices"] for model in document["models"])]
    if not present:
        return None
    metric = document["metric"]
    first = document["models"][0]["slices"]
    heads = [f"{PARTS[part]} ({first[part]['num_queries']:,} users)" for part in present]
    made = table(
        f"{metric} by slice with confidence intervals",
        ["model", *heads],
        rows_of(
            document,
            lambda m: [
                [with_interval(m["slices"][part][metric]), significance_label(m["tests"].get(part))]
                for part in present
            ],
        ),
        marked=marked(document),
    )
    note = (
        "Warm: user and item occur in training. Cold users and cold items do not, so only their "
        "features are known. In a slice only its own items are relevant; the candidates are always "
        "the full catalogue. “Above” and “below” mark significant differences to the reference, "
        "with Holm correction within each slice."
    )
    return "slices", "New users and new items", note, made


def significance_label(test: Mapping[str, Any] | None) -> Html:
    """ "above" or "below" if a model differs significantly from the reference, else nothing."""
    if test is None or not test["significant"]:
        return Html("")
    above = test["difference"] > 0
    return tag("span", "above" if above else "below", class_=f"range {'up' if above else 'down'}")


def buckets(document: Document) -> Section | None:
    """Recall by item popularity."""
    if not document["buckets"]:
        return None
    made = table(
        f"recall@{document['k']} by training rows per item, with confidence intervals",
        ["model", *(f"{bucket_name(b)} ({b['num_items']:,} items)" for b in document["buckets"])],
        rows_of(document, lambda model: [with_interval(figure) for figure in model["buckets"]]),
        marked=marked(document),
    )
    note = (
        "Items are grouped by popularity so that each group has about the same number of training "
        "rows: few popular items on the left, many rare items on the right."
    )
    return "buckets", "Popular and rare items", note, made


def stages(document: Document) -> Section | None:
    """Quality lost and gained by the index, retrieval and ranking."""
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
        lift, ceiling, latency = stage["lift"], stage["ceiling"], stage["milliseconds"]
        low, high = lift["interval"]
        reach = f"recall@{stage['num_candidates']}"
        return [
            *index,
            f"{stage['retrieve'][metric]:.4f}",
            [number(ceiling.get(reach)), tag("span", reach, class_="range")],
            number(ceiling[metric]),
            f"{stage['pipeline'][metric]:.4f}",
            [f"{lift[metric]:+.4f}", interval_span(low, high, "+")],
            f"{latency['retrieve']:.2f} + {latency['rank']:.2f} ms",
        ]

    made = table(
        "Index, retrieval and ranking on the test part",
        [
            "model",
            "index",
            f"index recall@{k} against exact search",
            f"retrieval only, {metric}",
            "recall of the candidates",
            f"perfect ranking of the candidates, {metric}",
            f"both stages, {metric}",
            "ranker lift",
            "retrieve + rank, batched",
        ],
        [[label(place, model, document), *cells(model["stages"])] for place, model in staged],
    )
    note = (
        "Recall lost by the index against exact search, the best result that any ranking of the "
        "retrieved candidates could reach, the result of the ranker, and the time of each stage."
    )
    return "stages", "Quality by stage", note, made


def costs(document: Document) -> Section:
    """Training time, memory, size and latency."""

    def cells(model: Mapping[str, Any]) -> list[Content]:
        latency = model["milliseconds"]
        return [
            f"{model['train_seconds']:,.1f} s",
            f"{model['memory_mb']:,.0f} MB",
            f"{model['peak_memory_mb']:,.0f} MB",
            f"{model['parameters']:,}",
            [
                f"{latency['p50']:.2f} ms",
                tag("span", f"p95: {latency['p95']:.1f} ms", class_="range"),
            ],
        ]

    made = table(
        "One training with the best hyperparameters; latency of a request for one user",
        ["model", "training", "memory", "peak memory", "parameters", "latency, median"],
        rows_of(document, cells),
        marked=marked(document),
    )
    note = (
        "Accuracy against cost; the top left is best. Memory is the maximum that training added; "
        "peak memory is that of the whole process, including libraries and data."
    )
    return "costs", "Cost", note, made


def curves(document: Document) -> Section | None:
    """The best epoch of each model on validation."""
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
        f"The epoch with the best {document['metric']} on validation is used",
        ["model", "best", "epoch", "time", "epochs trained"],
        rows,
    )
    note = "Validation accuracy during training, for models that train in epochs."
    return "curves", "Learning curves", note, made


def beyond(document: Document) -> Section:
    """Coverage, novelty and Gini index of the recommendations."""
    names = list(document["models"][0]["beyond_accuracy"])
    made = table(
        "Recommendations to all test users",
        ["model", *names],
        rows_of(document, lambda m: [f"{m['beyond_accuracy'][name]:.3f}" for name in names]),
        marked=marked(document),
    )
    note = (
        "Coverage: the share of the catalogue that is recommended to at least one user. Novelty: "
        "the mean self-information of the recommended items; one bit more means half as popular. "
        "Gini: 0 if all items are recommended equally often, close to 1 if a few items fill all "
        "lists."
    )
    return "beyond", "Coverage and novelty", note, made


def search(document: Document) -> Section:
    """Tuning cost and the best hyperparameters."""

    def cells(model: Mapping[str, Any]) -> list[Content]:
        found = ", ".join(f"{key} = {setting(v)}" for key, v in model["settings"].items())
        failed = model["num_failed_trials"]
        return [
            f"{model['num_trials']}" + (f" ({failed} failed)" if failed else ""),
            f"{model['tuning_seconds']:,.0f} s",
            f"{model['validation']:.4f}",
            tag("code", found or "no hyperparameters"),
        ]

    budget = document["budget"]
    made = table(
        f"Budget per model: {budget['trials']} trials or {budget['seconds']:,.0f} seconds",
        ["model", "trials", "time", f"validation {document['metric']}", "best hyperparameters"],
        rows_of(document, cells),
    )
    note = (
        "All models, baselines included, have the same budget. A trial that has started is always "
        "finished, so slow models may exceed it. A model without hyperparameters has one trial."
    )
    return "search", "Hyperparameter search", note, made


def setting(value: object) -> str:
    """A hyperparameter's value with at most three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
