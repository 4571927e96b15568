"""The settings of each baseline, and which of them a tuner may vary, over which values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twotower.config.section import Section


@dataclass(frozen=True, slots=True)
class SearchRange:
    """Numbers from `low` to `high`, both included; `log`: as many below as above the geometric
    mean; `integer`: whole numbers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True, slots=True)
class SearchChoice:
    """One of some values."""

    values: tuple[str | int | float | bool, ...]


Search = Mapping[str, SearchRange | SearchChoice]
"""Key of a config -> the values that a tuner may try; a key that is not there stays as it is."""


class BaselineConfig(Section):
    """What all baselines have."""

    SEARCH: ClassVar[Search] = {}

    weights: Literal["raw", "log", "none"] = "raw"
    """The weights of the interactions: as they are, log2(1 + weight), or all 1."""


class PopularityConfig(BaselineConfig):
    """What most people took."""


class RecentPopularityConfig(BaselineConfig):
    """What most people took lately."""

    SEARCH: ClassVar[Search] = {"half_life_days": SearchRange(0.5, 730, log=True)}

    half_life_days: float = Field(default=30.0, gt=0)
    """After so many days an interaction counts half."""


class ItemKNNConfig(BaselineConfig):
    """Neighbours of items (Sarwar et al. 2001; Deshpande & Karypis 2004)."""

    SEARCH: ClassVar[Search] = {
        "similarity": SearchChoice(("cosine", "tfidf", "bm25")),
        "neighbours": SearchRange(20, 1000, log=True, integer=True),
        "shrinkage": SearchRange(0.1, 100, log=True),
        "asymmetry": SearchRange(0.2, 0.7),
    }

    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    """How the users of an item are weighted before the cosine is taken: not at all, by how few
    items a user took, or by that and by how many users the item has."""
    neighbours: int = Field(default=200, ge=1)
    """Kept of each item."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the product of the lengths: items with few users in common come less near."""
    asymmetry: float = Field(default=0.5, ge=0, le=1)
    """The exponent of the length of the item that was taken; that of the recommended one has 1
    minus it. 0.5 is the cosine, less lets popular items through (Aiolli 2013)."""


class EASEConfig(BaselineConfig):
    """A linear autoencoder with a zero diagonal (Steck 2019)."""

    SEARCH: ClassVar[Search] = {"l2": SearchRange(5, 5000, log=True)}

    l2: float = Field(default=200.0, gt=0)
    """Added to the diagonal of the items' Gram matrix."""


class SVDConfig(BaselineConfig):
    """The interaction matrix by its largest singular values (Cremonesi et al. 2010)."""

    SEARCH: ClassVar[Search] = {
        "embedding_dim": SearchRange(16, 512, log=True, integer=True),
        "user_exponent": SearchRange(0, 0.7),
        "item_exponent": SearchRange(0, 0.7),
    }

    embedding_dim: int = Field(default=128, ge=1)
    """Singular values that are kept."""
    user_exponent: float = Field(default=0.5, ge=0, le=1)
    """A user's row is divided by the number of its items to this power."""
    item_exponent: float = Field(default=0.5, ge=0, le=1)
    """An item's column is divided by the number of its users to this power, and the score
    multiplied by it."""


class EpochsConfig(BaselineConfig):
    """What baselines have that are trained epoch by epoch."""

    embedding_dim: int = Field(default=64, ge=1)
    """D: the width of the vectors of users and items."""
    epochs: int = Field(default=100, ge=1)
    """At most, where a validation is given; else exactly."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations."""
    patience: int = Field(default=5, ge=1)
    """Validations without a better figure before training stops."""


class IALSConfig(EpochsConfig):
    """Weighted matrix factorization by alternating least squares (Hu et al. 2008), with what
    Rendle et al. 2021 showed to matter."""

    SEARCH: ClassVar[Search] = {
        "embedding_dim": SearchChoice((64, 128, 256)),
        "unobserved_weight": SearchRange(0.003, 1.0, log=True),
        "l2": SearchRange(0.0005, 0.1, log=True),
        "frequency_exponent": SearchRange(0.0, 1.0),
    }

    embedding_dim: int = Field(default=128, ge=1)
    """D: wide vectors help this model more than others, and rows with few pairs stay cheap."""
    epochs: int = Field(default=16, ge=1)
    """At most, where a validation is given; else exactly."""
    unobserved_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """The weight of every pair of a user and an item, taken or not, towards 0; a pair that was
    taken has its own weight, towards 1, beside it. "auto": as much as makes all pairs together
    weigh ten times as much as those taken, for the best weight falls as catalogues grow."""
    l2: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """The vector of a user or an item weighs this, times its number of pairs (each taken one as 1,
    each of all as `unobserved_weight`) to the power `frequency_exponent`. "auto": the less the more
    pairs there are, .007 for 660,000, and .03 at most."""
    frequency_exponent: float = Field(default=1.0, ge=0)
    """See `l2`."""
    deviation: float = Field(default=0.1, gt=0)
    """Vectors start at N(0, deviation² / D)."""


class BPRMFConfig(EpochsConfig):
    """Matrix factorization with pairwise ranking (Rendle et al. 2009)."""

    SEARCH: ClassVar[Search] = {
        "learning_rate": SearchRange(0.001, 0.02, log=True),
        "l2": SearchRange(1e-5, 0.1, log=True),
        "negatives_drawn": SearchRange(1, 32, log=True, integer=True),
    }

    epochs: int = Field(default=100, ge=1)
    """At most, where a validation is given; else exactly."""
    validate_every: int = Field(default=5, ge=1)
    """Epochs between validations."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Of Adam."""
    l2: float = Field(default=0.01, ge=0)
    """Of the three vectors of each pair, and of the bias."""
    batch_size: int = Field(default=8192, ge=1)
    """Pairs a step."""
    negatives_drawn: int = Field(default=16, ge=1)
    """Items drawn for each pair, of which the one with the highest score is learned from; 1 is
    plain BPR."""
    negative_power: float = Field(default=0.0, ge=0)
    """Items are drawn by their count to this power; 0 draws all alike."""
    deviation: float = Field(default=0.1, gt=0)
    """Vectors start at N(0, deviation²)."""


class LogisticMFConfig(EpochsConfig):
    """Matrix factorization with biases and the logistic loss (Rendle et al. 2020)."""

    SEARCH: ClassVar[Search] = {
        "learning_rate": SearchRange(0.0005, 0.02, log=True),
        "l2": SearchRange(0.0001, 0.05, log=True),
        "negatives_per_pair": SearchRange(1, 16, log=True),
    }

    epochs: int = Field(default=100, ge=1)
    """At most, where a validation is given; else exactly."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Of Adam, for items, which take a step with each batch of users."""
    user_learning_rate: float = Field(default=0.05, gt=0)
    """Of Adam, for users, which take a step in each epoch."""
    l2: float = Field(default=0.005, ge=0)
    """Of both vectors and biases, for each pair."""
    negatives_per_pair: float = Field(default=8.0, gt=0)
    """How much the items of a user weigh as negatives, all together, for each pair taken."""
    max_items: int = Field(default=100_000, ge=1)
    """Up to so many items all of them are negatives of each user; beyond, so many are drawn at
    each step."""
    batch_size: int = Field(default=256, ge=1)
    """Users a step."""
    deviation: float = Field(default=1.0, gt=0)
    """Vectors start at N(0, deviation² / D)."""
