"""Choose what stands beside the towers, and the weight of each, on validation rows.

The towers are blended with item neighbours and with popularity, so that what is served is no worse
on validation than these baselines alone, however little the towers have learned. Three weights are
fitted as a conditional logit with a penalty that counts as much as a few queries: with a dozen
validation users the weights stay small and alike, with hundreds of them the data decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twotower.config import Config
from twotower.config.baselines import EASEConfig, ItemKNNConfig
from twotower.config.index import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines import BASELINES
from twotower.models.blend import Blend
from twotower.models.item_neighbours import ItemNeighbours
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.blended_retrieval import CANDIDATES, Near, products
from twotower.serving.bundle.candidate_blend import (
    NEIGHBOURS,
    POPULARITY,
    TOWERS,
    CandidateBlend,
    Weighing,
    rare_count,
)
from twotower.serving.bundle.queries import Floats, Queries
from twotower.workflow.evaluate import evaluate, rows_of
from twotower.workflow.training.cold_offset import items_to_hold_out
from twotower.workflow.training.fit_new_items import with_new_items
from twotower.workflow.training.fit_ranker import labelled, mean_ndcg, warm_rows
from twotower.workflow.training.reference_models import References
from twotower.workflow.training.validation import (
    FIT_USERS,
    PENALTY,
    VALIDATION_USERS,
    Kind,
    Strangers,
    asked_as,
    sample_users,
)

TOWARDS: Final = (0.5, 1.0, 2.0, 4.0, np.inf)
"""Steps towards a baseline that is better than the blend, relative to the largest weight."""

LEAST_GAIN: Final = 0.01
"""Of ndcg@k, relative: towers that add less are said to add next to nothing."""

MANY_ROWS: Final = 100_000
"""Of training, from which on item-kNN has to gain `WORTH` of ndcg@k to have a say for known users:
docs/experiments.md, "Item-kNN on much data"."""
WORTH: Final = 0.03

EQUAL = Blend({TOWERS: 1.0, NEIGHBOURS: 1.0, POPULARITY: 1.0})


def choose_blend(
    towers: TwoTower,
    train: Interactions,
    validation: Interactions,
    references: References,
    *,
    config: Config,
) -> tuple[CandidateBlend, tuple[str, ...]]:
    """Fit the weights; returns the blend, and sentences for the user.

    Args:
        towers: trained on `train`; not changed.
        train: the training part.
        validation: numbered by the same tables; not empty.
        references: the baselines, fitted on `train` and measured on `validation`.
        config: as trained.
    """
    # HNSW would be built for nothing, and nothing is added to what the towers can find.
    exact = config.model_copy(update={"index": IndexConfig(kind="exact")})
    equal = unweighted(train, references, better_popularity(references))
    part = sample_users(validation, VALIDATION_USERS, config.training.seed)
    recommender = Recommender.build(towers, train, exact, blend=equal, index_new_items=False)
    settings = config.evaluation

    def with_blend(blend: CandidateBlend | None) -> Recommender:
        return Recommender(replace(recommender.served, blend=blend))

    def ndcg(blend: CandidateBlend | None) -> float:
        found = evaluate(with_blend(blend), part, k=settings.k, mask_seen=settings.mask_seen)
        return found.metrics[f"ndcg@{settings.k}"]

    asked = queries_by_kind(recommender, part, exact)
    fitted = [EQUAL if queries is None else queries.fit() or EQUAL for queries in asked]
    usual = asked[0]

    def ndcg_of(weights: Blend) -> float:
        return ndcg(replace(equal, usual=Weighing(weights)))

    fitted[0], reached = lifted(fitted[0], usual, references, ndcg_of)
    notes: tuple[str, ...] = ()
    is_knn = references.settings["linear"] == "item_knn"
    if usual is not None and is_knn and len(train) >= MANY_ROWS:
        fitted[0], reached, notes = spared(fitted[0], reached, usual, references, ndcg_of)
    blend = equal.weighed(
        (
            Weighing(weights) if queries is None else queries.weighing(weights)
            for queries, weights in zip(asked, fitted, strict=True)
        ),
    )
    held_out = items_to_hold_out(towers, train, validation, config)
    if len(held_out):
        blend = with_new_items(blend, recommender, train, validation, held_out, config)
    report = {
        **blend.report,
        "weights": dict(fitted[0].weights),
        "shares": {} if usual is None else fitted[0].shares(usual.scales),
        "metric": f"ndcg@{settings.k}",
        "validation": {TOWERS: ndcg(None), **references.figures, "blend": reached},
    }
    notes += () if usual is None else notes_on_towers(usual, fitted[0])
    # That of the held-out items; new ones get theirs when they are indexed.
    return replace(blend, report=report, content=None), notes


def queries_by_kind(
    recommender: Recommender, part: Interactions, config: Config
) -> list[BlendQueries | None]:
    """Validation users as each of `KINDS`; None where there is nobody to ask for."""
    known = BlendQueries.of(recommender, part, config, users="known")
    new = BlendQueries.of(recommender, part, config, users="new")
    reads_ids = ID_FEATURE in recommender.users.schema.features["user"]
    # Towers that read no ids know everybody alike.
    unknown = known
    if reads_ids and known is not None:
        # The same users, of whose items neighbours say the same.
        unknown = BlendQueries.of(recommender, part, config, users="unknown", near=known.near)
    strangers = BlendQueries.of_strangers(recommender, part, config)
    if strangers is not None:
        unknown = strangers.joined(unknown)
    return [known if reads_ids else unknown, unknown, new]


def notes_on_towers(asked: BlendQueries, weights: Blend) -> tuple[str, ...]:
    """A sentence for the user if the candidates are as good without the towers."""
    alone = asked.fit(TOWERS)
    if alone is None:
        return ()
    whole, without = asked.ndcg(weights), asked.ndcg(alone)
    if weights[TOWERS] and whole >= (1 + LEAST_GAIN) * without:
        return ()
    return (
        "The towers add next to nothing to item neighbours and popularity: on the validation part "
        f"the candidates have an ndcg@{asked.k} of {whole:.4f} with them, and of "
        f"{without:.4f} without.",
    )


def refitted_blend(
    fitted: CandidateBlend, train: Interactions, references: References
) -> CandidateBlend:
    """The same weights over baselines that were fitted on other rows."""
    blend = unweighted(train, references, fitted.report["popularity"])
    weighed = blend.weighed(fitted.weighings)
    return replace(weighed, report=fitted.report, content_unit=fitted.content_unit)


def better_popularity(references: References) -> str:
    """All-time or recent popularity, whichever is better on validation."""
    names = [name for name in ("popularity", "recent_popularity") if name in references.models]
    return max(names, key=lambda name: references.figures.get(name, 0.0))


def unweighted(train: Interactions, references: References, popular: str) -> CandidateBlend:
    """The sources with equal weights: the linear model of the references, and popularity of a
    kind."""
    settings = references.settings
    counts = references.models[popular].fallback.weights
    linear = settings["linear"]
    neighbours = None
    if linear is not None:
        model = references.models[linear]
        if not (train.weight == 1).all():
            # Events that come later have no weight, so the model must not count on it.
            config = {"ease": EASEConfig, "item_knn": ItemKNNConfig}[linear](weights="none")
            model = BASELINES[linear].fit(train, config)
        neighbours = ItemNeighbours.of(model)
    half_life = settings["half_life_days"] if popular == "recent_popularity" else None
    report: dict[str, Any] = {
        "linear": linear,
        "popularity": popular,
        "half_life_days": half_life,
        "shares": {},
    }
    equal = Weighing(EQUAL)
    rare = rare_count(counts, half_life)
    return CandidateBlend(equal, equal, equal, counts, rare, neighbours, report)


def lifted(
    weights: Blend,
    asked: BlendQueries | None,
    references: References,
    ndcg: Callable[[Blend], float],
) -> tuple[Blend, float]:
    """The weights, moved towards the best baseline as far as it takes to be no worse than it on
    validation, and their ndcg there."""
    chosen, reached = weights, ndcg(weights)
    sources = {better_popularity(references): POPULARITY, references.settings["linear"]: NEIGHBOURS}
    known = {name: figure for name, figure in references.figures.items() if name in sources}
    if asked is None or not known:
        return chosen, reached
    best = max(known, key=lambda name: known[name])
    source, scales = sources[best], asked.scales
    largest = max((weights[name] * scale for name, scale in scales.items()), default=0.0) or 1.0
    for step in TOWARDS:
        if reached >= known[best]:
            break
        more = {**weights.weights, source: weights[source] + step * largest / scales[source]}
        moved = Blend({source: 1.0} if np.isinf(step) else more)
        figure = ndcg(moved)
        if figure > reached:
            chosen, reached = moved, figure
    return chosen, reached


def spared(
    weights: Blend,
    reached: float,
    asked: BlendQueries,
    references: References,
    ndcg: Callable[[Blend], float],
) -> tuple[Blend, float, tuple[str, ...]]:
    """The weights without item-kNN, their ndcg on validation, and a sentence for the user, where it
    adds little and no baseline is better; else what is given."""
    less = asked.fit(NEIGHBOURS) if weights[NEIGHBOURS] and weights[TOWERS] else None
    if less is None:
        return weights, reached, ()
    less = Blend({**less.weights, NEIGHBOURS: 0.0})
    figure = ndcg(less)
    if not figure or figure < max(reached / (1 + WORTH), *references.figures.values()):
        return weights, reached, ()
    gain = max(reached / figure - 1, 0.0)
    said = (
        f"Item-kNN adds {gain:.1%} of ndcg@{asked.k} on the validation part, too little to have a "
        "say for users whom the towers know."
    )
    return less, figure, (said,)


@dataclass(frozen=True)
class BlendQueries:
    """Validation users with the candidates of every source.

    Attributes:
        item_nums: (Q, K) the candidates, `NO_ITEM` where there is none.
        near: what neighbours say of the users' items; None of several kinds of users.
        said: source -> (Q, K).
        labels: (Q, K), 1 where the candidate is relevant.
        num_relevant: (Q,) relevant items of each user, at least 1.
        k: the cut-off of the metrics.
    """

    item_nums: NDArray[np.int64]
    near: Near | None
    said: Mapping[str, Floats]
    labels: Floats
    num_relevant: NDArray[np.int64]
    k: int

    @staticmethod
    def of(
        recommender: Recommender,
        part: Interactions,
        config: Config,
        *,
        users: Kind,
        near: Near | None = None,
    ) -> BlendQueries | None:
        """Ask every source of a recommender with equal weights for candidates; None if there is
        nobody to ask for.

        Args:
            recommender: knows the training events of the users.
            part: their validation rows.
            config: `[evaluation]` is used.
            users: ask as if their ids were unknown, or as if they had just come: without id and
                events.
            near: what neighbours say of the same users' items, where it is known already.
        """
        part = sample_users(warm_rows(part, recommender), FIT_USERS, config.training.seed)
        everyone, first_row = np.unique(part.user_num, return_index=True)
        reached = recommender.paths(everyone) != POPULAR
        served = recommender.served
        if users == "new":
            reached = served.users.has_features()[everyone]
            reached |= served.tower_reads(part.context or None)
        user_num = everyone[reached].astype(np.int64)
        if not len(user_num):
            return None
        context = rows_of(part, first_row[reached]) or {}
        queries = asked_as(users, served, user_num, context)
        seen = recommender.seen.take(user_num)
        relevant = part.by_user().take(user_num)
        return BlendQueries.asked(recommender, queries, relevant, seen, config, near=near)

    @staticmethod
    def of_strangers(
        recommender: Recommender, part: Interactions, config: Config
    ) -> BlendQueries | None:
        """The same for validation users whom training does not know, as if the older half of their
        rows were known when they are asked for the others."""
        of_strangers = ~recommender.users.is_warm(part.user_num)
        part = warm_rows(part.take(np.flatnonzero(of_strangers)), recommender)
        part = sample_users(part, FIT_USERS, config.training.seed)
        user_num, known, later = Strangers.of(part, recommender.users)
        if not len(user_num):
            return None
        everyone, first_row = np.unique(part.user_num, return_index=True)
        context = rows_of(part, first_row[np.searchsorted(everyone, user_num)]) or {}
        lists = np.arange(len(user_num))
        queries = Queries.of(recommender.users, user_num, known, lists, context)
        return BlendQueries.asked(recommender, queries, later, known.items, config)

    @staticmethod
    def asked(
        recommender: Recommender,
        queries: Queries,
        relevant: Ragged,
        seen: Ragged,
        config: Config,
        *,
        near: Near | None = None,
    ) -> BlendQueries:
        """Ask for Q queries with their relevant and their known items."""
        stages = recommender.stages
        blended = stages.blended
        assert blended is not None
        vectors = stages.queries.vectors(queries)
        excluded = seen if config.evaluation.mask_seen else None
        number = max(CANDIDATES, config.evaluation.k)
        nums, near = blended.candidates(queries, vectors, number, excluded, near=near)
        return BlendQueries(
            nums,
            near,
            blended.said(queries, nums, products(vectors, stages.index, nums), near),
            labelled(nums, relevant),
            np.maximum(relevant.lengths, 1),
            config.evaluation.k,
        )

    def joined(self, other: BlendQueries | None) -> BlendQueries:
        """These queries, then others."""
        if other is None:
            return self
        width = max(self.item_nums.shape[1], other.item_nums.shape[1])

        def both(one: NDArray[Any], more: NDArray[Any], nothing: float) -> NDArray[Any]:
            padded = [
                np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=nothing)
                for part in (one, more)
            ]
            return np.concatenate(padded)

        return BlendQueries(
            both(self.item_nums, other.item_nums, NO_ITEM),
            None,
            {name: both(scores, other.said[name], 0) for name, scores in self.said.items()},
            both(self.labels, other.labels, 0),
            np.concatenate([self.num_relevant, other.num_relevant]),
            self.k,
        )

    @property
    def there(self) -> NDArray[np.bool_]:
        """(Q, K) where there is a candidate."""
        there: NDArray[np.bool_] = self.item_nums != NO_ITEM
        return there

    @property
    def scales(self) -> dict[str, float]:
        """The standard deviation of each source's scores."""
        return {name: float(scores[self.there].std()) or 1.0 for name, scores in self.said.items()}

    def fit(self, *without: str) -> Blend | None:
        """The weights of the sources; None if no candidate is relevant."""
        said = {name: scores for name, scores in self.said.items() if name not in without}
        relevant = int((self.labels.sum(axis=1) > 0).sum())
        ridge = PENALTY / max(relevant, 1)
        return Blend.fit(said, self.labels, self.there, ridge=ridge)

    def ndcg(self, blend: Blend) -> float:
        """The mean ndcg@k of these queries."""
        scores = blend.mix(self.said)
        return mean_ndcg(scores, self.there, self.labels, self.num_relevant, self.k)

    def weighing(self, blend: Blend) -> Weighing:
        """The weights, and what they say on average of items by what the towers say of them."""
        there = self.there
        towers, mixed = self.said[TOWERS][there], blend.mix(self.said)[there]
        spread = float(towers.var())
        if spread == 0:
            return Weighing(blend, float(mixed.mean()), 0.0)
        slope = float(np.cov(towers, mixed, bias=True)[0, 1]) / spread
        return Weighing(blend, float(mixed.mean()) - slope * float(towers.mean()), slope)
