"""Lessons as HTML and as trees of elements."""

from __future__ import annotations

import re

import pytest

from twotower.lessons.pages import Tree, html, tree
from twotower.lessons.texts import Lesson, lessons

MATHML = "http://www.w3.org/1998/Math/MathML"
NAMES = set(
    "a br code details div em h1 h2 h3 img li ol p pre span strong summary ul".split()  # noqa: SIM905
)
"""Elements besides formulas that the studio knows: `static/shared/tree.js`."""


def elements(root: Tree) -> list[Tree]:
    found = [root]
    for child in root[2:]:
        if isinstance(child, list):
            found += [child] if child[0] == "math" else elements(child)
    return found


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_a_lesson_is_a_tree_of_known_elements(lesson: Lesson) -> None:
    found = elements(tree(lesson.text))
    names = {element[0] for element in found}
    assert names <= NAMES | {"math"}
    assert {"math", "img", "details"} <= names
    assert sum(element[0] == "details" for element in found) == 3
    for element in found:
        if element[0] == "img":
            assert element[1]["src"].startswith("data:image/svg+xml;base64,")
            assert len(element[1]["alt"]) > 20


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.slug)
def test_no_formula_keeps_latex_that_the_library_does_not_know(lesson: Lesson) -> None:
    for formula in re.findall(r"<math.*?</math>", html(lesson.text), re.DOTALL):
        assert "\\" not in formula
    assert "$" not in re.sub(r"<pre>.*?</pre>", "", html(lesson.text), flags=re.DOTALL)


def test_a_page_in_full() -> None:
    page = "A *b* $x_1$ & c.\n\n<!-- bundle: dot-product -->\n\n$$\n\\frac{1}{2}\n$$\n"
    div, attributes, paragraph, *rest = tree(page)
    assert (div, attributes) == ("div", {})
    assert paragraph[:4] == ["p", {}, "A ", ["em", {}, "b"]]
    assert paragraph[-1] == " & c."
    inline = paragraph[5]
    assert inline[:2] == ["span", {"class": "math inline"}]
    assert inline[2][0] == "math"
    placed, block = (child for child in rest if isinstance(child, list))
    assert placed == ["div", {"data-bundle": "dot-product"}]
    assert block[1] == {"class": "math block"}
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>" in html(page)
