from __future__ import annotations

import math
import re

import numpy as np
import pytest

from twotower.course.contents import step, steps
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


# --- what the texts say of the outputs -----------------------------------------------------------


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.?\d*", text)]


def says(slug: str, number: int, *given: str) -> None:
    """The texts of a program have these words, so that a test of them is one of the texts."""
    snippet = step(slug).snippet(number)
    for words in given:
        assert words in snippet.see + " " + snippet.change


def test_what_is_said_of_a_table_that_is_too_small() -> None:
    says("embedding", 0, "600 rows", "id 600 then fails", "Set the rows to 601 or the id to 599")
    shape, error = run_snippet("embedding", 0, {}).splitlines()
    assert shape == "torch.Size([600, 4])"
    assert error.startswith("IndexError")
    assert "600" not in error
    for changed in ({"rows": 601}, {"id": 599}):
        assert run_snippet("embedding", 0, changed).splitlines()[1] == "torch.Size([2, 4])"


def test_what_is_said_of_a_vocabulary() -> None:
    says("embedding", 1, "u9 has the number 4", "never seen has the number 1", "five rows")
    assert run_snippet("embedding", 1, {}).splitlines() == ["[4 1]", "(5, 8)"]
    assert run_snippet("embedding", 1, {"dim": 3}).splitlines() == ["[4 1]", "(5, 3)"]


def test_what_is_said_of_scores() -> None:
    says("factorization", 0, "first user's list begins with item 0", "Set the number to 2")
    assert "best first: [[0, 1, 2], [2, 1, 0]]" in run_snippet("factorization", 0, {})
    changed = run_snippet("factorization", 0, {"first": 2.0})
    assert "best first: [[2, 1, 0], [2, 1, 0]]" in changed


def test_what_is_said_of_gradient_steps() -> None:
    def losses(**values: float) -> list[float]:
        lines = run_snippet("factorization", 1, values).splitlines()
        return [numbers(line)[1] for line in lines]

    says(
        "factorization", 1, "0.05 against 0.06", "raise it to 0.93 and lower the other one to -0.72"
    )
    says(
        "factorization", 1, "from 0.695 to 0.521", "the loss is 0.685", "50 steps it ends at 0.464"
    )
    says("factorization", 1, "the loss is 0.582, after the second 2.560, after the third 157.719")
    assert "step: 0.695, 0.685, 0.674, and" in step("factorization").text
    first, *_, last = run_snippet("factorization", 1, {}).splitlines()
    assert first == "step 0: loss 0.695, scores of user 1: [0.06, 0.05]"
    assert last == "step 10: loss 0.521, scores of user 1: [-0.72, 0.93]"
    assert losses()[:3] == [0.695, 0.685, 0.674]
    assert losses(rate=0.1)[-1] == 0.685
    assert losses(rate=20.0)[1:4] == [0.582, 2.56, 157.719]
    # The least there can be: user 0 gives both items one half.
    assert 2 / 3 * math.log(2) < losses(steps=50)[-1] == 0.464


@pytest.mark.parametrize("values", [{}, {"width": 1000}, {"seed": 7}])
def test_what_is_said_of_linear_layers(values: dict[str, int]) -> None:
    says("activation", 0, "Between linear layers it is 0", "No width and no seed")
    linear, relu = run_snippet("activation", 0, values).splitlines()
    assert numbers(linear) == [0]
    assert numbers(relu) != [0]


def test_what_is_said_of_a_width_of_one() -> None:
    says("activation", 0, "a width of 1 it can be nothing at all, as with the seed 3")
    assert numbers(run_snippet("activation", 0, {"width": 1, "seed": 3})) == [0, 0]


def test_what_is_said_of_hashed_words() -> None:
    says("item-tower", 0, "three rows: 242, 842 and 907", "first text are in four rows")
    texts = run_snippet("item-tower", 0, {}).splitlines()
    first, second = (set(numbers(text)) for text in texts)
    assert first & second == {242, 842, 907}
    assert len(first) == len(second) == 5
    assert len(numbers(run_snippet("item-tower", 0, {"buckets": 10}).splitlines()[0])) == 4


def test_what_is_said_of_a_history() -> None:
    says("user-tower", 0, "weight of 0.615", "half-life of 1 day", "With 1,000 days")
    weights, taste = (numbers(line) for line in run_snippet("user-tower", 0, {}).splitlines())
    assert weights[2] == 0.615 == pytest.approx(2 * weights[1], abs=0.002)
    assert taste[1] > taste[0]
    short = run_snippet("user-tower", 0, {"half_life": 1.0}).splitlines()[0]
    assert numbers(short)[2] > 0.99
    long = run_snippet("user-tower", 0, {"half_life": 1000.0}).splitlines()[1]
    assert numbers(long) == pytest.approx([0.667, 0.333], abs=0.005)


@pytest.mark.parametrize(
    ("temperature", "said"), [(0.1, "37%"), (0.02, "90%"), (0.5, "10%"), (10.0, "4%")]
)
def test_what_is_said_of_the_ten_highest_negatives(temperature: float, said: str) -> None:
    says("negatives", 0, said)
    output = run_snippet("negatives", 0, {"temperature": temperature})
    assert output == f"{said} of the gradient\n"


def test_what_is_said_of_logq() -> None:
    says("negatives", 1, "5.44", "0.83", "raises all three numbers by the same amount")
    usual, larger = (
        np.array(numbers(run_snippet("negatives", 1, {"batch_size": size}))) for size in (256, 4096)
    )
    assert (usual[0], usual[2]) == (5.44, 0.83)
    assert np.ptp(larger - usual) < 0.02
    assert (larger - usual).min() > 1


def test_what_is_said_of_a_filter() -> None:
    says(
        "search",
        0,
        "401 items",
        "only 5 are among them",
        "only 16 items are allowed",
        "22 are left",
    )
    assert numbers(run_snippet("search", 0, {})) == [401, 100, 5, 10]
    assert numbers(run_snippet("search", 0, {"share": 0.001})) == [16, 100, 0, 10]
    assert numbers(run_snippet("search", 0, {"candidates": 1000})) == [401, 1000, 22, 10]


@pytest.mark.parametrize(("rate", "kept"), [(0.5, 2), (0.2, 1.25), (0.9, 10)])
def test_what_is_said_of_dropout(rate: float, kept: float) -> None:
    says("ranker", 0, "the others are doubled", "the others 1.25", "multiplied by 10")
    training, serving = run_snippet("ranker", 0, {"rate": rate}).splitlines()
    *values, mean = numbers(training)
    assert values == pytest.approx([0, kept])
    assert mean == pytest.approx(1, abs=0.05)
    assert numbers(serving) == [1]


def test_what_is_said_of_chance() -> None:
    says("comparison", 0, "p is 0.31", "Set the seed to 14: p is 0.04", "a fifth as wide")

    def test(**values: int) -> tuple[float, float, float]:
        _, _, low, high, p = numbers(run_snippet("comparison", 0, values))
        return low, high, p

    low, high, p = test()
    assert low < 0 < high
    assert p == 0.31
    assert test(seed=14)[2] == 0.04
    winners = sum(test(seed=seed)[2] < 0.05 for seed in range(40))
    assert 0 < winners <= 5
    least, most, _ = test(users=5000)
    assert 0.15 < (most - least) / (high - low) < 0.25
