"""Run lessons: `python docs/lessons/run.py docs/lessons/3-*.md` prints the output of each snippet.

The snippets of a lesson form one program, from top to bottom. `--write` stores their output in the
lesson, below each snippet. A test runs them too and compares the output, up to differences between
machines in the last digits.
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
    """The output of each snippet of a lesson."""
    names: dict[str, Any] = {"__name__": "__main__"}
    text = lesson.read_text(encoding="utf-8")
    outputs = []
    for place, found in enumerate(SNIPPET.finditer(text), start=1):
        # So that a traceback shows the line of the lesson.
        code = "\n" * text.count("\n", 0, found.start("code")) + found["code"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{lesson.name}, snippet {place}", "exec"), names)
        outputs.append(printed.getvalue())
    return outputs


def written(lesson: Path, outputs: list[str]) -> str:
    """The lesson with the output of its snippets."""
    left = iter(outputs)

    def block(found: re.Match[str]) -> str:
        printed = next(left)
        return f"```python\n{found['code']}```\n" + (
            f"\n```text\n{printed}```\n" if printed else ""
        )

    return SNIPPET.sub(block, lesson.read_text(encoding="utf-8"))


def main() -> None:
    """Run the given lessons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="+", type=Path, help="docs/lessons/*.md")
    parser.add_argument("--write", action="store_true", help="store the output in the lesson")
    options = parser.parse_args()
    for lesson in options.lessons:
        outputs = run(lesson)
        if options.write:
            lesson.write_text(written(lesson, outputs), encoding="utf-8")
        sys.stdout.write(f"{lesson.name}\n{''.join(outputs)}\n")


if __name__ == "__main__":
    main()
