from __future__ import annotations

import re
from typing import Any

import pytest

from twotower.course.contents import LINK, CourseStep, parse, step, steps, unlinked
from twotower.errors import DataError
from twotower.lessons.texts import lessons
from twotower.web.studio.glossary.examples import EXAMPLES


def test_the_first_question_is_about_a_table_that_is_too_small() -> None:
    assert steps()[0].questions[0].text == (
        "What happens if `input_dim` of your embedding layer is smaller than the maximum user id?"
    )


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_a_step_is_about_terms_of_the_glossary(one: CourseStep) -> None:
    assert set(one.terms) <= set(EXAMPLES)


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_links_of_a_text_lead_to_terms_of_the_glossary(one: CourseStep) -> None:
    texts = [one.text, one.task, one.goal, *(verdict.text for verdict in one.verdicts.values())]
    whys = [answer.why for question in one.questions for answer in question.answers]
    linked = {slug for text in texts for _, slug in LINK.findall(text)}
    assert linked | {slug for text in whys for _, slug in LINK.findall(text)} <= set(EXAMPLES)
    assert linked >= set(one.terms)


def test_what_is_measured_is_explained_at_its_first_use() -> None:
    linked = {slug for _, slug in LINK.findall(steps()[0].text)}
    assert linked >= {"ndcg-at-k", "loss", "epoch", "validation"}


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_a_step_points_to_its_lesson(one: CourseStep) -> None:
    assert one.lesson in {lesson.slug for lesson in lessons()}


def test_a_text_without_its_links() -> None:
    assert unlinked("a [dot product](dot-product) [p = 0.1](p-value)") == "a dot product p = 0.1"


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_the_defaults_are_choices(one: CourseStep) -> None:
    assert one.read({}) == one.read({field.name: field.default for field in one.fields})


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_each_wrong_answer_is_explained(one: CourseStep) -> None:
    whys = [answer.why for question in one.questions for answer in question.answers]
    assert len(set(whys)) == len(whys)
    # Why it is wrong, and what is right: more than one sentence.
    assert all(len(re.findall(r"[.:!?](?: |$)", why)) > 1 for why in whys)
    for question in one.questions:
        for answer in question.answers:
            assert answer.why.startswith("Right") is answer.right
    right = [
        [answer.right for answer in question.answers].index(True) for question in one.questions
    ]
    assert len(right) == len(one.questions)


def test_the_right_answer_is_not_always_in_the_same_place() -> None:
    places = [
        [answer.right for answer in question.answers].index(True)
        for one in steps()
        for question in one.questions
    ]
    assert max(places.count(place) for place in set(places)) < 0.6 * len(places)


@pytest.mark.parametrize("one", steps(), ids=lambda one: one.slug)
def test_placeholders_of_programs_are_their_numbers(one: CourseStep) -> None:
    for snippet in one.snippets:
        used = set(re.findall(r"\$(\w+)", snippet.code))
        assert used == {field.name for field in snippet.numbers}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"num_embeddings": 0},
            "num_embeddings must be a number from 1 to 5000 (found 0). Fix: change the number.",
        ),
        (
            {"num_embeddings": True},
            "num_embeddings must be a number from 1 to 5000 (found True). Fix: change the number.",
        ),
        (
            {"num_embeddings": 1.5},
            "num_embeddings must be a whole number (found 1.5). Fix: round it.",
        ),
        (
            {"embedding_dim": "5"},
            "embedding_dim must be one of 4, 16, 64 (found '5'). Fix: choose one of them.",
        ),
        (
            {"width": 1},
            "there is no choice 'width'. Fix: choose num_embeddings, embedding_dim.",
        ),
    ],
)
def test_a_wrong_choice_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as refused:
        step("embedding").read(values)
    assert str(refused.value) == problem


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(DataError, match=r"there is no step 'attention'\. Fix: name one of embedd"):
        step("attention")
    with pytest.raises(DataError, match=r"has no program 2\. Fix: name one from 0 to 1\."):
        step("embedding").snippet(2)


def test_a_question_has_one_right_answer() -> None:
    text = """
title = "T"
node = "N"
part = "both"
has_parameters = true
terms = []
text = "a"
task = "b"
goal = "c"
lesson = "d"
fields = [{name = "x", label = "X", minimum = 0, maximum = 1, default = 0}]
verdicts = {}
snippets = [{title = "S", code = "print(1)", see = "1", change = "nothing"}]
[[questions]]
text = "q"
answers = [{text = "a", why = "w"}, {text = "b", why = "w"}, {text = "c", why = "w"}]
"""
    with pytest.raises(ValueError, match="exactly one answer must be right"):
        parse("bad", text)
