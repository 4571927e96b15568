"""The plots of a comparison as Plotly figures, in plain dicts.

Colours are names of the page's CSS variables (`var:m3` is the fourth model's), so that one page
works in light and dark mode. A plot may have several variants, selected with buttons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Trace = dict[str, Any]

COLOURS = 12
"""Number of model colours in the style sheet; further models repeat them with another dash."""
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "diamond", "square")
ROW, HEAD = 30, 70
"""Height of a row in a dot plot, and of everything around the rows, in pixels."""

PARTS = {
    "warm": "warm",
    "cold_user": "cold users",
    "cold_item": "cold items",
    "both_cold": "both cold",
}
COSTS = {
    "training time": ("train_seconds", "seconds"),
    "latency": ("milliseconds", "milliseconds per request, median"),
    "memory": ("memory_mb", "MB added by training"),
    "parameters": ("parameters", "parameters"),
}


def plots(document: Document) -> dict[str, list[dict[str, Any]]]:
    """Section -> variants of its plot, each with `name`, `data` and `layout`."""
    k = document["k"]
    found = {
        "accuracy": [
            accuracy(document, f"{metric}@{k}") for metric in ("ndcg", "recall", "hit", "mrr")
        ],
        "differences": [differences(document)],
        "slices": [by_slice(document, part) for part in PARTS if any_has(document, part)],
        "buckets": [buckets(document)],
        "beyond": [beyond(document)],
        "stages": [stages(document)],
        "costs": [costs(document, name) for name in COSTS],
        "curves": [curves(document, "epoch"), curves(document, "seconds")],
        "search": [search(document)],
    }
    return {name: made for name, made in found.items() if made and made[0]["data"]}


def colour(place: int) -> str:
    """The CSS variable of a model's colour."""
    return f"var:m{place % COLOURS}"


