"""Text: stable buckets, rare terms weigh more, a sentence encoder that runs once a text."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.content import sentence_model, work
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.dataset.entities import to_column
from twotower.data.features.cells import to_texts
from twotower.data.features.pretrained import load_sentence_model
from twotower.data.features.row_cache import RowCache, work_folder
from twotower.errors import ConfigError, DataError
from twotower.features.text import SentenceFeature, TextConfig, TextFeature

__all__ = ["work"]


def text(values: list[Any], **config: Any) -> TextFeature:
    entry = TextConfig.model_validate({"type": "text", "min_count": 1, **config})
    feature = entry.fit("plot", pl.Series("plot", values))
    assert isinstance(feature, TextFeature)
    return feature


def buckets(term: str, **config: Any) -> list[int]:
    entry = TextConfig.model_validate({"type": "text", **config})
    return [int(bucket) for bucket in entry.hash([term])[1]]


# --- the bag ------------------------------------------------------------------------------------


def test_words_and_pairs_in_the_order_of_the_text() -> None:
    feature = text(["A king. a queen", "x"])
    a, king, queen = (feature.nums[buckets(word)[0]] for word in ("a", "king", "queen"))
    a_king, king_a, a_queen = (
        feature.nums[buckets(pair)[1]] for pair in ("a king", "king a", "a queen")
    )
    nums = feature.encode(pl.Series(["a KING, a queen!", "queen", None, " ?"]))
    assert nums.tolist() == [[a, a_king, king, king_a, a_queen, queen], [queen], [], []]


def test_weights_are_inverse_document_frequencies() -> None:
    feature = text(["king king", "king ship", None, "king ship"], ngrams=1)
    king, ship = buckets("king")[0], buckets("ship")[0]
    assert feature.weights[king] == pytest.approx(1.0)
    assert feature.weights[ship] == pytest.approx(math.log(4 / 3) + 1)
    assert np.count_nonzero(feature.weights) == 2
    assert feature.weights[0] == 0


def test_nums_are_without_gaps() -> None:
    feature = text(["king ship", "king queen"], ngrams=1, min_count=2)
    assert feature.num_terms == 2
    assert feature.idf.tolist() == [0, feature.weights[buckets("king")[0]]]
    assert feature.nums.sum() == feature.nums[buckets("king")[0]] == 1


def test_rare_terms_are_left_out() -> None:
    feature = text(["king ship", "king", "queen"], ngrams=1, min_count=2)
    nums = feature.encode(pl.Series(["ship king", "queen", "never seen"]))
    assert feature.nums[buckets("king")[0]] == 1
    assert nums.tolist() == [[1], [], []]


def test_equal_texts_of_several_rows_count_as_several() -> None:
    assert text(["king", "king"], min_count=2).encode(pl.Series(["king"])).tolist() == [[1]]


def test_numbers_are_cast_and_lists_are_refused() -> None:
    feature = text([1984, 2001, None])
    number, spelled = (feature.encode(pl.Series([year])).tolist() for year in (1984.0, "1984"))
    assert number == spelled != [[]]
    with pytest.raises(DataError) as caught:
        feature.config.check(pl.Series("plot", [["a"]]), file="items.parquet")
    assert str(caught.value) == (
        "items.parquet, column 'plot': is declared as text, but holds values of type List(String). "
        "Fix: declare it 'categories', or join each list into one text."
    )
    with pytest.raises(DataError, match="Fix: write text"):
        feature.encode(pl.Series([b"\xff"]))


def test_composed_and_decomposed_letters_are_one_word() -> None:
    assert buckets("caf\u00e9") == buckets("cafe\u0301")
    assert buckets("\u7535\u5f71") != buckets("\u7535\u8bdd")


def test_a_megabyte_of_text_costs_a_page() -> None:
    feature = text(["king"])
    start = time.perf_counter()
    nums = feature.encode(pl.Series(["king " + "x" * 2**20, "w " * 2**19, "king"] * 20))
    assert time.perf_counter() - start < 2
    assert nums[0].tolist() == nums[2].tolist() == [feature.nums[buckets("king")[0]]] == [1]


def test_texts_are_cut_at_max_terms() -> None:
    words = " ".join(f"w{n}" for n in range(50))
    feature = text([words], max_terms=7, ngrams=1)
    kept = buckets(words, ngrams=1)[:7]
    assert feature.encode(pl.Series([words])).tolist() == [feature.nums[kept].tolist()]
    assert sorted(feature.nums[kept]) == list(range(1, 8))


def test_terms_that_are_ignored_are_told() -> None:
    texts = [" ".join(f"w{n}" for n in range(number)) for number in (3, 9, 8, 9)]
    column = pl.Series("plot", [*texts, "w1 w1 w1 w1 w1 w1 w1 w1", None, "", "w" * 9])
    assert TextConfig(type="text", max_terms=7, ngrams=1).unusable(column, file="items.csv") == (
        "items.csv, column 'plot': 3 of 6 texts have more than 7 different terms, 9 at most: 5 of "
        "31 terms are ignored. Fix: put the most important words first, or raise max_terms."
    )
    assert TextConfig(type="text", max_terms=17).unusable(column) is None
    assert TextConfig(type="text", max_terms=16).unusable(column) is not None


def test_the_ends_of_very_long_texts_are_told() -> None:
    column = pl.Series("plot", ["x" * 100 + " y"])
    assert TextConfig(type="text", max_terms=1).unusable(column) == (
        "column 'plot': 1 of 1 texts have more than 1 different terms, 3 at most: 2 of 3 terms are "
        "ignored. Fix: put the most important words first, or raise max_terms."
    )


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([None, None]),
        pl.Series(["", "  "]),
        pl.Series(["...", None]),
    ],
)
def test_texts_of_nothing(column: pl.Series) -> None:
    assert text(["king"]).encode(column).tolist() == [[], []]
    fitted = TextConfig(type="text").fit("plot", column)
    assert fitted.encode(pl.Series(["king"])).tolist() == [[]]


def test_zero_rows() -> None:
    feature = text([])
    assert feature.encode(pl.Series([], dtype=pl.String)).tolist() == []


def test_long_texts_among_short_ones_take_the_memory_of_their_terms() -> None:
    short = [f"red shoe {place % 1000}" for place in range(100_000)]
    long = [" ".join(f"w{place}" for place in range(first, first + 512)) for first in (0, 100)]
    column = pl.Series("title", [*short, *long])
    many: dict[str, Any] = {"ngrams": 1, "num_buckets": 4_000_000}
    feature = text([*short[:1000], *long], **many)
    encoded = feature.encode(column)
    terms = 3 * 100_000 + 2 * 512
    assert encoded.offsets.nbytes == 8 * 100_003
    assert encoded.values.nbytes == 4 * terms
    as_read = to_column(encoded)
    assert isinstance(as_read, RaggedTensor)
    assert as_read.nbytes == 8 * 100_003 + 4 * terms < 2_100_000
    batch = as_read[torch.tensor([7, 100_001, 1007])]
    of_words = [feature.nums[bucket] for bucket in buckets("red shoe 7", **many)]
    assert batch.lengths.tolist() == [3, 512, 3]
    assert batch.tolist()[0] == batch.tolist()[2] == of_words


def test_another_process_finds_the_same_buckets() -> None:
    program = (
        "from twotower.features.text import TextConfig\n"
        "print(TextConfig(type='text').hash(['ein k\u00f6nig geht'])[1].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(buckets("ein k\u00f6nig geht"))
    # What a bundle of today knows a bundle of tomorrow has to read.
    assert buckets("king of ships", num_buckets=1000) == KING_OF_SHIPS


KING_OF_SHIPS = [396, 814, 687, 95, 600]

texts = st.lists(
    st.one_of(
        st.none(), st.text(max_size=30), st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)
    )
)


@settings(deadline=None)
@given(texts, st.integers(1, 3), st.integers(1, 9), st.integers(1, 3))
def test_rows_hold_each_term_once_and_only_what_training_knows(
    values: list[str | None], ngrams: int, max_terms: int, min_count: int
) -> None:
    entry = TextConfig(
        type="text", num_buckets=50, ngrams=ngrams, max_terms=max_terms, min_count=min_count
    )
    column = pl.Series("plot", values, dtype=pl.String)
    feature = entry.fit("plot", column)
    assert isinstance(feature, TextFeature)
    nums = feature.encode(column)
    count = np.zeros(51, dtype=int)
    for value, row in zip(values, nums, strict=True):
        single = entry.hash([value or ""])[1]
        count[single] += 1
        kept = [feature.nums[bucket] for bucket in single if feature.weights[bucket] > 0]
        assert row.tolist() == kept
        assert len(set(kept)) == len(kept) <= max_terms
    there = len(to_texts(column).drop_nulls())
    known = count >= min_count
    np.testing.assert_allclose(
        feature.weights[known], np.log((1 + there) / (1 + count[known])) + 1, rtol=1e-6
    )
    assert not feature.weights[~known].any()


# --- sentence encoders --------------------------------------------------------------------------


def test_a_sentence_encoder_reads_each_text_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = sentence_model(tmp_path / "made")
    entry = TextConfig(type="text", encoder=encoder)
    feature = entry.fit("plot", pl.Series(["king"]))
    assert isinstance(feature, SentenceFeature)
    model = load_sentence_model(encoder)
    asked: list[str] = []
    plain = type(model).encode

    def encode(self: Any, texts: list[str], **options: Any) -> Any:
        asked.extend(texts)
        return plain(self, texts, **options)

    monkeypatch.setattr(type(model), "encode", encode)
    encoded = feature.encode(pl.Series(["king ship", None, "queen", "king ship ", ""]))
    assert encoded.shape == (5, 17)
    assert encoded.dtype == np.float32
    assert encoded[:, -1].tolist() == [0, 1, 0, 0, 1]
    assert not encoded[[1, 4], :-1].any()
    np.testing.assert_array_equal(encoded[0], encoded[3])
    np.testing.assert_allclose(
        encoded[2, :-1], plain(model, ["queen"], show_progress_bar=False)[0], atol=1e-5
    )
    assert asked == ["king ship", "queen"]
    again = feature.encode(pl.Series(["queen", "ship"]))
    assert asked == ["king ship", "queen", "ship"]
    np.testing.assert_array_equal(again[0], encoded[2])
    assert SentenceFeature("plot", entry, **feature.save().state) == feature


def test_a_model_that_is_not_the_one_of_training(tmp_path: Path) -> None:
    encoder = sentence_model(tmp_path / "made")
    entry = TextConfig(type="text", encoder=encoder)
    other = SentenceFeature("plot", entry, dim=16, identity="another")
    with pytest.raises(ConfigError) as caught:
        other.encode(pl.Series(["king"]))
    assert str(caught.value) == (
        f"the encoder {encoder!r} is not the model that training read. Fix: put that model back, "
        "or train again."
    )


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    (tmp_path / "empty").mkdir()
    entry = TextConfig(type="text", encoder=str(tmp_path / "empty"))
    with pytest.raises(ConfigError) as caught:
        entry.fit("plot", pl.Series(["king"]))
    start, end = str(caught.value).split(" cannot be loaded as ")
    assert start == f"the encoder {str(tmp_path / 'empty')!r}"
    assert end.startswith("a sentence-transformers model: ")
    assert end.endswith(
        " Fix: name a folder that holds such a model, or a model's full name, or leave 'encoder' "
        "out."
    )


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    load_sentence_model.cache_clear()
    entry = TextConfig(type="text", encoder="some/model")
    with pytest.raises(ConfigError) as caught:
        entry.fit("plot", pl.Series(["king"]))
    assert str(caught.value).startswith(
        "the encoder 'some/model' needs sentence_transformers, which cannot be imported: "
    )
    assert str(caught.value).endswith(" Fix: pip install 'twotower[text]', or leave 'encoder' out.")


# --- the work folder ----------------------------------------------------------------------------

KEYS = [bytes([n]) * 32 for n in range(3)]


def test_rows_are_kept(work: Path) -> None:
    cache = RowCache("rows", 2, np.float32)
    cache.add(KEYS[:1], np.array([[1, 2]], dtype=np.float32))
    cache.add(KEYS[1:2], np.array([[3, 4]], dtype=np.float32))
    again = RowCache("rows", 2, np.float32)
    assert work_folder() == work
    assert [path.name for path in work.iterdir()] == ["rows.npy"]
    assert len(again) == 2
    assert KEYS[2] not in again
    assert again.rows([KEYS[1], KEYS[0]]).tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("spoil", [b"", b"no array", None])
def test_a_cache_that_cannot_be_read_is_made_anew(work: Path, spoil: bytes | None) -> None:
    RowCache("rows", 2, np.uint8).add(KEYS, np.ones((3, 2), dtype=np.uint8))
    path = work / "rows.npy"
    path.write_bytes(path.read_bytes()[:-5] if spoil is None else spoil)
    cache = RowCache("rows", 2, np.uint8)
    assert len(cache) == 0
    cache.add(KEYS[:1], np.full((1, 2), 7, dtype=np.uint8))
    assert RowCache("rows", 2, np.uint8).rows(KEYS[:1]).tolist() == [[7, 7]]


def test_rows_of_another_kind_are_not_taken(work: Path) -> None:
    RowCache("rows", 2, np.uint8).add(KEYS, np.ones((3, 2), dtype=np.uint8))
    assert len(RowCache("rows", 3, np.uint8)) == 0
    assert len(RowCache("rows", 2, np.float32)) == 0
    np.save(work / "rows.npy", np.ones(3))
    assert len(RowCache("rows", 2, np.uint8)) == 0


def test_a_folder_that_cannot_be_written(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work.parent.joinpath("file").write_text("no folder")
    monkeypatch.setenv("TWOTOWER_WORK", str(work.parent / "file"))
    cache = RowCache("rows", 1, np.uint8)
    with caplog.at_level(logging.WARNING, "twotower"):
        cache.add(KEYS[:1], np.ones((1, 1), dtype=np.uint8))
    assert "set TWOTOWER_WORK to a folder with room" in caplog.text
    assert cache.rows(KEYS[:1]).tolist() == [[1]]
