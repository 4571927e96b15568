"""What answers: item vectors computed beforehand, the query tower run on each request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import FEATURES, HISTORY, NO_ITEM, PATHS, POPULAR, Ranked
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable, Features, encode_rows
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.data.values.ids import id_series
from twotower.errors import DataError, explain, nearest
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.answers import Recommendation, RecommendedItem
from twotower.serving.answer.fallback import CHUNK, FallbackChain, Staged, check_k
from twotower.serving.answer.stages import Stages
from twotower.serving.answer.user_paths import has_values, user_paths
from twotower.serving.answer.writer import AnswerWriter
from twotower.serving.bundle.bundle import load_bundle, save_bundle
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import ServedModel, latest_events


class Recommender:
    """Answers by a served model.

    The fallback chain: `known` is a user whose id training saw, `history` another user of whom the
    query tower reads events, `features` one of whom it reads at least one feature, `popular` every
    other user, by what is popular in the context of the request where it has a category; a context
    without one is read by the query tower.

    >>> recommender = tt.Recommender.build(model, train, data.config)
    >>> len(recommender.recommend(user_ids=["u00001"], k=3)[0].items)
    3

    Attributes:
        served: the model.
        popularity: answers what the towers cannot.
        paths: (len(users) + 1,) the step of the chain of each user without a context.
        stages: retrieve, rank, diversify.
    """

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self.popularity = PopularityRanker(
            served.users, served.items, served.item_counts, served.seen, served.context_counts
        )
        self.paths = user_paths(served.users, served.seen)
        self.stages = Stages(
            served.query_encoder, served.index, served.ranker, num_taste=served.num_taste
        )
        self.chain = FallbackChain(self.stages, self.popularity)
        self.writer = AnswerWriter(
            served.items,
            served.index,
            self.popularity,
            num_taste=served.num_taste,
            live=served.is_live,
        )

    @property
    def users(self) -> EntityTable:
        """The users, numbered."""
        return self.served.users

    @property
    def items(self) -> EntityTable:
        """The items, numbered."""
        return self.served.items

    @property
    def seen(self) -> Ragged:
        """The items of each user."""
        return self.served.seen

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """(len(items),) training rows of each item."""
        return self.served.item_counts

    # --- building, saving ---

    @staticmethod
    def build(
        model: TwoTower,
        train: Interactions,
        config: Config,
        *,
        histories: Histories | None = None,
        ranker: NeuralRanker | None = None,
        index_new_items: bool = True,
    ) -> Recommender:
        """A recommender by trained towers; the arguments are those of `ServedModel.build`."""
        return Recommender(
            ServedModel.build(
                model,
                train,
                config,
                histories=histories,
                ranker=ranker,
                index_new_items=index_new_items,
            )
        )

    def save(
        self,
        path: str | Path,
        *,
        metrics: dict[str, Any] | None = None,
        heldout: pl.DataFrame | None = None,
        training: dict[str, Any] | None = None,
        stages: dict[str, Any] | None = None,
    ) -> None:
        """Write a bundle; see `serving/bundle/bundle.py`.

        Args:
            path: a new folder, or that of a bundle to replace.
            metrics: kept in the manifest.
            heldout: the raw test rows, so that `evaluate` runs from the bundle alone.
            training: the curves of training, kept in the manifest; see
                `workflow/training/training_record.py`.
            stages: what each stage keeps, kept in the manifest; see
                `workflow/training/stage_report.py`.
        """
        told = {"metrics": metrics or {}, "training": training, "stages": stages}
        save_bundle(self.served, Path(path), told=told, heldout=heldout)

    @staticmethod
    def load(path: str | Path) -> Recommender:
        """Read a bundle, refusing one that is damaged.

        Raises:
            BundleError: says what does not fit.
        """
        return Recommender(load_bundle(Path(path)))

    # --- answering ---

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k best items for each of Q users; the core of evaluation, validation and serving.

        Args:
            user_num: (Q,) rows of `users`.
            k: at least 1; beyond the catalogue, what there is.
            context: name -> (Q, ...) encoded context features, where the schema has any; left out,
                they are missing.
            mask_seen: leave out what the user has seen.
            excluded: Q lists of further item nums to leave out.
            allowed: (len(items),) which items may be answered at all.
        """
        return self._top_k(
            user_num, k, context=context, mask_seen=mask_seen, excluded=excluded, allowed=allowed
        ).ranked

    def _top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
        diversity: float = 0.0,
    ) -> Staged:
        unwanted = self.served.seen.take(user_num) if mask_seen else None
        if excluded is not None:
            unwanted = excluded if unwanted is None else unwanted.merge(excluded)
        path = self.paths[user_num]
        if self.tower_reads(context):
            path = np.where(path == POPULAR, FEATURES, path).astype(np.int8)
        asked = context or {}

        def queries(rows: NDArray[np.int64]) -> Queries:
            return self.served.queries_of(
                user_num[rows], {name: column[rows] for name, column in asked.items()}
            )

        return self.chain.run(
            path, queries, k, unwanted=unwanted, allowed=allowed, diversity=diversity
        )

    def recommend(
        self,
        user_ids: Sequence[str | int],
        k: int = 10,
        *,
        context: pl.DataFrame | None = None,
        exclude: Sequence[str | int] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
    ) -> list[Recommendation]:
        """Answers for users by raw id; an unknown id is answered by popularity, never refused.

        Args:
            user_ids: (Q,).
            k: at least 1.
            context: Q rows with the columns of the context features.
            exclude: raw ids of items that nobody is to get.
            mask_seen: leave out what the user has seen.
            diversity: from 0, the best items, to 1, items as unlike each other as can be.
        """
        user_num = self.served.users.nums(id_series(user_ids))
        unwanted = self._unwanted(exclude, len(user_num))
        asked = self._context(context)
        staged = self._top_k(
            user_num,
            k,
            context=asked,
            mask_seen=mask_seen,
            excluded=unwanted,
            diversity=diversity,
        )
        return [
            self.writer.answer(
                user_id, self.served.seen.take(user_num[place : place + 1])[0], staged, place, asked
            )
            for place, user_id in enumerate(user_ids)
        ]

    def recommend_invented(
        self,
        users: pl.DataFrame,
        k: int = 10,
        *,
        context: pl.DataFrame | None = None,
        histories: Sequence[Sequence[str | int]] | None = None,
        diversity: float = 0.0,
    ) -> list[Recommendation]:
        """Answers for users that no table has, by their features and by what they took; by
        popularity where neither is known.

        Args:
            users: a row each, with the columns of the user features; those left out are missing.
            k: at least 1.
            context: as in `recommend`.
            histories: a list of raw item ids for each row, oldest first; they are not answered
                again, and ids that are not in the catalogue are passed over.
            diversity: as in `recommend`.

        Raises:
            DataError: a value is not of its feature's type.
        """
        check_k(k)
        taken = self._histories(histories or [[]] * len(users))
        encoded = encode_rows(self.served.schema, "user", users)
        chosen = self._context(context) or {}
        known = has_values(self.served.schema, users) | self.tower_reads(chosen)
        path = np.where(known, FEATURES, POPULAR)
        if self.served.schema.history is not None:
            path = np.where(taken.items.lengths > 0, HISTORY, path)

        def queries(rows: NDArray[np.int64]) -> Queries:
            latest = latest_events(self.served.schema, taken, rows)
            user, asked = ({n: c[rows] for n, c in part.items()} for part in (encoded, chosen))
            return Queries(user, asked, latest, taken.items.take(rows))

        staged = self.chain.run(
            path.astype(np.int8), queries, k, unwanted=taken.items, diversity=diversity
        )
        return [
            self.writer.answer(None, taken.items[place], staged, place, chosen)
            for place in range(len(users))
        ]

    def _histories(self, raw: Sequence[Sequence[str | int]]) -> Histories:
        """Lists of raw item ids, oldest first, as events; those outside the catalogue left out."""
        keys = np.repeat(np.arange(len(raw)), [len(ids) for ids in raw])
        flat = [item_id for ids in raw for item_id in ids]
        nums = self.items.nums(id_series(flat))
        known = np.flatnonzero(nums >= 0)
        # Nobody said when: as far apart as events usually are.
        time = None if self.served.histories.time is None else known * self._typical_gap
        return Histories.group(keys[known], nums[known], len(raw), time=time)

    @cached_property
    def _typical_gap(self) -> int:
        return self.served.histories.typical_gap()

    def recommend_all(self, k: int = 10, *, diversity: float = 0.0) -> Iterator[pl.DataFrame]:
        """Frames of `user_id, rank, item_id, score, path` for all users, some thousand a time;
        `diversity` as in `recommend`."""
        check_k(k)
        for start in range(self.served.users.first_known, len(self.served.users), CHUNK):
            user_num = np.arange(start, min(start + CHUNK, len(self.served.users)))
            ranked = self._top_k(user_num, k, diversity=diversity).ranked
            rows, places = np.nonzero(ranked.item_nums != NO_ITEM)
            yield pl.DataFrame(
                {
                    "user_id": self.served.users.ids.gather(user_num[rows]),
                    "rank": places + 1,
                    "item_id": self.items.ids.gather(ranked.item_nums[rows, places]),
                    "score": ranked.scores[rows, places],
                    "path": np.array(PATHS)[ranked.path[rows]],
                }
            )

    def similar(self, item_id: str | int, k: int = 10) -> list[RecommendedItem]:
        """The k items whose vectors are nearest to an item's, itself left out.

        Raises:
            DataError: the item is unknown, or has no vector.
        """
        check_k(k)
        num = int(self.items.nums(id_series([item_id]))[0])
        if num < 0:
            known = [str(known) for known in self.items.ids.drop_nulls().to_list()]
            raise DataError(
                explain(
                    f"no such item{nearest(str(item_id), known)}", column="item_id", value=item_id
                )
            )
        place = int(places_of(self.served.index.item_nums, np.array([num]))[0])
        if place < 0:
            raise DataError(
                explain(
                    "training never saw this item and no feature of it is known, so that it "
                    "has no vector",
                    column="item_id",
                    value=item_id,
                    fix="declare item features and train again",
                )
            )
        own = Ragged(np.array([0, 1]), np.array([num], dtype=np.int32))
        taste = self.served.index.vectors()[place][None].copy()
        taste[:, self.served.num_taste :] = 0
        found = self.served.index.search(taste, k, excluded=own)
        return [
            self.writer.item(int(item), float(score), "near in taste", {})
            for item, score in zip(found.item_nums[0], found.scores[0], strict=True)
            if item != NO_ITEM
        ]

    # --- parts of an answer ---

    def tower_reads(self, context: Features | None) -> bool:
        """Whether a context alone is answered by the towers: popularity knows no such context."""
        return bool(context) and self.served.context_counts is None

    def _context(self, rows: pl.DataFrame | None) -> Features | None:
        return None if rows is None else encode_rows(self.served.schema, "context", rows)

    def _unwanted(self, exclude: Sequence[str | int], num_queries: int) -> Ragged | None:
        if not exclude:
            return None
        nums = self.items.nums(id_series(exclude))
        nums = nums[nums >= 0]
        keys = np.repeat(np.arange(num_queries), len(nums))
        return Ragged.group(keys, np.tile(nums, num_queries), num_queries)
