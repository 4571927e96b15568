"""The weights by which scores are added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from twotower.models.blend import Blend


def fitted(*given: Any, ridge: float = 1e-6) -> Blend:
    found = Blend.fit(*given, ridge=ridge)
    assert found is not None
    return found


def test_the_weights_of_a_blend_are_found() -> None:
    rng = np.random.default_rng(2)
    logits, retrieved = rng.normal(size=(3000, 20)), rng.normal(0, 4, size=(3000, 20))
    chances = softmax(1.5 * logits + 0.25 * retrieved, axis=1)
    labels = np.zeros_like(logits)
    chosen = (chances.cumsum(axis=1) > rng.random((3000, 1))).argmax(axis=1)
    labels[np.arange(3000), chosen] = 1
    said = {"own": logits, "retriever": retrieved}
    found = fitted(said, labels, np.ones(labels.shape, dtype=bool))
    assert found["own"] == pytest.approx(1.5, abs=0.1)
    assert found["retriever"] == pytest.approx(0.25, abs=0.02)
    assert found["neighbours"] == 0
    assert found.mix(said) == pytest.approx(found["own"] * logits + found["retriever"] * retrieved)


def test_a_ranker_that_is_wrong_has_no_say() -> None:
    rng = np.random.default_rng(3)
    retrieved = rng.normal(size=(2000, 10))
    labels = (retrieved == retrieved.max(axis=1, keepdims=True)).astype(float)
    said = {"own": -retrieved, "retriever": retrieved, "neighbours": 0 * retrieved}
    found = fitted(said, labels, np.ones(labels.shape, dtype=bool))
    assert found["own"] == 0
    assert found["retriever"] > 1


def test_places_without_an_item_say_nothing() -> None:
    rng = np.random.default_rng(4)
    logits, retrieved = rng.normal(size=(2, 500, 6))
    labels = rng.integers(0, 2, (500, 6)).astype(float)
    labels[:, -1] = 0
    there = np.ones((500, 8), dtype=bool)
    there[:, 6:] = False

    def wider(part: NDArray[np.float64], filler: float) -> NDArray[np.float64]:
        return np.concatenate([part, np.full((500, 2), filler)], axis=1)

    first = fitted({"own": logits, "retriever": retrieved}, labels, there[:, :6])
    padded = {"own": wider(logits, 9.0), "retriever": wider(retrieved, -3.0)}
    second = fitted(padded, wider(labels, 0.0), there)
    assert second.weights == pytest.approx(first.weights, rel=1e-3, abs=1e-4)


def test_without_a_relevant_candidate_nothing_is_fitted() -> None:
    nothing = {"own": np.ones((2, 3)), "retriever": np.ones((2, 3))}
    there = np.ones((2, 3), dtype=bool)
    assert Blend.fit(nothing, np.zeros((2, 3)), there) is None


def test_a_penalty_keeps_the_weights_of_few_queries_small_and_alike() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 6, 40))
    labels = np.zeros((6, 40))
    labels[np.arange(6), first.argmax(axis=1)] = 1  # by chance, the first is always right
    said, there = {"first": first, "second": second}, np.ones(labels.shape, dtype=bool)
    free, held = fitted(said, labels, there), fitted(said, labels, there, ridge=3 / 6)
    assert held["first"] < 0.2 * free["first"]
    assert held["first"] > held["second"]


def test_shares_are_of_what_moves_the_sum() -> None:
    blend = Blend({"first": 2.0, "second": 0.5})
    assert blend.shares({"first": 1.0, "second": 12.0, "third": 9.0}) == {
        "first": 0.25,
        "second": 0.75,
        "third": 0.0,
    }
    assert Blend({}).shares({"first": 1.0}) == {"first": 0.0}
