"""Lessons as notebooks: cells, folded solutions, and each runs from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from twotower.lessons.notebooks import INSTALL, notebook, write_notebooks
from twotower.lessons.texts import SNIPPET, Lesson, lessons

ROOT = Path(__file__).resolve().parents[2]

PAGE = """# 0. X

Text with $x$.

<!-- bundle: dot-product -->

```python
print(1)
```

```text
1
```

![A line, drawn.](plots/line.svg)

## Exercises

### Exercise 1

Why?

<details>
<summary>Solution</summary>

Because.

```python
print(2)
```

</details>

## References

- None.
"""


def read(text: str) -> Any:
    found = nbformat.reads(text, as_version=4)
    nbformat.validate(found)
    return found


def test_a_page_becomes_cells() -> None:
    made = read(notebook(PAGE))
    assert [(cell.cell_type, cell.source) for cell in made.cells] == [
        ("markdown", f"# 0. X\n\n{INSTALL}\n\nText with $x$."),
        ("code", "print(1)"),
        ("markdown", "## Exercises"),
        ("markdown", "### Exercise 1\n\nWhy?"),
        ("markdown", "#### Solution"),
        ("markdown", "Because."),
        ("code", "print(2)"),
        ("markdown", "## References\n\n- None."),
    ]
    folded = [cell.metadata.get("jp-MarkdownHeadingCollapsed") for cell in made.cells]
    assert folded == [None, None, None, None, True, None, None, None]
    assert made.metadata.kernelspec.name == "python3"
    assert notebook(PAGE) == notebook(PAGE)


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_the_cells_of_a_lesson_are_its_snippets(lesson: Lesson) -> None:
    made = read(notebook(lesson.text))
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code == [found["code"].rstrip() for found in SNIPPET.finditer(lesson.text)]
    text = "".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    for left in ("```", "<details>", "</details>", "<!--", "](plots/"):
        assert left not in text


def test_all_are_written(tmp_path: Path) -> None:
    files = write_notebooks(tmp_path / "new" / "lessons")
    assert [file.name for file in files] == [f"{lesson.slug}.ipynb" for lesson in lessons()]
    for file, lesson in zip(files, lessons(), strict=True):
        assert file.read_text(encoding="utf-8") == notebook(lesson.text)


def execute(text: str, folder: Path) -> list[Any]:
    """The outputs of a notebook that runs in a folder of its own, with this package alone."""
    client = NotebookClient(read(text), timeout=300, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        patch.setenv("TMPDIR", str(folder))
        run: Any = client.execute()
    return [output for cell in run.cells for output in cell.get("outputs", [])]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_a_notebook_runs_from_top_to_bottom_and_draws(lesson: Lesson, tmp_path: Path) -> None:
    outputs = execute(notebook(lesson.text), tmp_path)
    data = [output.data for output in outputs if output.output_type == "display_data"]
    assert sum("image/png" in shown for shown in data) == lesson.text.count("plt.show()")
    if "tt.fit(" in lesson.text:
        shown = [found["text/html"] for found in data if "text/html" in found]
        assert shown
        assert all("kept epoch" in text for text in shown)
