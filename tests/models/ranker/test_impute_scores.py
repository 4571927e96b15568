"""Where candidates stand of which a scorer knows nothing."""

from __future__ import annotations

import numpy as np

from twotower.models.ranker.impute_scores import among_others, filled


def test_what_is_not_known_is_read_off_the_line_of_its_query() -> None:
    guide = np.array([[1, 2, 3, 5], [1, 2, 3, 4], [1, 1, 1, 1]], dtype=np.float32)
    scores = np.array([[2, 4, 6, 0], [7, 0, 0, 0], [3, 5, 0, 9]], dtype=np.float32)
    known = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)
    assert filled(scores, known, guide).tolist() == [[2, 4, 6, 10], [0, 0, 0, 0], [3, 5, 4, 4]]


def test_strange_candidates_keep_their_order_where_the_guide_puts_them() -> None:
    guide = np.array([[1, 2, 3, 4, 6, 0]], dtype=np.float32)
    scores = np.array([[2, 4, 6, 90, 80, 5]], dtype=np.float32)
    known = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool)
    strange = np.array([[0, 0, 0, 1, 1, 0]], dtype=bool)
    # The line of the known ones is twice the guide; the two strange ones differ by 10.
    found = among_others(scores, known, strange, guide)
    assert found.tolist() == [[2, 4, 6, 8 + 5, 12 - 5, 0]]


def test_where_all_are_strange_only_their_order_counts() -> None:
    scores = np.array([[3, 1, 2]], dtype=np.float32)
    nobody, everybody = np.zeros((1, 3), dtype=bool), np.ones((1, 3), dtype=bool)
    assert among_others(scores, nobody, everybody, scores).tolist() == [[1, -1, 0]]
