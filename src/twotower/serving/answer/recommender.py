"""Recommendations from Python: by a model in memory or a bundle on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.arrays.in_threads import in_threads
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import Ranked
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable, Features, encode_rows, taken
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.data.features.schema import Side
from twotower.errors import NotFoundError, explain
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.answering import answer_all, similar_items
from twotower.serving.answer.fallback import CHUNK
from twotower.serving.answer.filters import Expression
from twotower.serving.answer.ids import Ids, check_rows, frame_of, frame_of_ranked, listed, nums_of
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
from twotower.serving.answer.requests import (
    AnswerRequest,
    HistoryItem,
    SearchOptions,
    check_search,
    column_names,
)
from twotower.serving.answer.resolve_request import Sent, resolved
from twotower.serving.answer.stages import Stages
from twotower.serving.bundle.bundle import load_bundle, save_bundle
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Floats
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.bundle.signing import VerifyKey
from twotower.serving.store.protocol import Id


class Recommender:
    """Recommends by a served model, as the service does.

    A request is answered by the first step of the fallback chain that can: `known` for a user whose
    id training saw, `history` for another user with events, `features` for one with a value of a
    user feature, and `popular` for every other user, by what is popular in the context of the
    request. See `UserPaths.answer_path`.

    >>> recommender = tt.Recommender.build(model, train, data.config)
    >>> recommender
    Recommender(60 items, 120 users, index='exact', stages=('retrieve',))
    >>> recommender.recommend("u00001", k=3)
    Recommendation('u00001', path='known', 3 items: ...)

    Attributes:
        served: the model; never changes.
    """

    def __init__(self, served: ServedModel, *, reasons: str | Path | None = None) -> None:
        """Answer by a model.

        Args:
            served: weights, tables, histories, counts, index.
            reasons: a file of the sentences that explain; default: the English ones.

        Raises:
            ConfigError: the file names an unknown reason, or a sentence lacks a parameter.
        """
        self.served = served
        self._model = OverlaidModel.of(
            PreparedModel(served, sentences=ReasonSentences.load(reasons))
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

    @property
    def stages(self) -> Stages:
        """Retrieve, blend, rank, diversify."""
        return self._model.stages

    def __repr__(self) -> str:
        items, served = len(self.items) - self.items.first_known, self.served
        return (
            f"Recommender({items:,} items, {served.num_users:,} users, "
            f"index={served.index.kind!r}, stages={served.stage_names})"
        )

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    # --- building, saving ---

    @staticmethod
    def build(
        model: TwoTower,
        train: Interactions,
        config: Config,
        *,
        histories: Histories | None = None,
        blend: CandidateBlend | None = None,
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
                blend=blend,
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

        >>> recommender.save("bundle")
        >>> tt.Recommender.load("bundle")
        Recommender(60 items, 120 users, index='exact', stages=('retrieve',))

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
    def load(
        path: str | Path,
        *,
        reasons: str | Path | None = None,
        verify_key: str | Path | None = None,
    ) -> Recommender:
        """Read a bundle, refusing one that is damaged.

        Args:
            path: the bundle's folder.
            reasons: as in `__init__`.
            verify_key: file of a public key; a bundle that `twotower sign` did not sign with its
                private key is refused. Default: any bundle is read.

        Raises:
            BundleError: says what does not fit.
            ConfigError: the file of reasons or of the key is not right.
        """
        key = None if verify_key is None else VerifyKey(verify_key)
        return Recommender(load_bundle(Path(path), key), reasons=reasons)

    # --- users of the tables, all at once ---

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
        diversity: float = 0.0,
    ) -> Ranked:
        """The k best items for each of Q users, by number; what is evaluated.

        Args:
            user_num: (Q,) rows of `users`.
            k: at least 1; beyond the catalogue, what there is.
            context: name -> (Q, ...) encoded context features; absent ones are missing values.
            mask_seen: leave out what the user has seen.
            excluded: Q lists of further item nums to leave out.
            allowed: (len(items),) which items may be answered at all.
            diversity: as in `recommend`.
        """
        check_search(k, diversity)
        unwanted = self.seen.take(user_num) if mask_seen else None
        if excluded is not None:
            unwanted = excluded if unwanted is None else unwanted.merge(excluded)
        given, paths = context or {}, self.paths(user_num, context)
        answer = self._model.chain.run(
            paths,
            lambda rows: self.served.queries_of(user_num[rows], taken(given, rows)),
            k,
            unwanted=unwanted,
            allowed=allowed,
            diversity=diversity,
        )
        return Ranked(answer.item_nums, answer.scores, paths)

    def paths(
        self, user_num: NDArray[np.integer], context: Features | None = None
    ) -> NDArray[np.int8]:
        """(Q,) the step of the fallback chain of each user, as places in `PATHS`."""
        return self._model.prepared.paths.answer_path(
            user_num, has_features=self.served.tower_reads(context)
        )

    def recommend_all(
        self, k: int = 10, *, diversity: float = 0.0, first: int = 0, stop: int | None = None
    ) -> Iterator[pl.DataFrame]:
        """Frames of `user_id, rank, item_id, score, path` for all users but the first `first`, some
        thousand a time; each of torch's threads works on one of them. `diversity` as in
        `recommend`; with `stop`, of `CHUNK` users each up to the first that ends there or behind.

        >>> next(recommender.recommend_all(k=2)).columns
        ['user_id', 'rank', 'item_id', 'score', 'path']
        """
        check_search(k, diversity)
        end = len(self.users) if stop is None else self.users.first_known + stop
        starts = range(self.users.first_known + first, end, CHUNK)

        def frame(start: int) -> pl.DataFrame:
            user_num = np.arange(start, min(start + CHUNK, len(self.users)))
            ranked = self.top_k(user_num, k, diversity=diversity)
            return frame_of_ranked(user_num, ranked, self.users.ids, self.items.ids)

        yield from in_threads(frame, starts)

    # --- requests ---

    # Text is a sequence of text, too: the first signature that fits is meant.
    @overload
    def recommend(  # type: ignore[overload-overlap]
        self,
        user_ids: Id,
        k: int = 10,
        *,
        filter: Expression | None = None,
        exclude: Sequence[Id] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
        context: pl.DataFrame | None = None,
        as_frame: Literal[False] = False,
    ) -> Recommendation: ...

    @overload
    def recommend(
        self,
        user_ids: Ids,
        k: int = 10,
        *,
        filter: Expression | None = None,
        exclude: Sequence[Id] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
        context: pl.DataFrame | None = None,
        as_frame: Literal[False] = False,
    ) -> list[Recommendation]: ...

    @overload
    def recommend(
        self,
        user_ids: Id | Ids,
        k: int = 10,
        *,
        filter: Expression | None = None,
        exclude: Sequence[Id] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
        context: pl.DataFrame | None = None,
        as_frame: Literal[True],
    ) -> pl.DataFrame: ...

    def recommend(
        self,
        user_ids: Id | Ids,
        k: int = 10,
        *,
        filter: Expression | None = None,  # noqa: A002
        exclude: Sequence[Id] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
        context: pl.DataFrame | None = None,
        as_frame: bool = False,
    ) -> Recommendation | list[Recommendation] | pl.DataFrame:
        """The k best items for one user or for several; an unknown user gets what is popular.

        >>> recommender.recommend(["u00001", "a new user"], k=2)
        [Recommendation('u00001', path='known', 2 items: ...), Recommendation('a new user', ...)]
        >>> cheap = {"column": "price", "range": {"max": 20}}
        >>> recommender.recommend("u00001", k=5, filter=cheap, exclude=["i00003"], as_frame=True)
        shape: (5, 6)
        ...

        Args:
            user_ids: one raw id, or Q of them.
            k: at least 1; fewer come back only where fewer exist.
            filter: a condition on columns of the items, as in a request to the service: `{"column":
                "price", "range": {"max": 20}}`; see `filters`.
            exclude: raw ids of items that are not to be answered; unknown ids are ignored.
            mask_seen: leave out what the user has seen.
            diversity: from 0, the best items, to 1, items as unlike each other as can be.
            context: a row for each user, with the columns of the context features.
            as_frame: a frame instead: `user_id, rank, item_id, score, path, reason`.

        Returns:
            A `Recommendation` for one id, a list of them for several.

        Raises:
            ValueError: `k` or `diversity` is out of range, or `context` has another number of rows.
            DataError: the filter names an unknown column, or a context value is not of its type.
        """
        ids, one = listed(user_ids)
        options = SearchOptions(k, filter, tuple(exclude), mask_seen, diversity)
        requests = [AnswerRequest(user_id, options=options) for user_id in ids]
        answers = self._answers(requests, None, context)
        if as_frame:
            return frame_of(answers)
        return answers[0] if one else answers

    def recommend_invented(
        self,
        users: pl.DataFrame,
        k: int = 10,
        *,
        context: pl.DataFrame | None = None,
        histories: Sequence[Sequence[Id]] | None = None,
        filter: Expression | None = None,  # noqa: A002
        exclude: Sequence[Id] = (),
        mask_seen: bool = True,
        diversity: float = 0.0,
    ) -> list[Recommendation]:
        """Answers for users that no table has, by their features and their interactions; by
        popularity where neither is known.

        >>> import polars as pl
        >>> recommender.recommend_invented(pl.DataFrame({"age": [30]}), k=2)
        [Recommendation(None, path='features', 2 items: ...)]

        Args:
            users: a row each, with the columns of user features; absent ones are missing values.
            k: at least 1.
            context: as in `recommend`.
            histories: a list of raw item ids for each row, oldest first; unknown ids are ignored.
            filter, exclude, mask_seen, diversity: as in `recommend`; a history counts as seen.

        Raises:
            ValueError: `context` or `histories` has another length than `users`.
            DataError: a value is not of its feature's type.
        """
        options = SearchOptions(k, filter, tuple(exclude), mask_seen, diversity)
        given = histories or [[]] * len(users)
        check_rows("histories", len(given), len(users))
        requests = [
            AnswerRequest(history=tuple(HistoryItem(item_id) for item_id in ids), options=options)
            for ids in given
        ]
        return self._answers(requests, users, context)

    def _answers(
        self,
        requests: Sequence[AnswerRequest],
        users: pl.DataFrame | None,
        context: pl.DataFrame | None,
    ) -> list[Recommendation]:
        """Answers to Q requests whose columns stand in frames of Q rows, encoded all at once."""
        user_rows = self._rows("user", users, len(requests))
        context_rows = self._rows("context", context, len(requests))
        return answer_all(
            [
                resolved(
                    request,
                    self._model,
                    None if users is None else features,
                    asked if given else {},
                    Sent(sent, given),
                )
                for request, (features, sent), (asked, given) in zip(
                    requests, user_rows, context_rows, strict=True
                )
            ],
            self._model,
        )

    def _rows(
        self, side: Side, frame: pl.DataFrame | None, number: int
    ) -> list[tuple[Features, frozenset[str]]]:
        """Encoded features (1, ...) of each row, and the columns that it has a value of."""
        if frame is None:
            return [({}, frozenset())] * number
        check_rows(side, len(frame), number)
        encoded = encode_rows(self.served.schema, side, frame)
        names = [n for n in column_names(self.served.schema, side) if n in frame.columns]
        there = [frame[name].is_not_null().to_list() for name in names]
        return [
            (
                {name: column[row : row + 1] for name, column in encoded.items()},
                frozenset(name for name, has in zip(names, there, strict=True) if has[row]),
            )
            for row in range(number)
        ]

    # --- vectors ---

    def similar(self, item_id: Id, k: int = 10) -> list[RecommendedItem]:
        """The k items whose vectors are nearest to an item's, itself left out.

        >>> [item.reason for item in recommender.similar("i00003", k=2)]
        ['Similar item', 'Similar item']

        Raises:
            NotFoundError: the item is unknown, or has no vector.
        """
        check_search(k)
        nums_of(self.items, [item_id])
        return similar_items(item_id, k, self._model)

    def user_vectors(self, user_ids: Id | Ids) -> tuple[list[Id], Floats]:
        """Query vectors of users, without a context.

        >>> ids, vectors = recommender.user_vectors(["u00001", "u00002"])
        >>> ids, vectors.shape
        (['u00001', 'u00002'], (2, 8))

        Args:
            user_ids: one raw id, or Q of them.

        Returns:
            The ids, and (Q, D) float32.

        Raises:
            NotFoundError: a user has no row in the tables.
        """
        ids, _ = listed(user_ids)
        return ids, self.served.query_vectors(nums_of(self.users, ids))

    def item_vectors(self, item_ids: Id | Ids) -> tuple[list[Id], Floats]:
        """Item vectors, as the index holds them.

        >>> ids, vectors = recommender.item_vectors("i00003")
        >>> ids, vectors.shape
        (['i00003'], (1, 8))

        Args:
            item_ids: one raw id, or T of them.

        Returns:
            The ids, and (T, D) float32.

        Raises:
            NotFoundError: an item is unknown, or has no vector.
        """
        ids, _ = listed(item_ids)
        nums, index = nums_of(self.items, ids), self.served.index
        if (without := np.flatnonzero(places_of(index.item_nums, nums) < 0)).size:
            raise NotFoundError(
                explain(
                    f"{len(without):,} of {len(ids):,} items have no vector: training never saw "
                    "them, and no feature of them is known",
                    column=self.items.key,
                    value=ids[int(without[0])],
                )
            )
        return ids, index.vectors_of(nums)
