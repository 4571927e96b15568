"""Event types that are dislikes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data.tables.positive_rows import damped, is_positive, learned_rows
from twotower.errors import ConfigError


def rows(positive: dict[str, object], **more: list[float]) -> tuple[list[str], list[str]]:
    """Items of the positives and of the dislikes."""
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b", "b"],
            "item_id": ["i", "j", "k", "l"],
            "event_type": ["click", "dislike", None, "hide"],
            **{name: pl.Series(values, dtype=pl.Float32) for name, values in more.items()},
        }
    )
    data = {"interactions": "x.csv", "positive": {**positive, "dislikes": "negatives"}}
    found = learned_rows(frame, parse_config({"data": data}).data, "x.csv", [])
    assert found.dislikes is not None
    return found.positives["item_id"].to_list(), found.dislikes["item_id"].to_list()


@pytest.mark.parametrize("weights", [{}, {"weight": [1, 5, 1, 5]}])
def test_negative_event_types_are_dislikes_whatever_their_weight(
    weights: dict[str, list[float]],
) -> None:
    negative: dict[str, object] = {"negative_event_types": ["dislike", "never seen"]}
    assert rows(negative, **weights) == (["i", "k", "l"], ["j"])
    some = {**negative, "event_types": ["click"]}
    assert rows(some, **weights) == (["i"], ["j"])


def test_a_single_event_is_judged_alike() -> None:
    data = {"interactions": "x.csv", "positive": {"negative_event_types": ["hide"]}}
    positive = parse_config({"data": data}).data.positive
    assert [is_positive(name, 5.0, positive) for name in ("hide", "click", None)] == [
        False,
        True,
        True,
    ]


def test_a_type_is_not_both_positive_and_negative() -> None:
    positive = {"event_weights": {"hide": 2}, "negative_event_types": ["hide"]}
    with pytest.raises(ConfigError, match="the event type 'hide' is in negative_event_types"):
        parse_config({"data": {"interactions": "x.csv", "positive": positive}})


def test_large_weights_are_said_to_count_by_their_logarithm() -> None:
    def notes(weights: list[float], **more: object) -> list[str]:
        frame = pl.DataFrame(
            {
                "user_id": ["a", "b", "c"],
                "item_id": ["i", "j", "k"],
                "event_type": ["view", "view", "buy"],
                "weight": pl.Series(weights, dtype=pl.Float32),
            }
        )
        data = parse_config({"data": {"interactions": "x.csv", "positive": more}}).data
        found: list[str] = []
        learned_rows(frame, data, "x.csv", found)
        in_test: list[str] = []
        learned_rows(frame, data, "x.csv", in_test, table="test")
        assert not any("above 10" in note for note in in_test)
        return [note for note in found if "above 10" in note]

    assert notes([1, 5, 10]) == []
    assert notes([1, 11, 352_698]) == [
        "x.csv: 2 of 3 rows have a weight above 10, 352,698 at most. Training counts a weight w "
        "above 10 as 10 (1 + ln(w / 10)), 352,698 as 115, so that a few rows do not outvote all "
        "others. To learn from weights as they are, divide them all so that the largest is 10."
    ]
    declared = notes([1, 1, 1], event_weights={"view": 1, "buy": 20})
    assert len(declared) == 1
    assert "1 of 3 rows have a weight above 10, 20 at most" in declared[0]
    assert damped(np.array([0.5, 10, 100], np.float32)) == pytest.approx([0.5, 10, 33.02585])
