"""A trained model with all that it needs to answer: weights, tables, histories, counts, index."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.data.features.schema import Schema
from twotower.index import ExactIndex, StoredIndex, build_index, recall_against_exact
from twotower.models.baselines.context_counts import ContextCounts
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.content_neighbours import ContentNeighbours
from twotower.models.retriever.fold_in import FoldIn
from twotower.models.retriever.two_tower import TwoTower, can_smooth
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import BLEND, RANK, RETRIEVE, Floats, Queries, RankingStage
from twotower.serving.bundle.query_encoder import QueryEncoder, encode_items

RECALL_QUERIES = 200
"""Users that the recall of the index is measured on when it is built; as many others choose its
number of probes."""


@dataclass(frozen=True)
class ServedModel:
    """What a bundle holds, in memory. Never changes: `with_users` and `replace` make another one.

    An item that training never saw is in the index if it has a feature that the item tower reads;
    without one it has no meaningful vector, and only popularity can answer it.

    Attributes:
        towers: both towers, in eval mode.
        config: as trained.
        users, items: the entity tables.
        histories: (len(users),) the events of each user: read by the query tower, masked, and the
            source of reasons.
        item_counts: (len(items),) training rows of each item.
        index: over the item vectors.
        query_encoder: runs the query tower.
        blend: what stands beside the towers; None where they stand alone.
        ranker: the ranking stage; None where the order of what was retrieved stands.
        context_counts: `item_counts` by context; None where it has no category.
        index_recall: of the index against exact search, measured when it was built.
        manifest: of the bundle that it was loaded from, else empty.
    """

    towers: TwoTower
    config: Config
    users: EntityTable
    items: EntityTable
    histories: Histories
    item_counts: NDArray[np.int64]
    index: StoredIndex
    query_encoder: QueryEncoder
    blend: CandidateBlend | None = None
    ranker: RankingStage | None = None
    context_counts: ContextCounts | None = None
    index_recall: float = 1.0
    manifest: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def build(
        towers: TwoTower,
        train: Interactions,
        config: Config,
        *,
        histories: Histories | None = None,
        blend: CandidateBlend | None = None,
        ranker: NeuralRanker | None = None,
        index_new_items: bool = True,
    ) -> ServedModel:
        """Encode all items and index them.

        Args:
            towers: trained.
            train: the training part: entity tables, popularity.
            config: `[index]` is used.
            histories: (len(users),) the events of each user; default: the training part's.
            blend: fitted for the same tables; default: the towers stand alone.
            ranker: trained for the same tables; default: the order of what was retrieved stands.
            index_new_items: False leaves items that training did not see out of the index.
        """
        towers.eval()
        items = train.items
        reads_states = items.schema.history is not None
        states, vectors = encode_items(towers, items.features, keep_states=reads_states)
        # Only what is weighed on validation may speak for users whose id is unknown.
        folds_in = blend is not None and can_smooth(items.schema) and len(train) > 0
        fold_in = FoldIn.fit(towers, train) if folds_in else None
        nums = np.flatnonzero(indexable(items)).astype(np.int64)
        if not index_new_items:
            nums = nums[items.is_warm(nums)]
        served = ServedModel(
            towers=towers,
            config=config,
            users=train.users,
            items=items,
            histories=train.histories() if histories is None else histories,
            item_counts=train.item_counts(),
            index=ExactIndex(vectors.numpy()[as_slice(nums)], nums),
            query_encoder=QueryEncoder(towers, items.schema, states, fold_in),
            blend=blend,
            ranker=ranker,
            context_counts=ContextCounts.fit(train),
        )
        finder = served.content_neighbours
        if blend is not None and finder is not None:
            new = nums[served.item_counts[nums] == 0]
            links = finder.links(new, items.gather(torch.from_numpy(new)))
            served = replace(served, blend=replace(blend, content=links))
        asked = served.vectors_of_some_users(seed=1)
        index = build_index(config.index, served.index.vectors(), nums, asked)
        return replace(served, index=index).with_measured_index()

    def with_measured_index(self) -> ServedModel:
        """The same model with the recall of its index."""
        if self.index.kind == "exact":
            return replace(self, index_recall=1.0)
        vectors = self.vectors_of_some_users(seed=0)
        recall = recall_against_exact(self.index, vectors, self.config.evaluation.k)
        return replace(self, index_recall=recall)

    def vectors_of_some_users(self, seed: int) -> Floats:
        """(Q, D) query vectors of a sample of the users that training saw."""
        warm = np.arange(self.users.first_known, self.users.end_warm)
        return self.query_vectors(np.random.default_rng(seed).permutation(warm)[:RECALL_QUERIES])

    def with_users(self, users: EntityTable, histories: Histories | None = None) -> ServedModel:
        """The same model with a table that has more users behind the same rows, and what they have
        done; default: what is known already."""
        known = self.histories if histories is None else histories
        return replace(self, users=users, histories=known)

    @property
    def seen(self) -> Ragged:
        """The items of each user; a user beyond the last list has none."""
        return self.histories.items

    @property
    def schema(self) -> Schema:
        """The fitted schema."""
        return self.users.schema

    @property
    def similarity_dim(self) -> int:
        """Leading components of a vector that item similarity is measured on; the item's bias may
        follow them."""
        return self.towers.config.embedding_dim - self.towers.has_bias

    @property
    def is_live(self) -> bool:
        """Whether new events affect recommendations."""
        ranks = isinstance(self.ranker, NeuralRanker) and self.ranker.reads_user_items
        blends = self.blend is not None and self.blend.reads_user_items
        return ranks or blends or self.schema.history is not None

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages that score."""
        stages = {RETRIEVE: True, BLEND: self.blend is not None, RANK: self.ranker is not None}
        return tuple(stage for stage, is_there in stages.items() if is_there)

    @cached_property
    def popularity(self) -> PopularityRanker:
        """Answers what the towers cannot; by recent popularity, if the blend has chosen it."""
        return PopularityRanker(
            self.users,
            self.items,
            self.item_counts,
            self.seen,
            self.context_counts,
            weights=None if self.blend is None else self.blend.popularity,
        )

    @cached_property
    def content_neighbours(self) -> ContentNeighbours | None:
        """Finds the trained items that are like a new one; None where the blend does not ask."""
        if self.blend is None or not self.blend.reads_content:
            return None
        return ContentNeighbours.of(self.towers.cold_tower, self.items, self.item_counts)

    def tower_reads(self, context: Features | None) -> bool:
        """Whether a context alone is answered by the towers: popularity knows no such context."""
        return bool(context) and self.context_counts is None

    @cached_property
    def learned_lengths(self) -> NDArray[np.int64]:
        """(len(users),) how many events of each user are not newer than what training learned from.
        Without times, those of the validation part count as old."""
        lengths, learned = self.seen.lengths, self.histories.learned
        if learned is not None and self.histories.time is not None:
            lengths = np.bincount(self.seen.keys()[learned], minlength=len(lengths))
        return np.pad(lengths, (0, max(0, len(self.users) - len(lengths))))

    @property
    def num_users(self) -> int:
        """Users with a row of their own."""
        return len(self.users) - self.users.first_known

    def queries_of(self, user_num: NDArray[np.integer], context: Features) -> Queries:
        """Rows (Q,) of `users`, -1 for a user without one, with encoded context features, as the
        models read them."""
        return Queries.of(
            self.users, user_num, self.histories, user_num, context, self.learned_lengths
        )

    def query_vectors(
        self, user_num: NDArray[np.integer], context: Features | None = None
    ) -> Floats:
        """(Q, D) query vectors of rows of `users`, with their histories."""
        return self.query_encoder.vectors(self.queries_of(user_num, context or {}))


def indexable(items: EntityTable) -> NDArray[np.bool_]:
    """(len(items),) which items have a meaningful vector."""
    there = items.has_features()
    if ID_FEATURE in items.schema.features["item"]:
        there[items.first_known : items.end_warm] = True
    there[: items.first_known] = False
    return there


def as_slice(nums: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Ascending nums as a slice where they follow each other: rows that are taken by it are no
    copy."""
    if len(nums) and nums[-1] - nums[0] == len(nums) - 1:
        return slice(int(nums[0]), int(nums[-1]) + 1)
    return nums
