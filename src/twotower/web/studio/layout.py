"""Layouts of the map: where an item vector lies in two dimensions, and how true that is.

Shapes: P points shown, T vector coordinates without the bias, R vectors.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Floats = NDArray[np.float32]
LayoutName = Literal["components", "neighbours"]

NEIGHBOURS: Final = 10
"""Most similar items whose distance on the map is checked."""
MAX_CHECKED: Final = 1000
"""Maximum number of items whose neighbours are checked; of more, a random sample."""
MIN_ARRANGED, MAX_ARRANGED = 30, 5000
"""Fewer items are not arranged by their neighbours; of more, a random sample is."""
ANCHORS: Final = 5
"""Items that place a vector which has no point of its own."""


@dataclass(frozen=True)
class Projection:
    """Projection onto the first two principal components.

    Attributes:
        mean: (T,).
        axes: (T, 2), scaled so that the fitted points lie in [-1, 1].
        explained: (2,) share of the variance explained by each axis.
    """

    mean: Floats
    axes: Floats
    explained: Floats

    @staticmethod
    def fit(vectors: Floats) -> Projection:
        """Fit on vectors (N, T); with fewer than two, all points are the origin."""
        width = vectors.shape[1]
        if len(vectors) < 2:
            empty = np.zeros((width, 2), dtype=np.float32)
            return Projection(np.zeros(width, dtype=np.float32), empty, np.zeros(2, np.float32))
        mean: Floats = vectors.mean(axis=0)
        spread = np.cov(vectors - mean, rowvar=False).reshape(width, width)
        values, directions = np.linalg.eigh(spread)
        axes = np.zeros((width, 2))
        axes[:, : min(2, width)] = directions[:, ::-1][:, :2]
        # The sign of an eigenvector is arbitrary: make its largest coordinate positive.
        axes *= np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
        largest = np.abs((vectors - mean) @ axes).max()
        shares = np.zeros(2)
        total = values.sum()
        if total > 0:
            shares[: min(2, width)] = values[::-1][:2] / total
        scaled = axes / (largest or 1.0)
        return Projection(
            mean.astype(np.float32), scaled.astype(np.float32), shares.astype(np.float32)
        )

    def __call__(self, vectors: Floats) -> Floats:
        """Project vectors (R, T) to points (R, 2)."""
        points: Floats = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return points


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Similar items together: t-SNE (van der Maaten and Hinton 2008), by openTSNE.

    Attributes:
        vectors: (P, T) of length 1.
        points: (P, 2) in [-1, 1].
    """

    vectors: Floats
    points: Floats

    @staticmethod
    def fit(vectors: Floats) -> Neighbourhoods:
        """Arrange vectors (P, T) of length 1, at least `MIN_ARRANGED`; takes seconds.

        In a process of its own, so that requests are answered meanwhile; it ends with the server.

        Raises:
            RuntimeError: that process has ended without a result, such as for lack of memory.
        """
        context = multiprocessing.get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=send_arranged, args=(vectors, sending), daemon=True)
        process.start()
        sending.close()
        try:
            points: Floats = receiving.recv()
        except EOFError:
            raise RuntimeError("the process that arranges the map has ended") from None
        finally:
            process.join()
        return Neighbourhoods(vectors, points)

    def __call__(self, vectors: Floats) -> Floats:
        """Place vectors (R, T) in the middle of the items most similar to them, (R, 2)."""
        near = most(vectors @ self.vectors.T, ANCHORS)
        places: Floats = np.median(self.points[near], axis=1).astype(np.float32)
        return places


def can_arrange(number: int) -> bool:
    """Whether so many items can be arranged by their neighbours."""
    return number >= MIN_ARRANGED and find_spec("openTSNE") is not None


def send_arranged(vectors: Floats, sending: Connection) -> None:
    """Arrange vectors and send the points to another process."""
    sending.send(arranged(vectors))


def arranged(vectors: Floats) -> Floats:
    """The points (P, 2) of vectors (P, T) of length 1 by t-SNE, in [-1, 1]."""
    from openTSNE import TSNE  # noqa: PLC0415 -- optional

    # Each point attends to about as many neighbours as the perplexity, and must have three times as
    # many others. Of vectors of length 1, the nearest are the most similar.
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points = np.asarray(
        TSNE(perplexity=perplexity, neighbors="exact", random_state=0, n_jobs=1).fit(vectors)
    )
    # Wider than high, as screens are.
    points = points @ np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2].T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = float((high - low).max()) / 2 or 1.0
    within: Floats = ((points - (low + high) / 2) / scale).astype(np.float32)
    return within


def kept_neighbours(vectors: Floats, points: Floats, *, k: int = NEIGHBOURS) -> float | None:
    """The share of the k most similar vectors of a vector that are among the k nearest points of
    its point, on average; None for fewer than two.

    Args:
        vectors: (P, T) of length 1; similarity is the cosine.
        points: (P, 2).
        k: fewer if there are not so many others.
    """
    k = min(k, len(vectors) - 1)
    if k < 1:
        return None
    chosen = np.random.default_rng(0).permutation(len(vectors))[:MAX_CHECKED]
    similar = vectors[chosen] @ vectors.T
    similar[np.arange(len(chosen)), chosen] = -np.inf
    true = most(similar, k)
    # The point itself is among its nearest, unless more than k others lie on it.
    _, near = KDTree(points).query(points[chosen], k + 1)
    shares = [
        len(np.intersect1d(mine, others[others != own][:k], assume_unique=True)) / k
        for own, mine, others in zip(chosen, true, np.asarray(near), strict=True)
    ]
    return float(np.mean(shares))


def most(scores: Floats, k: int) -> NDArray[np.int64]:
    """(R, k) columns of the k largest of each row (R, P), in no order."""
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]
