"""Raw values to nums and back, whatever their spelling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.errors import DataError

TEXTS = st.lists(st.text(max_size=5), unique=True, min_size=1)
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1)


def vocabulary(values: list[str] | list[int], num_oov: int = 1) -> Vocabulary:
    dtype = pl.Int64 if isinstance(values[0], int) else pl.String
    return Vocabulary(pl.Series("ours", values, dtype=dtype), num_oov=num_oov)


@given(st.one_of(TEXTS, INTEGERS), st.integers(1, 4))
def test_encode_and_decode_round_trip(values: list[str] | list[int], num_oov: int) -> None:
    ours = vocabulary(values, num_oov)
    nums = ours.encode(ours.values)
    assert nums.dtype == np.int64
    assert nums.tolist() == list(range(1 + num_oov, 1 + num_oov + len(values)))
    assert ours.num_embeddings == 1 + num_oov + len(values)
    assert len(ours) == len(values)
    assert ours.decode(nums) == values


@given(TEXTS, TEXTS, st.integers(1, 5))
def test_unknown_values_get_the_same_oov_num_wherever_they_stand(
    known: list[str], others: list[str], num_oov: int
) -> None:
    ours = vocabulary(known, num_oov)
    nums = ours.encode([*others, None, *known])
    for value, num in zip(others, nums, strict=False):
        assert (num >= ours.first_known) == (value in known)
        assert 1 <= num < ours.num_embeddings
        assert ours.encode([value]).tolist() == [num]
    assert nums[len(others)] == PADDING
    assert ours.decode(np.array([0, *range(1, 1 + num_oov)])) == [None] * (1 + num_oov)


@given(st.one_of(TEXTS, INTEGERS), st.integers(1, 3))
def test_save_and_load(
    tmp_path_factory: pytest.TempPathFactory, values: list[str] | list[int], num_oov: int
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "v.arrow"
    ours = vocabulary(values, num_oov)
    ours.save(path)
    loaded = Vocabulary.load(path, num_oov=num_oov)
    assert loaded == ours
    asked = [*values, None, "never seen", 123_456]
    assert loaded.encode(asked).tolist() == ours.encode(asked).tolist()


def test_oov_rows_by_crc32_so_that_every_process_agrees() -> None:
    ours = vocabulary(["known"], num_oov=3)
    # CRC-32 of "123456789" is 0xCBF43926 (the standard's check value), of "a" 0xE8B7BE43, of "abc"
    # 0x352441C2: modulo 3 that is 2, 0, 0.
    assert ours.encode(["123456789", "a", "abc"]).tolist() == [3, 1, 1]
    assert ours.encode([123456789]).tolist() == [3]


def test_integers_and_their_text_are_the_same_value() -> None:
    integers, texts = vocabulary([5, 7]), vocabulary(["5", "7"])
    for ours in (integers, texts):
        assert ours.encode([7, 5, 6]).tolist() == [3, 2, 1]
        assert ours.encode(["7", "5", "six"]).tolist() == [3, 2, 1]
        assert ours.encode(["7", 5, None]).tolist() == [3, 2, 0]
        assert ours.encode(pl.Series([7.0, 5.5, None, float("nan")])).tolist() == [3, 1, 0, 0]
        assert ours.encode(pl.Series([7, 5], dtype=pl.Int8)).tolist() == [3, 2]
        assert ours.encode(["07", "+7", "-0", " 7", "5 ", "5.0"]).tolist() == [1] * 6


def test_an_integer_beyond_64_bits_is_unknown() -> None:
    assert vocabulary([1]).encode([2**63]).tolist() == [1]
    assert vocabulary([1]).encode([str(2**70)]).tolist() == [1]


def test_text_in_a_vocabulary_that_holds_the_smallest_integer() -> None:
    ours = vocabulary([-(2**63), 4])
    assert ours.encode(["text", "4"]).tolist() == [1, 3]


def test_nothing_and_nulls_alone() -> None:
    ours = vocabulary(["a"])
    assert ours.encode([]).tolist() == []
    assert ours.encode([None, None]).tolist() == [0, 0]
    assert ours.encode(pl.Series([None], dtype=pl.Null)).tolist() == [0]
    assert ours.decode(np.zeros(0, dtype=np.int64)) == []


def test_an_empty_vocabulary_knows_nothing() -> None:
    ours = Vocabulary.build(pl.Series("c", [], dtype=pl.String))
    assert ours.num_embeddings == 2
    assert ours.encode(["a", None]).tolist() == [1, 0]
    assert ours.decode(np.array([0, 1])) == [None, None]


def test_build_sorts_and_drops_rare_values_and_nulls() -> None:
    column = pl.Series("count", ["b", "a", None, "b", "c", "a", None, None])
    assert Vocabulary.build(column).values.to_list() == ["a", "b", "c"]
    assert Vocabulary.build(column, min_count=2).values.to_list() == ["a", "b"]
    assert Vocabulary.build(column, min_count=2, num_oov=4).first_known == 5


def test_equality_minds_type_order_and_oov() -> None:
    assert vocabulary(["1", "2"]) == vocabulary(["1", "2"])
    assert vocabulary(["1", "2"]) != vocabulary(["2", "1"])
    assert vocabulary(["1", "2"]) != vocabulary([1, 2])
    assert vocabulary(["1"]) != vocabulary(["1"], num_oov=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pl.Series("genre", [1.5]),
            "column 'genre': a vocabulary takes strings or integers, not Float64. "
            "Fix: cast the column to text or to integers.",
        ),
        (
            pl.Series("genre", ["a", None]),
            "column 'genre': a vocabulary takes each value once and no null.",
        ),
        (
            pl.Series("genre", ["a", "a"]),
            "column 'genre': a vocabulary takes each value once and no null.",
        ),
        (
            pl.Series("genre", [1, 2**63], dtype=pl.UInt64),
            "column 'genre': a vocabulary takes integers of 64 bits with a sign (found "
            "9223372036854775808). Fix: cast the column to text.",
        ),
    ],
)
def test_what_is_no_vocabulary(values: pl.Series, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Vocabulary(values)
    assert str(caught.value) == message


def test_without_an_oov_row() -> None:
    with pytest.raises(ValueError, match=r"^The 'num_oov' parameter must be at least 1\. Got 0 "):
        vocabulary(["a"], num_oov=0)


def test_a_loaded_file_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "v.arrow"
    vocabulary(["a", "b"]).save(path)
    loaded = Vocabulary.load(path, num_oov=1)
    path.write_bytes(b"")
    assert loaded.encode(["b"]).tolist() == [3]
