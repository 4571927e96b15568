"""Reports of a comparison: a self-contained HTML file, a notebook table and a terminal table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.atomic import write_text
from twotower.workflow.comparison.report.notebook import summary_html
from twotower.workflow.comparison.report.page import page

__all__ = ["page", "summary_html", "write_report"]


def write_report(document: Mapping[str, Any], path: Path) -> None:
    """Write the HTML report of a document made by `comparison_document`."""
    write_text(path, page(document))
