"""Public sets in the formats of their releases: what `init`, `check`, `train` and `evaluate` make
of them, held against what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from benchmarks.public_formats import FORMATS
from benchmarks.public_formats.amazon import amazon_2014_meta
from benchmarks.public_formats.expectation import Expectation, Format, Refused, Understood
from benchmarks.public_formats.files import byte_order_mark
from benchmarks.public_formats.log import GROUPS, ITEMS, USERS, make_log
from benchmarks.public_formats.running import run_format


def test_every_format_is_written_and_declared(tmp_path: Path) -> None:
    for make in FORMATS:
        folder = tmp_path / make.__name__
        folder.mkdir()
        expected = make(folder)
        for source in (expected.interactions, expected.users, expected.items):
            assert source is None or (folder / source).exists()
        if isinstance(expected, Understood):
            assert len(expected.rows) >= 1000
            assert expected.rows["user"].n_unique() == USERS
            assert expected.rows["item"].n_unique() == ITEMS
            assert bool(expected.edit) == bool(expected.asks)


def test_the_log_holds_a_planted_preference() -> None:
    log = make_log(0)
    liked = log.user % GROUPS == log.item % GROUPS
    assert len(log) == 22 * USERS
    assert log.stars[liked].mean() > log.stars[~liked].mean() + 1.5
    assert liked.mean() > 1.5 / GROUPS


# What the runner finds: each fault is planted in a declaration, so that it cannot pass unseen.


def plant(make: Format, **changes: object) -> Format:
    """The format with another declaration."""

    def planted(folder: Path) -> Expectation:
        return replace(make(folder), **changes)  # type: ignore[arg-type]

    return planted


def faults_of(make: Format, folder: Path) -> tuple[str, ...]:
    result = run_format(make, folder)
    assert result.outcome == "wrong"
    return result.faults


def test_a_lost_row_and_a_lost_user_are_found(tmp_path: Path) -> None:
    def make(folder: Path) -> Expectation:
        expected = byte_order_mark(folder)
        row = pl.DataFrame(
            {"user": ["new"], "item": ["i000"], "time": [10**18], "weight": [1.0]},
            schema=expected.rows.schema,
        )
        return replace(expected, rows=pl.concat([expected.rows, row]))

    assert faults_of(make, tmp_path) == (
        "1,320 positive rows, not 1,321",
        "60 ids of user_id, not 61; ['new'] differ",
    )


def test_wrong_times_are_found(tmp_path: Path) -> None:
    def make(folder: Path) -> Expectation:
        expected = byte_order_mark(folder)
        return replace(expected, rows=expected.rows.with_columns(pl.col("time") + 3600 * 10**9))

    (fault,) = faults_of(make, tmp_path)
    assert fault.startswith("times from ")


def test_another_column_a_threshold_and_a_feature_are_found(tmp_path: Path) -> None:
    wrong = plant(
        byte_order_mark,
        item_id=("product",),
        min_weight=(3.5, 4.0),
        features={"item.colour": "category"},
    )
    assert faults_of(wrong, tmp_path) == (
        "item_id is 'item_id', not 'product'",
        "min_weight is None, not from 3.5 to 4.0",
        "item.colour is out, not category",
    )


def test_an_edit_that_no_message_asks_for_is_found(tmp_path: Path) -> None:
    wrong = plant(byte_order_mark, item_id=("x",), edit=("training.epochs=2",), asks="no such word")
    assert faults_of(wrong, tmp_path)[-1] == "no message asks for the edit: no such word"


def test_an_accepted_table_that_should_be_refused_is_found(tmp_path: Path) -> None:
    def make(folder: Path) -> Expectation:
        return Refused(byte_order_mark(folder).interactions, cause="matrix")

    assert faults_of(make, tmp_path) == ("it was accepted",)


def test_a_refusal_with_another_cause_is_found(tmp_path: Path) -> None:
    (fault,) = faults_of(plant(amazon_2014_meta, cause="a word that is not in it"), tmp_path)
    assert fault.startswith("the message does not name the cause: ")
