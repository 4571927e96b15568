"""The lessons: one Markdown file each in `texts/`, with their plots in `texts/plots/`.

A lesson has snippets (`python` blocks), which form one program from top to bottom; below each
stands what it prints and the plot that it draws. Formulas are LaTeX between dollars. A comment
`<!-- bundle: SLUG -->` is where the studio shows the glossary's example SLUG, computed from the
bundle that it serves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("texts")
PLOTS: Final = FOLDER / "plots"
SNIPPET: Final = re.compile(
    r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```\n)?"
    r"(?:\n(?P<image>!\[[^\]]+\]\(plots/(?P<plot>[\w-]+\.svg)\))\n)?",
    re.DOTALL,
)
BUNDLE: Final = re.compile(r"^<!-- bundle: (?P<slug>[\w-]+) -->\n\n", re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """A lesson.

    Attributes:
        slug: name of its file without the ending, for links.
        title: its heading, with the number.
        text: the whole file.
    """

    slug: str
    title: str
    text: str

    @staticmethod
    def read(file: Path) -> Lesson:
        """Read a file whose first line is its heading."""
        text = file.read_text(encoding="utf-8")
        return Lesson(file.stem, text.split("\n", 1)[0].removeprefix("# "), text)


@cache
def lessons() -> tuple[Lesson, ...]:
    """All lessons in their order."""
    return tuple(Lesson.read(file) for file in sorted(FOLDER.glob("[0-9]*.md")))
