"""A comparison in a notebook: the verdict and one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twotower.evaluation.slices import SLICES
from twotower.html import Html, table, tag
from twotower.workflow.comparison.report.terminal import table_row


def summary_html(document: Mapping[str, Any]) -> Html:
    """The verdict and the table of the terminal, for `_repr_html_`.

    Args:
        document: made by `comparison_document`.
    """
    parts = [part for part in SLICES if any(part in m["slices"] for m in document["models"])]
    rows = [table_row(model, document["metric"], parts) for model in document["models"]]
    caption = f"{document['num_queries']:,} test users, {document['num_items']:,} items ranked"
    return tag(
        "div",
        tag("p", document["verdict"]),
        table(caption, list(rows[0]), [list(row.values()) for row in rows]),
    )
