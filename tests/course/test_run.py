from __future__ import annotations

import re

import pytest

from twotower.course.contents import steps
from twotower.course.run import run_snippet, run_step
from twotower.errors import DataError

PROGRAMS = [(one.slug, n) for one in steps() for n in range(len(one.snippets))]
ENDS_WITH_AN_ERROR = {("embedding", 0)}


@pytest.mark.parametrize(("slug", "number"), PROGRAMS)
def test_each_program_runs_with_its_numbers(slug: str, number: int) -> None:
    output = run_snippet(slug, number, {})
    assert output
    assert ("Error" in output) is ((slug, number) in ENDS_WITH_AN_ERROR)


def test_the_numbers_of_a_program_can_be_changed() -> None:
    small, large = (run_snippet("embedding", 0, {"rows": rows, "id": 7}) for rows in (7, 8))
    assert small.splitlines() == [
        "torch.Size([7, 4])",
        "IndexError: index out of range in self",
    ]
    assert large.splitlines() == ["torch.Size([8, 4])", "torch.Size([2, 4])"]


def test_two_linear_layers_are_one_in_the_program() -> None:
    linear, relu = run_snippet("activation", 0, {"width": 32}).splitlines()
    assert re.search(r"[+-]0\.0000$", linear)
    assert not re.search(r"[+-]0\.0000$", relu)


@pytest.mark.parametrize("value", ["__import__('os')", 1e9, None, "8; print(1)"])
def test_code_cannot_be_changed(value: object) -> None:
    with pytest.raises(DataError, match="rows must be a number from 1 to 10000"):
        run_snippet("embedding", 0, {"rows": value})


def test_a_choice_that_does_not_exist_is_refused_before_anything_runs() -> None:
    with pytest.raises(DataError, match="activation must be one of none, relu, gelu, tanh"):
        run_step("activation", {"activation": "sigmoid"})
