"""Lessons: snippets run and print what stands below them, and no figure of a text is made up."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "lessons"
LESSONS = sorted(FOLDER.glob("[0-9]*.md"))
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
FIGURE = re.compile(r"\d+\.\d+")
QUESTIONS = "\n## Questions to try\n"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_lessons", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_runs_and_prints_what_it_shows(
    lesson: Path, runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    page = lesson.read_text(encoding="utf-8")
    shown = [found["printed"] or "" for found in runner.SNIPPET.finditer(page)]
    printed = runner.run(lesson)
    assert len(printed) == len(shown) >= 4
    for told, again in zip(shown, printed, strict=True):
        assert NUMBER.sub("#", told) == NUMBER.sub("#", again)
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (told, again)]
        # The arithmetic of another machine sends training another way; what a lesson claims of its
        # figures stands in the snippets' own assertions.
        assert numbers[0] == pytest.approx(numbers[1], rel=0.25, abs=0.05)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_has_the_form_of_all_and_tells_only_figures_that_it_shows(
    lesson: Path, runner: ModuleType
) -> None:
    page = lesson.read_text(encoding="utf-8")
    assert 80 <= page.count("\n") <= 240
    assert page.startswith(f"# {lesson.name[0]}. ")
    told, questions = page.split(QUESTIONS)
    assert 2 <= len(re.findall(r"^\d\. ", questions, re.MULTILINE)) <= 3
    snippets = "".join(found[0] for found in runner.SNIPPET.finditer(page))
    assert "assert " in snippets
    text = runner.SNIPPET.sub("", told)
    assert set(FIGURE.findall(text)) <= set(FIGURE.findall(snippets))


def test_the_index_names_all_lessons_in_their_order() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d[^)]*)\)", index) == [lesson.name for lesson in LESSONS]
    titles = [lesson.read_text(encoding="utf-8").split("\n")[0] for lesson in LESSONS]
    listed = re.findall(r"^\d\. \[([^\]]+)\]", re.sub(r"\n +", " ", index), re.MULTILINE)
    assert [f"# {n}. {title}" for n, title in enumerate(listed, start=1)] == titles


def test_what_is_printed_is_put_below_its_snippet(runner: ModuleType, tmp_path: Path) -> None:
    lesson = tmp_path / "0-x.md"
    before = "# X\n\n```python\nx = 1\n```\n\nThen\n\n```python\nprint(x + 1)\n```\n"
    lesson.write_text(before, encoding="utf-8")
    once = runner.written(lesson, runner.run(lesson))
    assert once == before + "\n```text\n2\n```\n"
    lesson.write_text(once, encoding="utf-8")
    assert runner.written(lesson, ["", "3\n"]) == before + "\n```text\n3\n```\n"
