"""A comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from twotower.evaluation.slices import SLICES
from twotower.workflow.comparison.report.tables import p_value

Document = Mapping[str, Any]

DROPPED_FIRST = (
    "memory",
    *(part.replace("_", " ") for part in reversed(SLICES)),
    "interval",
    "training",
    "answer",
)
"""Columns dropped on a narrow terminal, first ones first; the HTML report has them all."""


def render_comparison(document: Document, width: int) -> Group:
    """The verdict and a table of the models, with as many columns as the terminal has room for.

    Args:
        document: made by `comparison_document`.
        width: width of the terminal in characters.
    """
    parts = [p for p in SLICES if any(p in model["slices"] for model in document["models"])]
    rows = [table_row(model, document["metric"], parts) for model in document["models"]]
    heads = columns_that_fit(rows, width)
    title = f"{document['num_queries']:,} test users, {document['num_items']:,} items ranked"
    if "interval" in heads:
        title += f"; {document['level']:.0%} confidence intervals"
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head == "model" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[head] for head in heads))
    failed = [
        Text(f"{entry['title']} failed: {entry['reason']}", style="red")
        for entry in document["failed"]
    ]
    return Group(Text(document["verdict"], style="bold"), Text(), table, *failed)


def columns_that_fit(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that fit into the width, in their order."""
    room = {head: 3 + max(len(head), *(len(row[head]) for row in rows)) for head in rows[0]}
    for head in DROPPED_FIRST:
        if 1 + sum(room.values()) > width:
            room.pop(head, None)
    return list(room)


def table_row(model: Mapping[str, Any], metric: str, parts: Sequence[str]) -> dict[str, str]:
    """Column -> cell of one model."""
    figure, test = model["metrics"][metric], model["tests"].get("all")
    not_significant = "" if test is None or test["significant"] else " ns"
    own = {part.replace("_", " "): model["slices"].get(part, {}).get(metric) for part in parts}
    return {
        "model": model["title"],
        metric: f"{figure['mean']:.4f}",
        "interval": f"{figure['low']:.3f} .. {figure['high']:.3f}",
        "difference": "reference" if test is None else f"{test['difference']:+.4f}",
        "p, Holm": "" if test is None else p_value(test["p_holm"]) + not_significant,
        **{name: "" if part is None else f"{part['mean']:.4f}" for name, part in own.items()},
        "training": f"{model['train_seconds']:,.1f} s",
        "memory": f"{model['memory_mb']:,.0f} MB",
        "answer": f"{model['milliseconds']['p50']:.2f} ms",
    }
