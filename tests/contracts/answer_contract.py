"""What holds for every entrance to an answer, Python's and the service's: path, items, scores,
reasons and columns, in a batch as alone. Expected answers are worked out from the vectors of the
towers and the rows of the log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.serving.asking import asking
from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import encode_rows
from twotower.data.dataset.splits import Parts
from twotower.data.features.histories import Histories
from twotower.data.tables.tables import Tables
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import AnswerRequest, HistoryItem
from twotower.serving.bundle.queries import Queries

NUM_USERS, NUM_ITEMS, ROWS = 24, 40, 200
VERSIONS = {"one": 0, "two": 1}
"""Bundle -> seed of its towers: the same data, other answers."""
FIRST = 2
"""The num of the first user and of the first item."""


def tables() -> Tables:
    """A log of 24 users and 36 of 40 items; `cold-0` has features alone, `cold-1` nothing."""
    rng = np.random.default_rng(3)
    log = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, NUM_USERS, ROWS)],
            "item_id": [f"i{n}" for n in (rng.beta(1, 3, ROWS) * (NUM_ITEMS - 4)).astype(int)],
            "timestamp": np.arange(ROWS) * 3600,
            "event_type": rng.choice(["view", "buy"], ROWS),
            "device": rng.choice(["phone", "desk"], ROWS),
        }
    ).unique(["user_id", "item_id"], keep="first", maintain_order=True)
    users = pl.DataFrame(
        {
            "user_id": [*(f"u{n}" for n in range(NUM_USERS)), "cold-0", "cold-1"],
            "city": [*rng.choice(["Rome", "Oslo"], NUM_USERS), "Rome", None],
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(NUM_ITEMS)],
            "title": [f"Title {n}" for n in range(NUM_ITEMS)],
            "genre": rng.choice(["drama", "opera"], NUM_ITEMS),
            "price": rng.integers(1, 30, NUM_ITEMS),
        }
    )
    return Tables(log, users, items, test=log.clear())


TABLES = tables()
LOG: pl.DataFrame = TABLES.interactions
CONFIG = Config.model_validate(
    {
        "data": {"interactions": "log.csv", "users": "users.csv", "items": "items.csv"},
        "features": {
            "user": {
                "city": {"type": "category"},
                "history": {
                    "type": "history",
                    "encoder": "attention",
                    "max_length": 6,
                    "num_heads": 2,
                },
            },
            "item": {"genre": {"type": "category"}},
            "context": {"device": {"type": "category"}},
        },
        "retriever": {"embedding_dim": 8},
    }
)


def write_bundles(folder: Path) -> None:
    """One of each of `VERSIONS`, and the pointer on the first."""
    data = Dataset.from_parts(CONFIG, TABLES, Parts(LOG, LOG.clear(), LOG.clear(), "given", ""))
    for name, seed in VERSIONS.items():
        towers = TwoTower(CONFIG.retriever, data.schema, seed=seed)
        Recommender.build(towers, data.train, CONFIG).save(folder / name)
    (folder / "current").write_text("one\n", encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """A request and what is known of its answer.

    Attributes:
        name: of the test.
        path: that answers it.
        given: fields of the request; see `asking`.
        keeps: which rows of the items file the filter keeps.
    """

    name: str
    path: str
    given: dict[str, Any]
    keeps: Callable[[dict[str, Any]], bool] = field(default=lambda row: True)

    @property
    def request(self) -> AnswerRequest:
        """A new one."""
        return asking(**self.given)


TAKEN = tuple(HistoryItem(item_id, "view", 3600 * n) for n, item_id in enumerate(("i3", "i8")))
OPERA = {"column": "genre", "equals": "opera"}
CHEAP = {"and": [OPERA, {"column": "price", "range": {"max": 15}}]}


def is_opera(row: dict[str, Any]) -> bool:
    return bool(row["genre"] == "opera")


CASES = [
    Case("known", "known", {"user_id": "u3"}),
    Case("known_k", "known", {"user_id": "u4", "k": 3}),
    Case("known_all", "known", {"user_id": "u5", "k": 99}),
    Case("known_filter", "known", {"user_id": "u3", "filter": OPERA}, is_opera),
    Case(
        "known_filters",
        "known",
        {"user_id": "u6", "filter": CHEAP, "k": 5},
        lambda row: is_opera(row) and row["price"] <= 15,
    ),
    Case("known_exclude", "known", {"user_id": "u3", "exclude": ("i1", "i2", "i39", "nothing")}),
    Case("known_seen", "known", {"user_id": "u3", "mask_seen": False, "k": 99}),
    Case("known_context", "known", {"user_id": "u3", "context": {"device": "phone"}}),
    Case("known_new_context", "known", {"user_id": "u3", "context": {"device": "watch"}}),
    Case("known_no_context", "known", {"user_id": "u3", "context": {"device": None}}),
    Case("known_diverse", "known", {"user_id": "u7", "diversity": 0.6, "k": 6}),
    Case(
        "known_everything",
        "known",
        {
            "user_id": "u8",
            "k": 4,
            "filter": OPERA,
            "exclude": ("i0", "i5"),
            "mask_seen": False,
            "diversity": 0.3,
            "context": {"device": "desk"},
        },
        is_opera,
    ),
    Case("history", "history", {"history": TAKEN}),
    Case("history_filter", "history", {"history": TAKEN, "filter": OPERA, "k": 4}, is_opera),
    Case("history_exclude", "history", {"history": TAKEN, "exclude": ("i1",)}),
    Case("history_seen", "history", {"history": TAKEN, "mask_seen": False, "k": 99}),
    Case("history_user", "history", {"history": TAKEN, "user": {"city": "Oslo"}}),
    Case("history_context", "history", {"history": TAKEN, "context": {"device": "phone"}}),
    Case("features_cold", "features", {"user_id": "cold-0"}),
    Case("features", "features", {"user": {"city": "Oslo"}}),
    Case("features_filter", "features", {"user": {"city": "Oslo"}, "filter": OPERA}, is_opera),
    Case("features_exclude", "features", {"user": {"city": "Rome"}, "exclude": ("i7", "i9")}),
    Case(
        "features_context",
        "features",
        {"user": {"city": "Rome"}, "context": {"device": "desk"}, "diversity": 0.5},
    ),
    Case("popular", "popular", {"user_id": "a stranger"}),
    Case("popular_cold", "popular", {"user_id": "cold-1", "k": 99}),
    Case("popular_nothing", "popular", {"user": {"city": None}}),
    Case("popular_filter", "popular", {"user_id": "x", "filter": OPERA, "k": 99}, is_opera),
    Case("popular_exclude", "popular", {"user_id": "x", "exclude": ("i0", "i1")}),
    Case("popular_context", "popular", {"user_id": "x", "context": {"device": "phone"}}),
    Case("popular_diverse", "popular", {"user_id": "x", "diversity": 1.0}),
]


# --- expected answers -------------------------------------------------------------------------


def events_of(request: AnswerRequest, gap: int = 0) -> pl.DataFrame:
    """The events of a request's user, oldest first."""
    if request.history:
        schema = {"item_id": pl.String, "event_type": pl.String, "timestamp": pl.Int64}
        return pl.DataFrame(list(request.history), schema, orient="row").with_columns(
            # Where no time is sent, events are an equal time apart.
            pl.col("timestamp").fill_null(pl.int_range(pl.len()) * gap)
        )
    return LOG.filter(pl.col("user_id") == str(request.user_id)).sort("timestamp")


