"""The settings of each baseline, and the search space of each for tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twotower.config.section import Section


@dataclass(frozen=True, slots=True)
class SearchRange:
    """Numbers from `low` to `high`, inclusive; `log`: sampled on a log scale; `integer`: whole
    numbers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True, slots=True)
class SearchChoice:
    """One of several values."""

    values: tuple[str | int | float | bool, ...]


Search = Mapping[str, SearchRange | SearchChoice]
"""Config key -> the values that tuning may try; keys that are not listed keep their value."""


class BaselineConfig(Section):
    """Settings of every baseline."""

    SEARCH: ClassVar[Search] = {}

    weights: Literal["raw", "log", "none"] = "raw"
    """Weights of the interactions: `raw`, `log` for log2(1 + weight), or `none` for all 1."""


class PopularityConfig(BaselineConfig):
    """The items with the most interactions."""


class RecentPopularityConfig(BaselineConfig):
    """The items with the most interactions, discounted by age."""

    SEARCH: ClassVar[Search] = {"half_life_days": SearchRange(0.5, 730, log=True)}

    half_life_days: float = Field(default=30.0, gt=0)
    """Number of days after which an interaction counts half."""


class ItemKNNConfig(BaselineConfig):
    """Item-based nearest neighbours (Sarwar et al. 2001; Deshpande & Karypis 2004)."""

    SEARCH: ClassVar[Search] = {
        "similarity": SearchChoice(("cosine", "tfidf", "bm25")),
        "neighbours": SearchRange(20, 1000, log=True, integer=True),
        "shrinkage": SearchRange(0.1, 100, log=True),
        "asymmetry": SearchRange(0.2, 0.7),
    }

    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    """Weighting of an item's users before the cosine: `cosine` none, `tfidf` by the rarity of the
    user's interactions, `bm25` also by the number of users of the item."""
    neighbours: int = Field(default=200, ge=1)
    """Number of neighbours kept per item."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the product of the norms, which lowers the similarity of items with few users."""
    asymmetry: float = Field(default=0.5, ge=0, le=1)
    """Exponent a of the norm of the user's item; the norm of the recommended item has the exponent
    1 - a. 0.5 is the cosine (Aiolli 2013)."""


class EASEConfig(BaselineConfig):
    """A linear autoencoder with a zero diagonal (Steck 2019)."""

    SEARCH: ClassVar[Search] = {"l2": SearchRange(5, 5000, log=True)}

    l2: float = Field(default=200.0, gt=0)
    """L2 regularisation, added to the diagonal of the item Gram matrix."""


class SVDConfig(BaselineConfig):
    """Truncated SVD of the interaction matrix (Cremonesi et al. 2010)."""

    SEARCH: ClassVar[Search] = {
        "embedding_dim": SearchRange(16, 512, log=True, integer=True),
        "user_exponent": SearchRange(0, 0.7),
        "item_exponent": SearchRange(0, 0.7),
    }

    embedding_dim: int = Field(default=128, ge=1)
    """Number of singular values to keep."""
    user_exponent: float = Field(default=0.5, ge=0, le=1)
    """Each user's row is divided by the number of the user's items to this power."""
    item_exponent: float = Field(default=0.5, ge=0, le=1)
    """Each item's column is divided by the number of the item's users to this power; scores are
    multiplied by it again."""


class EpochsConfig(BaselineConfig):
    """Settings of baselines that are trained in epochs."""

    embedding_dim: int = Field(default=64, ge=1)
    """D: dimension of the user and item vectors."""
    epochs: int = Field(default=100, ge=1)
    """Number of epochs; the maximum if there is a validation part."""
    validate_every: int = Field(default=1, ge=1)
    """Number of epochs between validations."""
    patience: int = Field(default=5, ge=1)
    """Number of validations without an improvement before training stops."""


