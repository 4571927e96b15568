"""Lessons run, and print and draw what stands below their snippets."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from twotower.lessons.running import Output, run, store, written
from twotower.lessons.texts import SNIPPET, Lesson, lessons

LONG = ("3-", "4-", "5-", "6-", "7-")
"""The lessons that train for longest."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(
            lesson, id=lesson.slug, marks=[pytest.mark.slow] * lesson.slug.startswith(LONG)
        )
        for lesson in lessons()
    ],
)
def test_a_lesson_runs_and_prints_what_it_shows(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    snippets = list(SNIPPET.finditer(lesson.text))
    outputs = run(lesson)
    assert len(outputs) == len(snippets) >= 4
    for found, output in zip(snippets, outputs, strict=True):
        shown = found["printed"] or ""
        assert len(output.plots) == (found["plot"] is not None)
        assert NUMBER.sub("#", shown) == NUMBER.sub("#", output.printed)
        told, again = ([float(n) for n in NUMBER.findall(t)] for t in (shown, output.printed))
        # The arithmetic of another machine sends training another way; what a lesson claims of its
        # figures stands in the snippets' own assertions.
        assert told == pytest.approx(again, rel=0.25, abs=0.05)


PAGE = """# 0. X

```python
x = 1
```

Then

```python
print(x + 1)
```

```python
import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.show()
```

![A line.](plots/line.svg)

The end.
"""


def test_what_is_printed_and_drawn_is_put_below_its_snippet(tmp_path: Path) -> None:
    file = tmp_path / "0-x.md"
    file.write_text(PAGE, encoding="utf-8")
    lesson = Lesson.read(file)
    assert (lesson.slug, lesson.title) == ("0-x", "0. X")
    store(lesson, run(lesson), tmp_path)
    once = file.read_text(encoding="utf-8")
    assert once == PAGE.replace("print(x + 1)\n```\n", "print(x + 1)\n```\n\n```text\n2\n```\n")
    drawn = (tmp_path / "plots" / "line.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    store(Lesson.read(file), run(Lesson.read(file)), tmp_path)
    assert (tmp_path / "plots" / "line.svg").read_text(encoding="utf-8") == drawn
    assert file.read_text(encoding="utf-8") == once
    others = [Output(""), Output("3\n"), Output("")]
    assert written(once, others) == once.replace("\n2\n", "\n3\n")


def test_a_plot_that_is_not_shown_is_refused(tmp_path: Path) -> None:
    text = PAGE.replace("![A line.](plots/line.svg)\n", "")
    lesson = Lesson("0-x", "0. X", text)
    with pytest.raises(ValueError, match=r"^0-x: 1 plots drawn, no plot shown$"):
        store(lesson, run(lesson), tmp_path)