def query_vector(recommender: Recommender, request: AnswerRequest) -> NDArray[np.float32]:
    """(D,) by the tower itself, from columns and events."""
    served = recommender.served
    events = events_of(request, served.histories.typical_gap())
    known = pl.DataFrame({"user_id": [request.user_id], **{k: [v] for k, v in user_of(request)}})
    types = served.schema.history.event_types if served.schema.history is not None else None
    assert types is not None
    histories = Histories.group(
        np.zeros(len(events), dtype=np.int64),
        served.items.nums(events["item_id"]),
        1,
        time=events["timestamp"].to_numpy().astype(np.int64),
        event_num=types.encode(events["event_type"]).astype(np.int64),
    )
    users = encode_rows(served.schema, "user", known)
    context = encode_rows(
        served.schema, "context", pl.DataFrame({"device": [request.context.get("device")]})
    )
    history = histories.latest(np.array([0]), 6)
    vector: NDArray[np.float32] = served.query_encoder.vectors(Queries(users, context, history))[0]
    return vector


def user_of(request: AnswerRequest) -> list[tuple[str, Any]]:
    if request.user is not None:
        return list(request.user.items())
    rows = TABLES.users
    assert rows is not None
    found = rows.filter(pl.col("user_id") == str(request.user_id))
    return [("city", found["city"][0] if len(found) else None)]


def known_of(request: AnswerRequest) -> list[tuple[str, Any]]:
    """Features of the user and of the request."""
    return [*user_of(request), *request.context.items()]


def expected(recommender: Recommender, case: Case) -> dict[str, float]:
    """Item ids and scores, best first, by scoring every item and leaving out what is unwanted."""
    request, items = case.request, TABLES.items
    assert items is not None
    options = request.options
    unwanted = set(map(str, options.exclude))
    if options.mask_seen:
        unwanted |= set(events_of(request)["item_id"])
    wanted = [
        row["item_id"]
        for row in items.to_dicts()
        if case.keeps(row) and row["item_id"] not in unwanted
    ]
    nums = recommender.items.nums(pl.Series(wanted, dtype=pl.String))
    if case.path == "popular":
        scores = popular_scores(recommender, request.context.get("device"))[nums]
    else:
        vectors = recommender.served.index.vectors_of(nums)
        scores = vectors @ query_vector(recommender, request)
    order = np.lexsort((nums, -scores))
    if options.diversity and case.path != "popular":
        order = order[by_hand_diverse(recommender, nums[order], scores[order], options)]
    return {wanted[place]: float(scores[place]) for place in order[: options.k]}


