"""Lessons as Jupyter notebooks, made from their Markdown by jupytext."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from twotower.atomic import write_text
from twotower.lessons.texts import BUNDLE, SNIPPET, lessons

INSTALL: Final = "*Run the cells from top to bottom. All they need is `pip install twotower`.*"
DETAILS: Final = re.compile(
    r"<details>\n<summary>([^<]+)</summary>\n(.*?)\n</details>\n", re.DOTALL
)
COLLAPSED: Final = "#### Solution"
"""The heading whose cells are folded until the reader opens them."""
SPLIT: Final = {"extension": ".md", "split_at_heading": True}


def notebook(markdown: str) -> str:
    """A Markdown page as a notebook, in JSON, without outputs.

    `python` blocks become cells of code. What the page shows of their output is left out, and
    solutions are folded.
    """
    import jupytext  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    made = jupytext.reads(as_cells(markdown), fmt=dict(SPLIT))
    made.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # drawn at random otherwise
        if cell.source.startswith(COLLAPSED):
            cell.metadata["jp-MarkdownHeadingCollapsed"] = True
    return str(jupytext.writes(made, fmt="ipynb"))


def as_cells(markdown: str) -> str:
    """The Markdown that jupytext splits into cells."""
    text = SNIPPET.sub(lambda found: f"```python\n{found['code']}```\n", BUNDLE.sub("", markdown))
    text = DETAILS.sub(r"#### \1\n\n\2\n", text)  # two blank lines: the heading is a cell
    heading, rest = text.split("\n", 1)
    return f"{heading}\n\n{INSTALL}\n{rest}"


def write_notebooks(folder: Path) -> list[Path]:
    """Write all lessons to a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for lesson in lessons():
        files.append(folder / f"{lesson.slug}.ipynb")
        write_text(files[-1], notebook(lesson.text))
    return files
