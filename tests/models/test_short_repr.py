from __future__ import annotations

import twotower as tt
from tests.data.small_shop import schema
from twotower.models.short_repr import parameter_counts


def test_the_repr_of_the_towers_is_one_line() -> None:
    model = tt.TwoTower(tt.RetrieverConfig(embedding_dim=8), schema())
    counts = parameter_counts(model)
    assert list(counts) == ["query_tower", "item_tower", "cold_tower", "own"]
    assert counts["own"] == 1  # the temperature
    total = sum(counts.values())
    assert total == sum(p.numel() for p in model.parameters())
    assert repr(model) == (
        f"TwoTower(embedding_dim=8, {total:,} parameters: query_tower "
        f"{counts['query_tower']:,}, item_tower {counts['item_tower']:,}, cold_tower "
        f"{counts['cold_tower']:,}, own 1)"
    )


def test_the_repr_of_the_ranker_is_one_line() -> None:
    model = tt.NeuralCF(tt.RankerConfig(embedding_dim=8), schema())
    assert repr(model).startswith("NeuralCF(embedding_dim=8, ")
    assert "\n" not in repr(model)


def test_a_notebook_shows_the_parameters() -> None:
    model = tt.TwoTower(tt.RetrieverConfig(embedding_dim=8), schema())
    page = model._repr_html_()
    assert "<caption>TwoTower, embedding_dim=8</caption>" in page
    assert f"<td>{parameter_counts(model)['item_tower']:,}</td>" in page
