"""Event types that are dislikes."""

from __future__ import annotations

import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data.tables.positive_rows import is_positive, learned_rows
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
