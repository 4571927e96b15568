"""What every training run shares: the sample of users, how they ask and are searched for, and the
fingerprint.

Shapes: Q queries.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config, IndexConfig
from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.fingerprint import digest
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import ServedModel

VALIDATION_USERS = 10_000
"""Larger validation parts are sampled down to this many users, always the same ones."""
TEST_USERS = 100_000
"""The same of test parts, when `train` measures."""

FIT_USERS: Final = 2500
"""Validation users of a kind whom the weights of a blend are fitted on."""
PENALTY: Final = 3.0
"""The penalty on what is fitted counts as much as so many queries."""

Kind = Literal["known", "unknown", "new"]
KINDS: Final[tuple[Kind, ...]] = ("known", "unknown", "new")
"""Users by what is known of them, in the order of `CandidateBlend.weighings`."""


def with_exact_search(config: Config) -> Config:
    """The config of a model that answers a sample of users and is not kept: to build HNSW takes
    many times as long as to ask all items for each of them."""
    return config.model_copy(update={"index": IndexConfig(kind="exact")})


def sample_users(part: Interactions, limit: int, seed: int) -> Interactions:
    """All rows of at most `limit` users, drawn by `seed`."""
    users = distinct_values(part.user_num)
    if len(users) <= limit:
        return part
    kept = np.random.default_rng(seed).choice(users, limit, replace=False)
    return part.take(np.flatnonzero(np.isin(part.user_num, kept)))


def evenly(nums: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """At most `limit` of nums (N,), evenly spaced."""
    if len(nums) <= limit:
        return nums
    return nums[np.linspace(0, len(nums) - 1, limit).astype(np.int64)]


def halves(events: Histories) -> tuple[Histories, Ragged]:
    """The older half of each user's events, rounded down, and the items of the others."""
    keys = events.items.keys()
    place = np.arange(len(keys)) - events.items.offsets[keys]
    older = place < events.items.lengths[keys] // 2
    number, values = len(events.items), events.items.values
    known = Histories(
        Ragged.group(keys[older], values[older], number),
        None if events.time is None else events.time[older],
        None if events.event_num is None else events.event_num[older],
    )
    return known, Ragged.group(keys[~older], values[~older], number)


class Strangers(NamedTuple):
    """Validation users whom training does not know, as if the older half of their rows were known
    when they are asked for the others.

    Attributes:
        user_num: (Q,).
        known: Q lists of events.
        later: Q lists of items.
    """

    user_num: NDArray[np.int64]
    known: Histories
    later: Ragged

    @staticmethod
    def of(part: Interactions, users: EntityTable) -> Strangers:
        """At most `FIT_USERS` of the users of a validation part, of whom at least a row is known.
        `users`: with those that training knows."""
        strange = np.flatnonzero(~users.is_warm(part.user_num))
        known, later = halves(part.take(strange).histories())
        lengths = known.items.lengths
        user_num = evenly(np.flatnonzero(lengths).astype(np.int64), FIT_USERS)
        return Strangers(user_num, oldest(known, user_num, lengths[user_num]), later.take(user_num))


def asked_as(
    kind: Kind,
    served: ServedModel,
    user_num: NDArray[np.int64],
    context: Features,
    *,
    histories: Histories | None = None,
) -> Queries:
    """Queries of users (Q,) as if they were of a kind: as they are, with an id that nobody knows,
    or without id and events.

    Args:
        kind: of `KINDS`.
        served: knows the users and their events.
        user_num: (Q,) rows of its users.
        context: name -> (Q, ...).
        histories: Q lists of events instead of theirs.
    """
    if histories is None:
        queries = served.queries_of(user_num, context)
    else:
        lists = np.arange(len(user_num))
        queries = Queries.of(served.users, user_num, histories, lists, context)
    if kind != "known":
        queries = without_id(queries, served.users)
    if kind == "new":
        queries = queries._replace(history=None, user_items=Ragged.empty(queries.number))
    return queries


def without_id(queries: Queries, users: EntityTable) -> Queries:
    """The same queries of users whose id training did not see."""
    if ID_FEATURE not in queries.users:
        return queries
    nobody = users.gather(torch.full((queries.number,), users.first_known - 1))
    return queries._replace(users={**queries.users, ID_FEATURE: nobody[ID_FEATURE]})


def cut_short(histories: Histories, user_num: NDArray[np.int64], seed: int) -> Histories:
    """Q lists of the oldest events of users (Q,), from one event to all: as they were when less was
    known of them. The logarithm of the number is drawn, so that there are as many short lists as
    long ones."""
    lengths = histories.items.bounds(user_num)[1]
    drawn = np.random.default_rng(seed).random(len(user_num))
    return oldest(histories, user_num, np.exp(drawn * np.log1p(lengths)).astype(np.int64))


def oldest(
    histories: Histories, user_num: NDArray[np.int64], number: NDArray[np.int64]
) -> Histories:
    """Q lists of the oldest events of users (Q,), at most `number` (Q,) of each."""
    starts, lengths = histories.items.bounds(user_num)
    kept = np.minimum(number, lengths)
    offsets = np.concatenate([[0], np.cumsum(kept)])
    rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], kept)
    return Histories(
        Ragged(offsets, histories.items.values[rows]),
        None if histories.time is None else histories.time[rows],
        None if histories.event_num is None else histories.event_num[rows],
    )


def fingerprint(config: Config, train: Interactions) -> str:
    """A digest of everything that a training run depends on."""
    return digest(config.model_dump_json(exclude={"compare", "tune"}), train)
