"""What lessons tell of the library's defaults is what the config says."""

from __future__ import annotations

import re

import pytest

from twotower.config import IndexConfig, RankerConfig, RetrieverConfig, TrainingConfig
from twotower.index.faiss_index import EXACT_SEARCH_SHARE
from twotower.lessons.texts import lessons
from twotower.models.retriever.losses.base import SIZES, SIZES_WITH_HISTORY

TOLD = [
    (
        3,
        'the default `loss = "softmax"` uses all items exactly, up to 100,000, or up to 10,000 if '
        "the users have a history",
        {
            RetrieverConfig().loss: "softmax",
            RetrieverConfig().max_full_softmax: "auto",
            SIZES["max_full_softmax"]: 100_000,
            SIZES_WITH_HISTORY["max_full_softmax"]: 10_000,
        },
    ),
    (5, "the largest offset that costs the known items 2% of their ndcg", {
        RetrieverConfig().cold_offset: "auto",
        RetrieverConfig().cold_cost: 0.02,
    }),
    (6, 'uses exact search up to 100,000 items (`kind = "auto"`)', {
        IndexConfig().kind: "auto",
        IndexConfig().max_exact: 100_000,
    }),
    (6, "below a fifth of the items the search is exact", {EXACT_SEARCH_SHARE: 0.2}),
    (7, "because eight negatives are sampled for each positive", {RankerConfig().num_negatives: 8}),
    (7, "By default its logit", {RankerConfig().blend: True}),
]  # fmt: skip


@pytest.mark.parametrize(("number", "text", "values"), TOLD, ids=[text for _, text, _ in TOLD])
def test_a_lesson_tells_the_default(number: int, text: str, values: dict[object, object]) -> None:
    assert text in re.sub(r"\s+", " ", lessons()[number - 1].text)
    for default, told in values.items():
        assert default == told


def test_the_glossary_tells_that_rows_decay_when_they_are_used() -> None:
    description = TrainingConfig.model_fields["weight_decay"].description or ""
    assert "Embedding rows decay only when they are used." in re.sub(r"\s+", " ", description)
