"""Runs lessons: `python docs/lessons/run.py docs/lessons/3-*.md` prints what each snippet prints.

The snippets of a lesson are one program, from the top to the bottom. `--write` keeps what they
print in the lesson, below each snippet; a test runs them, too, and holds both equal but for what
another machine's arithmetic may change.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

SNIPPET = re.compile(
    r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```\n)?", re.DOTALL
)


def run(lesson: Path) -> list[str]:
    """What each snippet of a lesson prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    text = lesson.read_text(encoding="utf-8")
    said = []
    for place, found in enumerate(SNIPPET.finditer(text), start=1):
        # So that a traceback shows the line of the lesson.
        code = "\n" * text.count("\n", 0, found.start("code")) + found["code"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{lesson.name}, snippet {place}", "exec"), names)
        said.append(printed.getvalue())
    return said


def written(lesson: Path, said: list[str]) -> str:
    """The lesson with what its snippets print."""
    left = iter(said)

    def block(found: re.Match[str]) -> str:
        printed = next(left)
        return f"```python\n{found['code']}```\n" + (
            f"\n```text\n{printed}```\n" if printed else ""
        )

    return SNIPPET.sub(block, lesson.read_text(encoding="utf-8"))


def main() -> None:
    """Run the lessons that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="+", type=Path, help="docs/lessons/*.md")
    parser.add_argument("--write", action="store_true", help="keep what is printed in the lesson")
    options = parser.parse_args()
    for lesson in options.lessons:
        said = run(lesson)
        if options.write:
            lesson.write_text(written(lesson, said), encoding="utf-8")
        sys.stdout.write(f"{lesson.name}\n{''.join(said)}\n")


if __name__ == "__main__":
    main()
