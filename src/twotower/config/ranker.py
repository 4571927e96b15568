"""`[ranker]`: the neural ranking stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from twotower.config.section import Section


class RankerConfig(Section):
    """`[ranker]`: neural collaborative filtering over what the towers retrieve. It is trained only
    if this section is there, an empty one will do. Its scores are probabilities."""

    num_candidates: int = Field(default=200, ge=1)
    """Items that the towers retrieve for it; the others are not ranked. More is slower and hides
    less of what the ranker would have liked: with as many as the catalogue has and `blend = false`
    the ranker alone decides, and the towers only say why."""
    embedding_dim: int = Field(default=64, ge=1)
    """Width of the GMF branch and of each embedding of the MLP branch."""
    gmf: bool = True
    """The branch that multiplies a vector of each side."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Widths of the MLP branch's layers. An empty list leaves the branch out."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    """After each layer."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Batch normalisation or layer norm before each activation."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Applied after each activation, and to what is read of a user's items."""
    taken: bool = True
    """Read the set of all items that a user took, each target left out of its own (FISM, SVD++),
    beside the history that `[features.user.history]` may declare."""
    loss: Literal["bce", "sampled_softmax"] = "bce"
    """Against sampled negatives."""
    num_negatives: int = Field(default=8, ge=1)
    """Negatives of each positive."""
    hard_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives that are drawn from what the retriever ranks first for the user; the
    others are drawn uniformly from the items that the user does not have."""
    hard_pool: int = Field(default=200, ge=1)
    """Retrieved items that hard negatives are drawn from."""
    blend: bool = True
    """Add the scores of the retriever and of the neighbours to the ranker's, weighted as validation
    says (a conditional logit over the candidates of its queries). Without validation rows the
    ranker stands alone."""
    neighbours: int = Field(default=200, ge=0)
    """Weights kept of each item, of those that say from what a user took whether the user takes it
    (EASE, in closed form); 0: none."""
    neighbour_l2: float = Field(default=500.0, gt=0)
    """How much these weights are held small."""
    max_neighbour_items: int = Field(default=20_000, ge=1)
    """A catalogue of more warm items has no such weights: they need time with its cube, memory with
    its square."""
    calibration: Literal["none", "temperature", "isotonic"] = "temperature"
    """How scores become probabilities, on validation rows: a temperature and a shift, or isotonic
    regression."""
    epochs: int | None = Field(default=None, ge=1)
    """Left out: `training.epochs`."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """As `training.batch_size`: users with their targets, or single pairs."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Of Adam, for embedding tables."""
    layer_learning_rate: float = Field(default=0.001, gt=0)
    """Of Adam, for layers."""
    weight_decay: float = Field(default=0.03, ge=0)
    """As `training.weight_decay`."""

    @model_validator(mode="after")
    def _has_a_branch(self) -> RankerConfig:
        if not self.gmf and not self.hidden:
            raise ValueError("gmf = false and hidden = [] leave the ranker without a branch")
        return self
