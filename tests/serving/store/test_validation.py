"""What is rejected before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twotower.errors import DataError
from twotower.serving.store.protocol import Impression, ItemChange, StoredEvent
from twotower.serving.store.validation import check_changes, check_events, check_impressions

EVENT = StoredEvent("e", "u", "i", 1_700_000_000)
IMPRESSION = Impression("r", "u", ("i", 2), "v1", "known", 1_700_000_000)
BROKEN = (
    "contains a null character or an unpaired surrogate (found {}). Fix: send valid Unicode text "
    "without null characters."
)
VALUE = "must be text, a number, a boolean, null, or a list of these (found {})."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event_id": ""}, "column 'event_id': must not be empty (found '')."),
        ({"event_id": 5}, "column 'event_id': must be text (found 5)."),
        ({"user_id": " \n"}, "column 'user_id': must not be empty (found ' \\n')."),
        ({"user_id": True}, "column 'user_id': an id must be text or an integer (found True)."),
        ({"user_id": None}, "column 'user_id': an id must be text or an integer."),
        ({"item_id": 1.5}, "column 'item_id': an id must be text or an integer (found 1.5)."),
        (
            {"item_id": 2**63},
            "column 'item_id': an integer id must fit into 64 bits (found 9223372036854775808).",
        ),
        ({"item_id": "a\ud800"}, f"column 'item_id': {BROKEN.format(repr('a' + chr(0xD800)))}"),
        ({"item_id": "\udfffa"}, f"column 'item_id': {BROKEN.format(repr(chr(0xDFFF) + 'a'))}"),
        (
            {"timestamp": 1.5},
            "column 'timestamp': must be an integer, seconds since 1970 UTC (found 1.5).",
        ),
        (
            {"timestamp": True},
            "column 'timestamp': must be an integer, seconds since 1970 UTC (found True).",
        ),
        (
            {"timestamp": 1_700_000_000_000},
            "column 'timestamp': is beyond the year 5138 (found 1700000000000). Fix: send "
            "seconds, not milliseconds.",
        ),
        ({"event_type": ""}, "column 'event_type': must not be empty (found '')."),
        ({"request_id": "\0"}, f"column 'request_id': {BROKEN.format(repr(chr(0)))}"),
        (
            {"variant": "x" * 501},
            "column 'variant': has 501 characters; the maximum is 500 (found "
            f"'{'x' * 37}...{'x' * 37}').",
        ),
        ({"weight": "5"}, "column 'weight': must be a number (found '5')."),
        ({"weight": False}, "column 'weight': must be a number (found False)."),
        (
            {"weight": float("nan")},
            "column 'weight': must be a finite 32-bit number (found nan).",
        ),
        ({"weight": 1e39}, "column 'weight': must be a finite 32-bit number (found 1e+39)."),
        (
            {"context": ["a"]},
            "column 'context': must be an object (found ['a']).",
        ),
        (
            {"context": {"user_id": 1}},
            "column 'context': this name is reserved (found 'user_id').",
        ),
        ({"context": {"": 1}}, "column 'context': must not be empty (found '')."),
        ({"context": {"a": {}}}, f"column 'context.a': {VALUE.format('{}')}"),
        ({"context": {"a": [[1]]}}, f"column 'context.a': {VALUE.format('[1]')}"),
        ({"context": {"a": b"x"}}, f"column 'context.a': {VALUE.format(repr(b'x'))}"),
        ({"context": {"a": "\0"}}, f"column 'context.a': {BROKEN.format(repr(chr(0)))}"),
        (
            {"context": {"a": 2**63}},
            "column 'context.a': an integer must fit into 64 bits (found 9223372036854775808).",
        ),
        (
            {"context": {"a": float("inf")}},
            "column 'context.a': must be a finite number (found inf).",
        ),
        (
            {"context": {"a": "x" * 100_000}},
            "column 'context': must have at most 100,000 characters as JSON (found 100009).",
        ),
    ],
)
def test_an_event_that_cannot_be_stored(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        check_events([EVENT, replace(EVENT, **changes)])
    assert str(caught.value) == f"row 2, {expected}"


def test_the_largest_and_the_smallest() -> None:
    check_events(
        [
            StoredEvent("x" * 500, 2**63 - 1, -(2**63), 0, weight=-3.4e38, context={"a": -(2**63)}),
            StoredEvent(
                "é", "u", "i", -5, weight=0, context={"a": [None, True, 1, 0.5, "𝄞"], "b": []}
            ),
            StoredEvent("e", "u", "i", 100_000_000_000, context={"a": "x" * 99_991}),
        ]
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"request_id": None}, "column 'request_id': must be text."),
        ({"model_version": ""}, "column 'model_version': must not be empty (found '')."),
        ({"path": 1}, "column 'path': must be text (found 1)."),
        ({"variant": ""}, "column 'variant': must not be empty (found '')."),
        ({"user_id": 0.5}, "column 'user_id': an id must be text or an integer (found 0.5)."),
        (
            {"item_ids": ("a", None)},
            "column 'item_ids': an id must be text or an integer.",
        ),
        (
            {"scores": (1.0,)},
            "column 'scores': must have one score per item (2), or none (found 1).",
        ),
        (
            {"scores": (1.0, float("inf"))},
            "column 'scores': must be a finite number (found inf).",
        ),
        (
            {"timestamp": None},
            "column 'timestamp': must be an integer, seconds since 1970 UTC.",
        ),
    ],
)
def test_an_impression_that_cannot_be_stored(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        check_impressions([IMPRESSION, replace(IMPRESSION, **changes)])
    assert str(caught.value) == f"row 2, {expected}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ItemChange("", {}),
            "row 1, column 'item_id': must not be empty (found '').",
        ),
        (
            ItemChange("i", {"item_id": "j"}),
            "row 1, column 'columns': this name is reserved (found 'item_id').",
        ),
        (ItemChange("i", {"a": {}}), f"row 1, column 'columns.a': {VALUE.format('{}')}"),
    ],
)
def test_a_change_that_cannot_be_stored(change: ItemChange, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        check_changes([change])
    assert str(caught.value) == expected
