"""What every training run shares: the sample of users, how they are searched for, and the
fingerprint."""

from __future__ import annotations

import numpy as np

from twotower.config import Config, IndexConfig
from twotower.data.dataset.fingerprint import digest
from twotower.data.dataset.interactions import Interactions

VALIDATION_USERS = 10_000
"""Larger validation parts are sampled down to this many users, always the same ones."""
TEST_USERS = 100_000
"""The same of test parts, when `train` measures."""


def with_exact_search(config: Config) -> Config:
    """The config of a model that answers a sample of users and is not kept: to build HNSW takes
    many times as long as to ask all items for each of them."""
    return config.model_copy(update={"index": IndexConfig(kind="exact")})


def sample_users(part: Interactions, limit: int, seed: int) -> Interactions:
    """All rows of at most `limit` users, drawn by `seed`."""
    users = np.unique(part.user_num)
    if len(users) <= limit:
        return part
    kept = np.random.default_rng(seed).choice(users, limit, replace=False)
    return part.take(np.flatnonzero(np.isin(part.user_num, kept)))


def fingerprint(config: Config, train: Interactions) -> str:
    """A digest of everything that a training run depends on."""
    return digest(config.model_dump_json(exclude={"compare", "tune"}), train)
