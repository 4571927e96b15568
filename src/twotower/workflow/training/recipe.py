"""What training does where the config leaves it to the size of the data, in one sentence."""

from __future__ import annotations

from twotower.config import Config
from twotower.data.dataset.interactions import Interactions
from twotower.models.retriever.losses.base import EpochSize, Loss, make_loss
from twotower.models.retriever.two_tower import can_smooth, smoothing_every
from twotower.workflow.training.fit_retriever import Batching


def settled_loss(train: Interactions, config: Config) -> Loss:
    """The loss that a training part will be learned with; no tower is made."""
    schema = train.users.schema
    has_history = schema.history is not None
    loss = make_loss(config.retriever, len(schema.items), has_history=has_history)
    loss.size = Batching.of(train, config).epoch_size(train)
    return loss


def recipe_sentence(train: Interactions, config: Config) -> str:
    """The loss, the smoothing, and the index, with the reason where the size decides."""
    loss = settled_loss(train, config)
    assert loss.size is not None
    parts = [
        loss.sentence,
        *smoothing_words(train, config, loss.size),
        index_words(config, train.items.num_warm),
    ]
    steps = loss.size.steps
    return f"{steps:,} step{'s' * (steps > 1)} an epoch; {'; '.join(parts)}"


def smoothing_words(train: Interactions, config: Config, size: EpochSize) -> list[str]:
    """How ids are smoothed; nothing where they cannot be."""
    layers = config.retriever.smoothing_layers
    if not layers or not can_smooth(train.users.schema):
        return []
    every = smoothing_every(config.retriever, size.steps)
    words = f"ids smoothed over {size.rows:,} interactions in each step"
    if every > 1:
        reason = "" if config.retriever.smoothing_every != "auto" else ": each would cost too much"
        words = f"{words.removesuffix(' in each step')} every {every:,} steps{reason}"
    return [words]


def index_words(config: Config, num_items: int) -> str:
    """How items are searched for."""
    if config.index.kind != "auto":
        return f"index {config.index.kind}"
    if num_items <= config.index.max_exact:
        return "exact search"
    return f"index hnsw (more than index.max_exact = {config.index.max_exact:,} items)"
