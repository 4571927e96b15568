"""The steps of the course as notebooks: their cells, and each runs from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from tests.lessons.test_notebooks import execute
from twotower.course.contents import LINK, CourseStep, steps, unlinked
from twotower.course.notebooks import compile_step, step_notebook, write_course


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.slug)
def test_a_step_is_a_notebook_with_its_choice_its_questions_and_its_programs(
    step: CourseStep,
) -> None:
    cells = json.loads(step_notebook(step.slug))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert f'compile_step("{step.slug}", ' in code[0]
    assert code[1:] == [snippet.filled({}).strip() for snippet in step.snippets]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert text.startswith(f"# Step {steps().index(step) + 1}. {step.title}\n")
    folded = [cell for cell in cells if "jp-MarkdownHeadingCollapsed" in cell["metadata"]]
    assert len(folded) == len(step.questions)
    for question in step.questions:
        (right,) = [answer for answer in question.answers if answer.right]
        assert f"- **{right.text}** {unlinked(right.why)}" in text
        assert question.text in text
    for snippet in step.snippets:
        assert f"**What you see.** {snippet.see}" in text
        assert f"**Change the numbers.** {snippet.change}" in text
    for field in step.fields:
        assert f"- `{field.name}`: {field.label}" in text
    assert not LINK.search(text)


def test_all_steps_are_written(tmp_path: Path) -> None:
    files = write_course(tmp_path / "course")
    assert [file.stem for file in files] == [f"{n}-{s.slug}" for n, s in enumerate(steps(), 1)]


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_a_cell_shows_the_error_and_then_what_was_built(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mpl.use("agg")
    compile_step("embedding", num_embeddings=600, embedding_dim="16")
    assert "EmbeddingRangeError: column 'user_id'" in (printed := capsys.readouterr().out)
    assert "The table has 600 rows" in printed
    plt.close("all")
    compile_step("embedding", num_embeddings=601, embedding_dim="4")
    printed = capsys.readouterr().out.split("\r")[-1]
    assert printed.startswith("Every id has its row: 601 rows of 4 numbers.")
    assert "The goal is reached: a row for the id of every user." in printed
    assert "3,608 parameters (user table and item table)\n" in printed
    assert plt.get_fignums()
    plt.close("all")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", steps(), ids=lambda step: step.slug)
def test_a_notebook_runs_from_top_to_bottom(step: CourseStep, tmp_path: Path) -> None:
    outputs = execute(step_notebook(step.slug), tmp_path)
    errors = [output.ename for output in outputs if output.output_type == "error"]
    # The table that is too small is what the first program is about.
    assert errors == (["IndexError"] if step.slug == "embedding" else [])
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert f"The goal is {unlinked(step.goal)}." in printed
