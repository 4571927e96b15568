"""`[ranker]`: the neural ranking stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from twotower.config.section import Section


class RankerConfig(Section):
    """`[ranker]`: neural collaborative filtering (NCF) that ranks the items retrieved by the
    towers. It is trained only if this section exists; an empty section is enough. Its scores are
    probabilities.

    >>> tt.RankerConfig(embedding_dim=32).hidden
    (64, 32)
    """

    num_candidates: int = Field(default=200, ge=1)
    """Number of items that the towers retrieve for the ranker. More candidates are slower, but lose
    fewer relevant items. With the whole catalogue and `blend = false` the ranker alone decides."""
    embedding_dim: int = Field(default=64, ge=1)
    """Dimension of the GMF branch and of each embedding of the MLP branch."""
    gmf: bool = True
    """Use the GMF branch, the element-wise product of a user and an item vector."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Widths of the hidden layers of the MLP branch; an empty list disables the branch."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    """Activation after each hidden layer."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Batch or layer normalisation before each activation."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate after each activation and of the user's item vectors."""
    user_positives: bool = True
    """Read the set of all items that the user has interacted with, excluding the target (FISM,
    SVD++), in addition to a history declared in `[features.user.history]`."""
    loss: Literal["bce", "sampled_softmax"] = "bce"
    """Training loss over sampled negatives."""
    num_negatives: int = Field(default=8, ge=1)
    """Number of negatives per positive."""
    hard_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives drawn from the items that the retriever ranks highest for the user.
    The others are drawn uniformly from the items that the user has not interacted with."""
    hard_pool: int = Field(default=200, ge=1)
    """Number of top retrieved items that hard negatives are drawn from."""
    blend: bool = True
    """Add the scores of the retriever and of the item-to-item weights to the ranker's score, with
    weights fitted on validation rows (a conditional logit over the candidates of each query).
    Without validation rows only the ranker's score counts."""
    neighbours: int = Field(default=200, ge=0)
    """Number of item-to-item weights kept per item. They predict an item from the user's other
    items (EASE, in closed form). 0: none."""
    neighbour_l2: float = Field(default=500.0, gt=0)
    """L2 regularisation of the item-to-item weights."""
    max_neighbour_items: int = Field(default=20_000, ge=1)
    """Largest number of warm items for the item-to-item weights: their computation takes cubic time
    and quadratic memory."""
    calibration: Literal["none", "temperature", "isotonic"] = "temperature"
    """How scores are turned into probabilities, fitted on validation rows: `temperature` (a scale
    and a shift), `isotonic` regression, or `none`."""
    epochs: int | None = Field(default=None, ge=1)
    """Maximum number of epochs. Default: `training.epochs`."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Users per step with all their targets, or single pairs. `auto`: as in
    `training.batch_size`."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate of the embedding tables (Adam)."""
    layer_learning_rate: float = Field(default=0.001, gt=0)
    """Learning rate of all other weights (Adam)."""
    weight_decay: float = Field(default=0.03, ge=0)
    """Decoupled weight decay, as in `training.weight_decay`."""

    @model_validator(mode="after")
    def _has_a_branch(self) -> RankerConfig:
        if not self.gmf and not self.hidden:
            raise ValueError("gmf = false and hidden = [] leave the ranker without a branch")
        return self
