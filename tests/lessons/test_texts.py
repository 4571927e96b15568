"""Lessons: they have one form, and no figure of a text is made up."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from twotower.lessons.texts import BUNDLE, FOLDER, PLOTS, SNIPPET, Lesson, lessons
from twotower.web.studio.glossary.terms_page import terms

INDEX = Path(__file__).resolve().parents[2] / "docs" / "lessons" / "README.md"
FIGURE = re.compile(r"\d+\.\d+")
MATH = re.compile(r"\$\$.*?\$\$|\$[^$]+\$", re.DOTALL)


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_a_lesson_has_the_form_of_all_and_tells_only_figures_that_it_shows(lesson: Lesson) -> None:
    page = lesson.text
    assert page.startswith(f"# {lesson.slug[0]}. ")
    assert re.findall(r"^## (?:Takeaways|Exercises|References)$", page, re.MULTILINE) == [
        "## Takeaways",
        "## Exercises",
        "## References",
    ]
    text, references = page.split("\n## References\n")
    assert 3 <= len(re.findall(r"^- \w", references, re.MULTILINE)) <= 6
    assert MATH.search(text)
    snippets = "".join(found[0] for found in SNIPPET.finditer(text))
    assert "assert " in snippets
    told = MATH.sub("", SNIPPET.sub("", text))
    assert set(FIGURE.findall(told)) <= set(FIGURE.findall(snippets))


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_each_exercise_has_a_solution(lesson: Lesson) -> None:
    exercises = lesson.text.split("\n## Exercises\n")[1].split("\n## References\n")[0]
    parts = re.split(r"^### Exercise (\d)\n", exercises, flags=re.MULTILINE)
    assert parts[1::2] == ["1", "2", "3"]
    for part in parts[2::2]:
        question, solution = part.split("<details>\n<summary>Solution</summary>\n")
        assert question.strip()
        assert solution.rstrip().endswith("</details>")
        assert len(solution) > 200


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_plots_and_examples_of_the_bundle_exist(lesson: Lesson) -> None:
    plots = [found["plot"] for found in SNIPPET.finditer(lesson.text) if found["plot"]]
    assert plots
    assert lesson.text.count("](plots/") == lesson.text.count("plt.show()") == len(plots)
    assert all((PLOTS / plot).is_file() for plot in plots)
    slugs = {found["slug"] for found in BUNDLE.finditer(lesson.text)}
    assert slugs
    assert slugs <= {term.slug for term in terms()}


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_snippets_import_only_what_an_installation_brings(lesson: Lesson) -> None:
    project = tomllib.loads((INDEX.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split("[>=<;]", text)[0] for text in project["project"]["dependencies"]}
    allowed = {name.removesuffix("-cpu") for name in names} | {"twotower"} | sys.stdlib_module_names
    code = "\n".join(found["code"] for found in SNIPPET.finditer(lesson.text))
    imported = {
        module.split(".")[0]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module] if isinstance(node, ast.ImportFrom) else names_of(node))
        if module is not None
    }
    assert "twotower" in imported
    assert imported <= allowed


def names_of(node: ast.Import) -> list[str]:
    return [alias.name for alias in node.names]


def test_no_plot_is_left_over() -> None:
    shown = re.findall(r"\]\(plots/([^)]+)\)", "".join(lesson.text for lesson in lessons()))
    assert sorted(shown) == sorted(path.name for path in PLOTS.iterdir())


def test_the_index_names_all_lessons_in_their_order() -> None:
    index = INDEX.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((\S+/\d[^)/]*\.md)\)", index)
    assert [(INDEX.parent / link).resolve() for link in linked] == [
        FOLDER / f"{lesson.slug}.md" for lesson in lessons()
    ]
    listed = re.findall(r"^\d\. \[([^\]]+)\]", index, re.MULTILINE)
    assert [f"{n}. {title}" for n, title in enumerate(listed, start=1)] == [
        lesson.title for lesson in lessons()
    ]
