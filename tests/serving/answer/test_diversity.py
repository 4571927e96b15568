from __future__ import annotations

import numpy as np
import pytest

from twotower.serving.answer.diversity import diversified

NUMS = np.array([[5, 6, 7, 8]])
SCORES = np.array([[1.0, 0.9, 0.5, 0.0]], dtype=np.float32)
ALIKE = np.array([[[1, 0], [1, 0], [0, 1], [0.6, 0.8]]], dtype=np.float32)
"""The first two point the same way, the third is at a right angle, the last between."""


def test_without_diversity_the_order_stands() -> None:
    assert diversified(NUMS, SCORES, ALIKE, 4, 0.0).tolist() == [[0, 1, 2, 3]]


def test_half_and_half_by_hand() -> None:
    # After 0: 1 has .45 - .5, 2 has .25 - 0, 3 has 0 - .3. After 2: 1 has .45 - .5, 3 has -.4.
    assert diversified(NUMS, SCORES, ALIKE, 4, 0.5).tolist() == [[0, 2, 1, 3]]


def test_diversity_alone_starts_from_the_best_and_goes_away_from_it() -> None:
    # After 0: cosines 1, 0, .6; after 2: 1 has 1, 3 has .8.
    assert diversified(NUMS, SCORES, ALIKE, 4, 1.0).tolist() == [[0, 2, 3, 1]]


def test_fewer_are_a_prefix() -> None:
    assert diversified(NUMS, SCORES, ALIKE, 2, 0.5).tolist() == [[0, 2]]


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
def test_places_without_an_item_come_last(diversity: float) -> None:
    nums = np.array([[5, 6, -1, -1]])
    scores = np.array([[1.0, 0.5, -np.inf, -np.inf]], dtype=np.float32)
    directions = np.array([[[1, 0], [1, 0], [0, 0], [0, 0]]], dtype=np.float32)
    assert diversified(nums, scores, directions, 4, diversity).tolist() == [[0, 1, 2, 3]]


def test_equal_scores_and_queries_without_an_item() -> None:
    nums = np.array([[5, 6], [-1, -1]])
    scores = np.array([[2.0, 2.0], [-np.inf, -np.inf]], dtype=np.float32)
    directions = np.zeros((2, 2, 2), dtype=np.float32)
    assert diversified(nums, scores, directions, 2, 0.5).tolist() == [[0, 1], [0, 1]]


def test_each_place_is_the_best_of_those_that_are_left() -> None:
    """Against the formula, worked out anew for each place, for several queries at once."""
    rng = np.random.default_rng(0)
    queries, candidates, diversity = 3, 40, 0.4
    directions = rng.standard_normal((queries, candidates, 8)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    scores = -np.sort(-rng.standard_normal((queries, candidates)).astype(np.float32), axis=1)
    nums = np.tile(np.arange(candidates), (queries, 1))
    nums[2, 30:], scores[2, 30:], directions[2, 30:] = -1, -np.inf, 0
    found = diversified(nums, scores, directions, candidates, diversity)
    for query in range(queries):
        there = 30 if query == 2 else candidates
        known = scores[query, :there]
        relevance = (known - known.min()) / (known.max() - known.min())
        chosen: list[int] = []
        for _ in range(there):
            gains = {
                place: (1 - diversity) * relevance[place]
                - diversity
                * max((directions[query, place] @ directions[query, c] for c in chosen), default=0)
                for place in range(there)
                if place not in chosen
            }
            chosen.append(max(gains, key=gains.__getitem__))
        assert found[query, :there].tolist() == chosen
        assert found[query, there:].tolist() == list(range(there, candidates))