class IALSConfig(EpochsConfig):
    """Weighted matrix factorization by alternating least squares (Hu et al. 2008), with the
    regularisation of Rendle et al. 2021."""

    SEARCH: ClassVar[Search] = {
        "embedding_dim": SearchChoice((64, 128, 256)),
        "unobserved_weight": SearchRange(0.003, 1.0, log=True),
        "l2": SearchRange(0.0005, 0.1, log=True),
        "frequency_exponent": SearchRange(0.0, 1.0),
    }

    embedding_dim: int = Field(default=128, ge=1)
    """D: dimension of the user and item vectors. iALS benefits more from large D than other
    models."""
    epochs: int = Field(default=16, ge=1)
    """Number of epochs; the maximum if there is a validation part."""
    unobserved_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Weight of every user-item pair with target 0; observed pairs have their own weight with
    target 1 in addition. "auto": all pairs together weigh ten times as much as the observed
    ones."""
    l2: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """L2 regularisation of a user or item vector, multiplied by its number of pairs (observed pairs
    count 1, all pairs `unobserved_weight`) to the power `frequency_exponent`. "auto": .007 for
    660,000 observed pairs, higher for fewer, at most .03."""
    frequency_exponent: float = Field(default=1.0, ge=0)
    """Exponent of the number of pairs in the regularisation, see `l2`."""
    deviation: float = Field(default=0.1, gt=0)
    """Initial vectors are drawn from N(0, deviation² / D)."""


class BPRMFConfig(EpochsConfig):
    """Matrix factorization with pairwise ranking (Rendle et al. 2009)."""

    SEARCH: ClassVar[Search] = {
        "learning_rate": SearchRange(0.001, 0.02, log=True),
        "l2": SearchRange(1e-5, 0.1, log=True),
        "negatives_drawn": SearchRange(1, 32, log=True, integer=True),
    }

    epochs: int = Field(default=100, ge=1)
    """Number of epochs; the maximum if there is a validation part."""
    validate_every: int = Field(default=5, ge=1)
    """Number of epochs between validations."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Learning rate of Adam."""
    l2: float = Field(default=0.01, ge=0)
    """L2 regularisation of the three vectors of each pair and of the item bias."""
    batch_size: int = Field(default=8192, ge=1)
    """Number of pairs per step."""
    negatives_drawn: int = Field(default=16, ge=1)
    """Number of negatives drawn per pair, of which the one with the highest score is used; 1 is
    plain BPR."""
    negative_power: float = Field(default=0.0, ge=0)
    """Negatives are drawn in proportion to their count to this power; 0 is uniform."""
    deviation: float = Field(default=0.1, gt=0)
    """Initial vectors are drawn from N(0, deviation²)."""


class LogisticMFConfig(EpochsConfig):
    """Matrix factorization with biases and the logistic loss (Rendle et al. 2020)."""

    SEARCH: ClassVar[Search] = {
        "learning_rate": SearchRange(0.0005, 0.02, log=True),
        "l2": SearchRange(0.0001, 0.05, log=True),
        "negatives_per_pair": SearchRange(1, 16, log=True),
    }

    epochs: int = Field(default=100, ge=1)
    """Number of epochs; the maximum if there is a validation part."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate of Adam for the items, which are updated with every batch of users."""
    user_learning_rate: float = Field(default=0.05, gt=0)
    """Learning rate of Adam for the users, which are updated once per epoch."""
    l2: float = Field(default=0.005, ge=0)
    """L2 regularisation of the vectors and biases of each pair."""
    negatives_per_pair: float = Field(default=8.0, gt=0)
    """Total weight of all items as negatives of a user, per observed pair of the user."""
    max_items: int = Field(default=100_000, ge=1)
    """Up to this number of items, every item is a negative of every user; beyond, this many are
    drawn per step."""
    batch_size: int = Field(default=256, ge=1)
    """Number of users per step."""
    deviation: float = Field(default=1.0, gt=0)
    """Initial vectors are drawn from N(0, deviation² / D)."""
