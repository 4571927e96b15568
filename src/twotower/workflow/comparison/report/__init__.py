"""A comparison as people see it: one self-contained HTML file, and a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.workflow.comparison.report.page import page

__all__ = ["page", "write_report"]


def write_report(document: Mapping[str, Any], path: Path) -> None:
    """Write the page of what `standings` gives."""
    path.write_text(page(document), encoding="utf-8")
