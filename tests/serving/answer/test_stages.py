"""The stages on a small index, with a ranker whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.entities import tensor_of
from twotower.data.features.histories import History
from twotower.index import SearchResult
from twotower.index.exact import ExactIndex
from twotower.serving.answer.stages import Stages
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.query_encoder import QueryEncoder

ITEMS = np.array([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]], dtype=np.float32)
NUMS = np.array([2, 3, 4, 5])


class Given(QueryEncoder):
    """Query vectors that are the users' only feature."""

    def __init__(self) -> None:
        """No tower is run."""

    def vectors(self, queries: Queries) -> NDArray[np.float32]:
        return tensor_of(queries.users, "vector").numpy()


class ByNum:
    """Ranks the larger item num higher."""

    num_candidates = 3

    def score(self, queries: Queries, candidates: SearchResult) -> NDArray[np.float32]:
        return candidates.item_nums.astype(np.float32)


def queries(*vectors: tuple[float, float]) -> Queries:
    return Queries({"vector": torch.tensor(vectors)}, {}, None)


def stages(ranker: ByNum | None = None) -> Stages:
    return Stages(Given(), ExactIndex(ITEMS, NUMS), ranker, similarity_dim=2)


def test_without_a_ranker_the_order_of_the_towers_stands() -> None:
    answer = stages().run(queries((1, 0), (0, 1)), 2)
    assert answer.item_nums.tolist() == [[2, 3], [5, 4]]
    assert answer.scores.tolist() == [[1.0, pytest.approx(0.9)], [1.0, 0.5]]
    assert list(answer.stage_scores) == ["retrieve"]
    assert list(answer.seconds) == ["retrieve"]


def test_the_ranker_orders_the_candidates_that_it_asked_for() -> None:
    answer = stages(ByNum()).run(queries((1, 0)), 2)
    assert answer.item_nums.tolist() == [[4, 3]], "item 5 is no candidate of three"
    assert answer.scores.tolist() == [[4.0, 3.0]]
    assert answer.stage_scores["rank"].tolist() == [[4.0, 3.0]]
    assert answer.stage_scores["retrieve"].tolist() == [[0.5, pytest.approx(0.9)]]
    assert list(answer.seconds) == ["retrieve", "rank"]


def test_more_answers_than_candidates_are_retrieved() -> None:
    answer = stages(ByNum()).run(queries((1, 0)), 6)
    assert answer.item_nums.tolist() == [[5, 4, 3, 2, -1, -1]]
    assert np.isneginf(answer.scores[0, 4:]).all()


def test_filters_come_before_the_ranker() -> None:
    allowed = np.array([False, False, False, True, True, True])
    excluded = Ragged.group(np.array([0]), np.array([4]), 1)
    answer = stages(ByNum()).run(queries((1, 0)), 3, excluded=excluded, allowed=allowed)
    assert answer.item_nums.tolist() == [[5, 3, -1]]


def test_diversity_looks_at_more_than_k() -> None:
    answer = stages().run(queries((1, 0)), 2, diversity=0.7)
    assert answer.item_nums.tolist() == [[2, 5]]
    assert answer.stage_scores["retrieve"].tolist() == [[1.0, 0.0]]
    assert list(answer.seconds) == ["retrieve", "diversify"]


def test_rows_are_taken_from_all_parts() -> None:
    history = History(
        torch.tensor([[0, 2], [0, 3]]), torch.ones(2, 2, dtype=torch.bool), None, None
    )
    part = Queries({"a": torch.tensor([1, 2])}, {"b": torch.tensor([3, 4])}, history)
    taken = part.take(np.array([1]))
    assert taken.users["a"].tolist() == [2]
    assert taken.context["b"].tolist() == [4]
    assert taken.history is not None
    assert taken.history.item_num.tolist() == [[0, 3]]
