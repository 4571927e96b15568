"""A table smaller than its largest id is caught before the lookup."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from twotower.data.features.vocabulary import Vocabulary
from twotower.errors import EmbeddingRangeError
from twotower.models.layers.embedding import EmbeddingTable, check_range

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.mark.parametrize("device", DEVICES)
def test_an_id_beyond_the_table_names_everything(device: str) -> None:
    table = EmbeddingTable(100, 4, column="item_id").to(device)
    with pytest.raises(EmbeddingRangeError) as caught:
        table(torch.tensor([[1, 99], [250, 3]], device=device))
    assert str(caught.value) == (
        "column 'item_id': the largest integer is 250, but the embedding table has 100 rows "
        "(0 to 99) (found 250). Fix: make the table with at least 251 rows, or encode the raw "
        "values with a Vocabulary and make the table from it."
    )


def test_a_negative_id() -> None:
    with pytest.raises(EmbeddingRangeError) as caught:
        check_range(torch.tensor([3, -7]), 10, "user_id")
    assert str(caught.value) == (
        "column 'user_id': holds integers below 0, the smallest is -7 (found -7). Fix: encode raw "
        "values with a Vocabulary, which gives nums from 0 on."
    )


def test_the_edges_are_fine() -> None:
    check_range(torch.tensor([0, 9]), 10, "x")
    check_range(torch.tensor([], dtype=torch.long), 10, "x")


def test_a_table_from_a_vocabulary_fits_every_value_that_it_can_meet() -> None:
    vocabulary = Vocabulary(pl.Series([10, 2_000_000_000, -3]), num_oov=2)
    table = EmbeddingTable.from_vocabulary(vocabulary, 8, column="item_id")
    nums = vocabulary.encode(pl.Series([2_000_000_000, 10, -3, 999, 1000, None]))
    assert table.num_embeddings == 6
    assert table(torch.from_numpy(nums)).shape == (6, 8)


def test_padding_is_zero_and_known_rows_have_about_unit_length() -> None:
    table = EmbeddingTable(1000, 64, generator=torch.Generator().manual_seed(0))
    assert table(torch.tensor([0])).abs().sum() == 0
    lengths = table.weight[1:].detach().norm(dim=1)
    assert 0.95 < float(lengths.mean()) < 1.05
