"""Layouts of the map: what each places where, and how much it keeps of the neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twotower.web.studio.layout import (
    Floats,
    Neighbourhoods,
    Projection,
    can_arrange,
    kept_neighbours,
)

# --- principal components -----------------------------------------------------------------------


def test_the_projection_finds_the_planted_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(300, 2)) * [5.0, 2.0]
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    vectors = (plane @ basis.T + rng.normal(size=(300, 6)) * 0.01 + 3).astype(np.float32)
    projection = Projection.fit(vectors)
    points = projection(vectors)
    assert np.abs(points).max() == pytest.approx(1, abs=1e-4)
    assert projection.explained.sum() == pytest.approx(1, abs=1e-4)
    assert abs(np.corrcoef(points[:, 0], plane[:, 0])[0, 1]) > 0.999
    assert abs(np.corrcoef(points[:, 1], plane[:, 1])[0, 1]) > 0.999


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4))])
def test_vectors_without_a_difference_lie_at_the_origin(vectors: Any) -> None:
    points = Projection.fit(vectors.astype(np.float32))(vectors.astype(np.float32))
    assert np.allclose(points, 0)


# --- neighbourhoods -----------------------------------------------------------------------------


def bundles_of_directions(number: int, each: int) -> Floats:
    """(number * each, 16) of length 1: groups of similar directions, one after another."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(16, 16)))[0][:number]
    vectors = np.repeat(centres, each, axis=0) + 0.1 * rng.normal(size=(number * each, 16))
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_neighbourhoods_keep_groups_together_that_components_mix() -> None:
    vectors = bundles_of_directions(8, 25)
    group = np.repeat(np.arange(8), 25)
    layout = Neighbourhoods.fit(vectors)
    assert np.abs(layout.points).max() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(Neighbourhoods.fit(vectors).points, layout.points)

    def own_group(points: Floats) -> float:
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        return float((group[apart.argmin(axis=1)] == group).mean())

    components = Projection.fit(vectors)(vectors)
    assert own_group(layout.points) == 1
    assert own_group(components) < 0.97
    kept = kept_neighbours(vectors, layout.points)
    of_components = kept_neighbours(vectors, components)
    assert kept is not None
    assert of_components is not None
    assert kept > of_components + 0.1
    # A direction that was not there is placed inside the group that it belongs to.
    mine = layout.points[group == 3]
    middle = vectors[group == 3].mean(axis=0, keepdims=True)
    [place] = layout(middle)
    assert (mine.min(axis=0) <= place).all()
    assert (place <= mine.max(axis=0)).all()


def test_a_layout_whose_process_ends_is_an_error() -> None:
    # Text is no vector: the process fails and says so in its own log.
    with pytest.raises(RuntimeError, match="the process that arranges the map has ended"):
        Neighbourhoods.fit("no vectors")  # type: ignore[arg-type]


def test_few_items_are_not_arranged() -> None:
    assert not can_arrange(29)
    assert can_arrange(30)


# --- what a map keeps ---------------------------------------------------------------------------


def test_kept_neighbours_are_counted() -> None:
    angles = np.radians([0, 10, 21, 33, 46])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert kept_neighbours(vectors, vectors, k=1) == 1
    # Most similar: 1, 0, 1, 2, 3; nearest on this map: 4, 2, 1, 2, 0.
    points = np.array([[0, 0], [5, 0], [6, 0], [8, 0], [1, 0]], dtype=np.float32)
    assert kept_neighbours(vectors, points, k=1) == pytest.approx(2 / 5)
    assert kept_neighbours(vectors, points, k=99) == 1


def test_kept_neighbours_of_points_on_one_spot_and_of_one_item() -> None:
    vectors = bundles_of_directions(2, 20)
    kept = kept_neighbours(vectors, np.zeros((40, 2), dtype=np.float32))
    assert kept is not None
    assert kept < 0.6
    assert kept_neighbours(vectors[:1], np.zeros((1, 2), dtype=np.float32)) is None