def popular_scores(recommender: Recommender, device: str | None) -> NDArray[np.floating]:
    """(num_items,) rows of each item; in a context, by what is to be expected there."""
    counts = np.zeros(len(recommender.items))
    there = counts.copy()
    for item_id, used in LOG.select("item_id", "device").iter_rows():
        num = int(recommender.items.nums(pl.Series([item_id]))[0])
        counts[num] += 1
        there[num] += used == device
    if device is None:
        return counts
    share = counts / counts.sum()
    told = (there + 100 * share) / (there.sum() + 100)
    return np.asarray(np.where(share > 0, counts * told / np.where(share > 0, share, 1), counts))


def by_hand_diverse(
    recommender: Recommender, nums: NDArray[np.int64], scores: NDArray[np.floating], options: Any
) -> list[int]:
    """Places in the order of maximal marginal relevance."""
    width = recommender.served.similarity_dim
    vectors = recommender.served.index.vectors_of(nums)[:, :width]
    # An untrained model has items without a direction.
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    chosen: list[int] = []
    while len(chosen) < min(options.k, len(nums)):
        left = [place for place in range(len(nums)) if place not in chosen]
        nearest = [max((float(unit[p] @ unit[c]) for c in chosen), default=0.0) for p in left]
        gains = [
            (1 - options.diversity) * relevance[place] - options.diversity * near
            for place, near in zip(left, nearest, strict=True)
        ]
        chosen.append(left[int(np.argmax(gains))])
    return chosen


def assert_same(one: Recommendation, other: Recommendation) -> None:
    """Item by item: ids, scores, reasons and columns."""
    assert (one.user_id, one.path, one.live) == (other.user_id, other.path, other.live)
    assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
    for mine, yours in zip(one.items, other.items, strict=True):
        assert mine.score == pytest.approx(yours.score, abs=1e-5)
        assert mine.stage_scores == pytest.approx(dict(yours.stage_scores), abs=1e-5)
        assert (mine.reason, mine.reason_code) == (yours.reason, yours.reason_code)
        given, wanted = dict(mine.reason_parameters), dict(yours.reason_parameters)
        nearness = [part.pop("similarity", 0.0) for part in (given, wanted)]
        assert nearness[0] == pytest.approx(nearness[1], abs=1e-3)
        assert given == wanted
        assert mine.columns == yours.columns


class AnswerContract(ABC):
    """What holds for an entrance; a subclass names it."""

    @pytest.fixture
    @abstractmethod
    def answer(self) -> Callable[[Sequence[AnswerRequest]], list[Recommendation]]:
        """Answers requests together by the bundle `one`."""

    def asked(self, case: Case) -> Case:
        """A case as the entrance can ask it."""
        return case

    @pytest.fixture
    def recommender(self, bundles: Path) -> Recommender:
        """What expected answers are worked out from."""
        return Recommender.load(bundles / "one")

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_an_answer_is_the_expected_one(
        self, case: Case, answer: Any, recommender: Recommender
    ) -> None:
        case = self.asked(case)
        found = answer([case.request])[0]
        wanted = expected(recommender, case)
        assert (found.user_id, found.path) == (case.request.user_id, case.path)
        assert found.live
        assert [item.item_id for item in found.items] == list(wanted)
        assert [item.score for item in found.items] == pytest.approx(
            list(wanted.values()), abs=1e-5
        )
        rows = {} if TABLES.items is None else {r["item_id"]: r for r in TABLES.items.to_dicts()}
        for item in found.items:
            assert {"item_id": item.item_id, **item.columns} == rows[item.item_id]

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_reasons_are_true(self, case: Case, answer: Any) -> None:
        case = self.asked(case)
        own = events_of(case.request)
        known = [n for n, value in known_of(case.request) if value is not None]
        for item in answer([case.request])[0].items:
            given = item.reason_parameters
            match item.reason_code:
                case "similar_to_history":
                    assert case.path in ("known", "history")
                    newest = own.filter(pl.col("item_id") == given["item_id"])["event_type"][-1]
                    assert given["event_type"] == newest
                    said = {"view": ", which you viewed", "buy": ", which you bought"}
                    title = f"Title {given['item_id'][1:]}"
                    end = said.get(newest, " from your history")
                    assert item.reason == f'Similar to "{title}"{end}'
                case "matches_features":
                    assert given["features"] == known
                case "for_you":
                    assert case.path == "history"
                    assert not known
                case "popular_in_context":
                    device = case.request.context["device"]
                    rows = LOG.filter(pl.col("device") == device, pl.col("item_id") == item.item_id)
                    assert given == {"context": {"device": device}, "count": {"device": len(rows)}}
                    assert len(rows)
                case "popular":
                    assert given == {"count": (LOG["item_id"] == item.item_id).sum()}
                    assert given["count"]
                case "from_catalog":
                    assert item.item_id not in LOG["item_id"].to_list()
                case other:
                    raise AssertionError(f"{other} explains {item.item_id}")

    def test_a_batch_of_mixed_requests_is_answered_as_each_alone(self, answer: Any) -> None:
        requests = [self.asked(case).request for case in CASES]
        order = np.random.default_rng(0).permutation(len(requests)).tolist()
        together = answer([requests[place] for place in order])
        for place, found in zip(order, together, strict=True):
            assert_same(found, answer([requests[place]])[0])