def marker(place: int, **more: Any) -> dict[str, Any]:
    """A model's marker."""
    symbol = SYMBOLS[place // COLOURS % len(SYMBOLS)]
    return {"color": colour(place), "symbol": symbol, "size": 10, **more}


def line(place: int) -> dict[str, Any]:
    """A model's line."""
    return {"color": colour(place), "dash": DASHES[place // COLOURS % len(DASHES)], "width": 2}


def places(document: Document) -> dict[str, int]:
    """Model -> its rank, which determines its colour in every plot."""
    return {model["name"]: place for place, model in enumerate(document["models"])}


def dots(rows: Sequence[tuple[int, str, Mapping[str, Any]]], metric: str) -> list[Trace]:
    """A dot with its interval for each (rank, title, figure)."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [figure["mean"]],
            "y": [title],
            "name": title,
            "marker": marker(place),
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [figure["high"] - figure["mean"]],
                "arrayminus": [figure["mean"] - figure["low"]],
                "color": colour(place),
                "thickness": 2,
                "width": 5,
            },
            "hovertemplate": (
                f"{title}<br>{metric} %{{x:.4f}}<br>"
                f"{figure['low']:.4f} to {figure['high']:.4f}<extra></extra>"
            ),
        }
        for place, title, figure in rows
    ]


def dot_layout(rows: int, axis: str) -> dict[str, Any]:
    """Layout of a dot plot: titles on the left, the best model on top."""
    return {
        "height": HEAD + ROW * max(rows, 2),
        "showlegend": False,
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero", "zeroline": True},
        "yaxis": {"autorange": "reversed", "automargin": True, "ticklabelstandoff": 8},
    }


def accuracy(document: Document, metric: str) -> dict[str, Any]:
    """One metric of all models with its interval."""
    rows = [
        (place, model["title"], model["metrics"][metric])
        for place, model in enumerate(document["models"])
    ]
    return {
        "name": metric,
        "data": dots(rows, metric),
        "layout": dot_layout(
            len(rows), f"{metric} with {document['level']:.0%} confidence interval"
        ),
    }


def differences(document: Document) -> dict[str, Any]:
    """The difference of each model to the reference."""
    rows = []
    for place, model in enumerate(document["models"]):
        test = model["tests"].get("all")
        if test is not None:
            rows.append((place, model["title"], {"mean": test["difference"], **test}))
    metric = document["metric"]
    layout = dot_layout(len(rows), f"difference in {metric}")
    layout["xaxis"] |= {"zeroline": True, "zerolinewidth": 2}
    return {"name": metric, "data": dots(rows, metric), "layout": layout}


def any_has(document: Document, part: str) -> bool:
    """Whether the test part has rows of a slice."""
    return any(part in model["slices"] for model in document["models"])


def by_slice(document: Document, part: str) -> dict[str, Any]:
    """All models in one slice."""
    metric = document["metric"]
    rows = [
        (place, model["title"], model["slices"][part][metric])
        for place, model in enumerate(document["models"])
    ]
    return {
        "name": PARTS[part],
        "data": dots(rows, metric),
        "layout": dot_layout(len(rows), f"{metric}, {PARTS[part]}"),
    }


def buckets(document: Document) -> dict[str, Any]:
    """recall@k by item popularity."""
    names = [bucket_name(bucket) for bucket in document["buckets"]]
    metric = f"recall@{document['k']}"
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": model["title"],
            "x": names,
            "y": [figure["mean"] for figure in model["buckets"]],
            "line": line(place),
            "marker": marker(place, size=7),
            "hovertemplate": f"{model['title']}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
        }
        for place, model in enumerate(document["models"])
    ]
    return {
        "name": metric,
        "data": data if len(names) > 1 else [],
        "layout": {
            "height": 400,
            "xaxis": {"title": {"text": "training rows of an item"}, "type": "category"},
            "yaxis": {"title": {"text": metric}, "rangemode": "tozero"},
        },
    }


def bucket_name(bucket: Mapping[str, Any]) -> str:
    """The range of training rows per item in a popularity bucket."""
    fewest, most = bucket["fewest"], bucket["most"]
    return f"{fewest:,}" if fewest == most else f"{fewest:,}–{most:,}"  # noqa: RUF001


def beyond(document: Document) -> dict[str, Any]:
    """Coverage against novelty."""
    k = document["k"]
    names = (f"coverage@{k}", f"novelty@{k}")
    return scatter(
        "coverage and novelty",
        [
            (model["title"], *(model["beyond_accuracy"][name] for name in names))
            for model in document["models"]
        ],
        {"title": {"text": f"coverage@{k}: share of the catalogue"}, "tickformat": ".0%"},
        {"title": {"text": f"novelty@{k}: bits"}},
    )


def stages(document: Document) -> dict[str, Any]:
    """Retrieval only, both stages, and a perfect ranking of the candidates."""
    metric = document["metric"]
    both = [m for m in document["models"] if m["stages"] and "pipeline" in m["stages"]]
    bars = {
        "retrieval only": "retrieve",
        "both stages": "pipeline",
        "perfect ranking of the candidates": "ceiling",
    }
    titles = places(document)
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": model["title"],
            "y": list(bars),
            "x": [model["stages"][key][metric] for key in bars.values()],
            "marker": {"color": colour(titles[model["name"]])},
            "texttemplate": "%{x:.4f}",
            "textposition": "auto",
            "hovertemplate": f"{model['title']}<br>%{{y}}: %{{x:.4f}}<extra></extra>",
        }
        for model in both
    ]
    layout = dot_layout(2 + len(bars) * len(both), metric)
    return {"name": metric, "data": data, "layout": {**layout, "bargap": 0.35}}


def costs(document: Document, name: str) -> dict[str, Any]:
    """The main metric against a cost."""
    key, unit = COSTS[name]
    points = []
    for model in document["models"]:
        value = model[key]["p50"] if key == "milliseconds" else model[key]
        figure = model["metrics"][document["metric"]]["mean"]
        points.append((model["title"], max(float(value), 1e-3), figure))
    axis = {"title": {"text": unit}, "type": "log", "dtick": 1}
    return scatter(name, points, axis, {"title": {"text": document["metric"]}})


def scatter(
    name: str,
    points: Sequence[tuple[str, float, float]],
    x_axis: dict[str, Any],
    y_axis: dict[str, Any],
) -> dict[str, Any]:
    """One point per model."""
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": title,
            "x": [x],
            "y": [y],
            "marker": marker(place, size=13),
            "hovertemplate": f"{title}<br>%{{x:,.4~g}}, %{{y:.4~g}}<extra></extra>",
        }
        for place, (title, x, y) in enumerate(points)
    ]
    return {"name": name, "data": data, "layout": {"height": 400, "xaxis": x_axis, "yaxis": y_axis}}


def curves(document: Document, axis: str) -> dict[str, Any]:
    """The validation metric over epochs or over seconds."""
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": model["title"],
            "x": [point[axis] for point in model["curve"]],
            "y": [point["metric"] for point in model["curve"]],
            "line": line(place),
            "hovertemplate": f"{model['title']}<br>{axis} %{{x}}: %{{y:.4f}}<extra></extra>",
        }
        for place, model in enumerate(document["models"])
        if model["curve"]
    ]
    return {
        "name": "by epoch" if axis == "epoch" else "by time",
        "data": data,
        "layout": {
            "height": 400,
            "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": f"{document['metric']} on validation"}},
        },
    }


def search(document: Document) -> dict[str, Any]:
    """The best validation metric of each model's search so far, by trial."""
    data = []
    for place, model in enumerate(document["models"]):
        best, best_so_far = None, []
        for trial in model["trials"]:
            value = trial["value"]
            if value is not None:
                best = value if best is None else max(best, value)
            best_so_far.append(best)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": model["title"],
                "x": [trial["number"] + 1 for trial in model["trials"]],
                "y": best_so_far,
                "line": {**line(place), "shape": "hv"},
                "marker": marker(place, size=6),
                "hovertemplate": f"{model['title']}<br>trial %{{x}}: %{{y:.4f}}<extra></extra>",
            }
        )
    return {
        "name": "search",
        "data": data if any(model["num_trials"] > 1 for model in document["models"]) else [],
        "layout": {
            "height": 400,
            "xaxis": {"title": {"text": "trial (1: defaults)"}, "dtick": 1},
            "yaxis": {"title": {"text": f"best {document['metric']} on validation so far"}},
        },
    }
