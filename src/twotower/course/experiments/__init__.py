"""The experiment of each step of the course, by the step's name."""

from __future__ import annotations

from typing import Final

from twotower.course.experiments.activation import activation
from twotower.course.experiments.comparison import comparison
from twotower.course.experiments.embedding import embedding
from twotower.course.experiments.factorization import factorization
from twotower.course.experiments.item_tower import item_tower
from twotower.course.experiments.negatives import negatives
from twotower.course.experiments.ranker import ranker
from twotower.course.experiments.search import search
from twotower.course.experiments.user_tower import user_tower
from twotower.course.results import Experiment

EXPERIMENTS: Final[dict[str, Experiment]] = {
    "embedding": embedding,
    "factorization": factorization,
    "activation": activation,
    "item-tower": item_tower,
    "user-tower": user_tower,
    "negatives": negatives,
    "search": search,
    "ranker": ranker,
    "comparison": comparison,
}
"""Name of a step -> its experiment."""
