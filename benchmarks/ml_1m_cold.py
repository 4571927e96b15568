"""ML-1M, new items (`--part items`) or new users (`--part users`); about 20 minutes a cut.

Items: 10 % are held out whole, of the other items' rows a random 10 % (the set has no times, so the
cut is random and labelled so). The two-tower reads ids, demographics, title, plot, genres, credits,
certificate and year. It is trained as it is by default (a tower of features for new items), in the
older way (the ids of a share of the items dropped in training, no tower for new items), and without
either, and measured on the cold items among the whole catalogue, on the cold items among themselves
(the papers' protocol), and on warm rows. Ids of users are never dropped: they are all known.
Against: popularity, content neighbours (TF-IDF of the same columns), a DropoutNet-style network on
top of matrix factorization, each with a paired test. Slots of a list are shared: what shows more
new items costs the others. So the two-tower is measured with two more levels of new items:
`showing_more`, a `retriever.cold_cost` by which the others' validation rows fall as far as in
DropoutNet's way; and `showing_as_many`, by which new items have as many places of the lists as they
have in DropoutNet's, for which no row needs to be known. Some users are asked for as visitors whom
training does not know, too, by a few of their interactions, with their demographics and without
(`visitors`): what new items cost them, and how much less is found. The tables are means over cuts,
and `runs` has what was found on each.

Users: 10 % are held out whole. Each is asked for with demographics alone and then with 1, 3, 5 and
10 of their interactions, drawn by seed, as history, without training; the other rows are to be
found. This model reads ids of items alone. `--plot FILE` draws the curve.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.cold_baselines import content_neighbours, dropout_net
from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.retrieval import ndcg_difference, peak_memory_gb
from twotower.config import apply_override, parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import encode_rows
from twotower.data.features.histories import Histories
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import Evaluation, Ranker, evaluate
from twotower.workflow.training.cold_offset import rows_of_others
from twotower.workflow.training.fit_blend import choose_blend
from twotower.workflow.training.train import fit_part, known_events, references_of
from twotower.workflow.training.validation import asked_as

K = 20
METRICS = (f"recall@{K}", f"ndcg@{K}")
USER: dict[str, Any] = {
    "gender": {"type": "category"},
    "age": {"type": "category"},
    "occupation": {"type": "category"},
}
ITEM: dict[str, Any] = {
    "title": {"type": "text"},
    "plot": {"type": "text"},
    "genres": {"type": "categories"},
    "directors": {"type": "categories", "min_count": 2},
    "actors": {"type": "categories", "min_count": 2},
    "certificate": {"type": "category", "min_count": 5},
    "release_year": {"type": "number", "num_bins": 20},
}
TABLES = ("whole_catalogue", "cold_items_alone", "warm_items_alone", "whole_catalogue_all_rows")
"""Of what is found on a cut: figures by model, of which there are means over cuts."""
GIVEN = (0, 1, 3, 5, 10)
VISITORS = 4
"""One in so many users is asked for as a visitor."""


def main() -> None:
    """Train, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--id-dropout", type=float, default=0.3, help="of items (default 0.3)")
    made.add_argument("--without", nargs="*", default=[], metavar="MODEL", help="leave these out")
    made.add_argument("--seed", type=int, default=0, help="of the first cut")
    made.add_argument("--seeds", type=int, default=3, help="cuts of items (default 3)")
    made.add_argument("--on", choices=("test", "validation"), default="test", help="measured part")
    made.add_argument("--part", choices=("items", "users"), required=True)
    made.add_argument("--plot", type=Path, help="draw the curve of new users into this file")
    options = made.parse_args()
    console = Console(stderr=True)
    result: dict[str, Any] = {
        "protocol": "full_catalog and candidates = cold, seen items masked, random cut "
        f"(the set has no times), measured on the {options.on} part",
        "features": {"user": USER, "item": ITEM},
        "overrides": options.set,
        "id_dropout": options.id_dropout,
        "without": options.without,
    }
    if options.part == "items":
        result["seeds"] = [*range(options.seed, options.seed + options.seeds)]
        runs = [new_items(options, console, seed) for seed in result["seeds"]]
        result.update(over_runs([{name: run[name] for name in TABLES} for run in runs]), runs=runs)
    else:
        result.update(seed=options.seed, **new_users(options, console))
        if options.plot:
            draw(result, options.plot)
    result["peak_memory_gb"] = round(peak_memory_gb(), 2)
    emit(result, f"ml_1m_cold_{options.part}", save=options.save)


# --- new items ----------------------------------------------------------------------------------


def new_items(options: Any, console: Console, seed: int) -> dict[str, Any]:
    """Train all, measure, compare."""
    rows = pl.read_parquet(data_folder("ml-1m") / "interactions.parquet")
    rows = rows.select("user_id", "item_id")
    rng = np.random.default_rng(seed)
    train, test = hold_out(rows, "item_id", rng)
    if options.on == "validation":
        train, test = hold_out(train, "item_id", rng)
    user, item = {"id": {"dropout": 0.0}, **USER}, {"id": {"dropout": 0.0}, **ITEM}
    dropped = {**item, "id": {"dropout": options.id_dropout}}
    one_tower = ["retriever.cold_tower=false"]
    configs: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
        "ids_only": ({}, {}, []),
        "two_tower": (user, item, []),
        "two_tower_by_id_dropout": (user, dropped, one_tower),
        "two_tower_without_either": (user, item, one_tower),
    }
    rankers: dict[str, Ranker] = {}
    data: dict[str, Dataset] = {}
    seconds: dict[str, float] = {}
    for name in options.without:
        configs.pop(name)
    for name, (of_users, of_items, ways) in configs.items():
        features = {"user": of_users, "item": of_items}
        dataset = data[name] = read(train, test, features, [*options.set, *ways])
        rankers[name], run = fit_part(dataset, None, console=console, title=name)
        seconds[name] = round(run.seconds / len(run.epochs), 2)
    two_tower = rankers["two_tower"]
    assert isinstance(two_tower, Recommender)
    mf = rankers["ids_only"]
    assert isinstance(mf, Recommender)
    showing_more, cost = at_equal_cost(two_tower, data["two_tower"], factors(mf))
    rankers["two_tower_showing_more"] = showing_more
    seen = known_events(dataset).items
    rankers["popularity"] = PopularityRanker.fit(dataset.train, seen=seen)
    rankers["content_neighbours"] = content_neighbours(dataset.train, seen)
    rankers["dropout_net"] = dropout_net(dataset.train, seen, *factors(mf))
    rankers["two_tower_showing_as_many"], places = showing_as_many(
        two_tower, data["two_tower"], rankers["dropout_net"]
    )
    everything = {n: evaluate(r, dataset.test, k=K) for n, r in rankers.items()}
    cold = {n: evaluate(r, dataset.test, k=K, candidates="cold") for n, r in rankers.items()}
    warm = {n: evaluate(r, dataset.test, k=K, candidates="warm") for n, r in rankers.items()}
    baselines = ("popularity", "content_neighbours", "dropout_net")
    return {
        "seed": seed,
        "new_items": of_new(two_tower),
        "showing_more": {"cost": round(cost, 4), "new_items": of_new(showing_more)},
        "showing_as_many": {"places_of_new_items": round(places, 4)},
        "seconds_an_epoch": seconds,
        "num_items": everything["two_tower"].num_items,
        "num_cold_items": cold["two_tower"].num_items,
        "visitors": visitors(two_tower, data["two_tower"]),
        "by_level": by_level(two_tower, data["two_tower"]),
        "whole_catalogue": {n: slices(e) for n, e in everything.items()},
        "cold_items_alone": {n: figures(e.metrics) for n, e in cold.items()},
        "two_tower_minus": {
            name: {
                "cold_item, whole catalogue": difference(everything, name, "cold_item"),
                "cold items alone": difference(cold, name, None),
            }
            for name in baselines
        },
        **{
            f"{of}_minus, whole catalogue": {
                name: {
                    part: difference(everything, name, part, of=of)
                    for part in ("warm", "cold_item")
                }
                for name in baselines
            }
            for of in ("two_tower_showing_more", "two_tower_showing_as_many")
        },
        "whole_catalogue_all_rows": {n: figures(e.metrics) for n, e in everything.items()},
        "warm_items_alone": {n: figures(e.metrics) for n, e in warm.items()},
        "warm, whole catalogue, two_tower_minus": {
            name: difference(everything, name, "warm") for name in configs if name != "two_tower"
        },
        "warm items alone, two_tower_minus": {
            name: difference(warm, name, None) for name in configs if name != "two_tower"
        },
    }


def at_equal_cost(
    recommender: Recommender, dataset: Dataset, mf: tuple[torch.Tensor, torch.Tensor]
) -> tuple[Recommender, float]:
    """The same towers with the `cold_cost` that is what DropoutNet's way costs the validation rows,
    and that cost: how much less of their ndcg@k it reaches with new items than the two-tower
    without."""
    config, train, model = dataset.config, dataset.train, recommender.served.towers
    nobody = np.zeros(0, dtype=np.int64)
    asked = rows_of_others(train, dataset.validation, nobody, config)
    everything = np.ones(len(train.items), dtype=np.bool_)

    def reached(ranker: Ranker, allowed: NDArray[np.bool_]) -> float:
        answer = ranker.top_k(
            asked.user_num, K, mask_seen=False, excluded=asked.seen, allowed=allowed
        )
        return mean(ranking_metrics(answer.item_nums, asked.relevant, K)[f"ndcg@{K}"]) or 0.0

    # Who knows the validation rows would find them too well.
    learned = Recommender(replace(recommender.served, histories=train.histories()))
    other = dropout_net(train, train.histories().items, *mf)
    warm = train.items.is_warm(np.arange(len(train.items)))
    cost = 1 - reached(other, everything) / reached(learned, warm)
    retriever = config.retriever.model_copy(update={"cold_cost": cost})
    config = config.model_copy(update={"retriever": retriever})
    references = references_of(dataset, None)
    blend, _ = choose_blend(model, train, dataset.validation, references, config=config)
    return Recommender.build(
        model, train, config, histories=known_events(dataset), blend=blend
    ), cost


def showing_as_many(
    recommender: Recommender, dataset: Dataset, other: Ranker
) -> tuple[Recommender, float]:
    """The same model with the level by which new items have the share of all places of the test
    users' lists that they have in another ranker's, and that share. It is found in the lists alone:
    the interactions of the users are ignored."""
    users = np.unique(dataset.test.user_num)
    users = users[users >= 0].astype(np.int64)
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    wanted = share_of_new(other.top_k(users, K).item_nums, warm)
    old, new = (recommender.top_k(users, K, allowed=part) for part in (warm, ~warm))
    nums = np.concatenate([old.item_nums, new.item_nums], axis=1)

    def share(more: float) -> float:
        scores = np.concatenate([old.scores, new.scores + np.float32(more)], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        return share_of_new(np.take_along_axis(nums, best, axis=1), warm)

    low, high = -20.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < wanted else (low, middle)
    return raised(recommender, high), wanted


def raised(recommender: Recommender, level: float) -> Recommender:
    """The same with the level of new items raised by `level`."""
    blend = recommender.served.blend
    assert blend is not None
    higher = blend.weighed(weighing.raised(level) for weighing in blend.weighings)
    return Recommender(replace(recommender.served, blend=higher))


def of_new(recommender: Recommender) -> dict[str, float]:
    """How new items are scored for users whom training knows."""
    blend = recommender.served.blend
    assert blend is not None
    names = ("level", "slope", "content", "activity")
    return {name: round(value, 4) for name, value in zip(names, blend.usual.of_new, strict=True)}


def share_of_new(ranked: NDArray[np.int64], warm: NDArray[np.bool_]) -> float:
    """Of the places of lists (Q, K)."""
    return float((~warm[ranked]).mean())


def visitors(recommender: Recommender, dataset: Dataset) -> list[dict[str, Any]]:
    """Users as visitors whom training does not know, by the first of their interactions: the share
    of the places of their lists that new items have, and what is found of their test rows. All
    other items that they took are excluded."""
    served, schema = recommender.served, dataset.schema
    users = np.unique(dataset.test.user_num).astype(np.int64)[::VISITORS]
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    relevant, seen = dataset.test.by_user().take(users), recommender.seen.take(users)
    taken, found = dataset.train.by_user().take(users), []
    nameless = encode_rows(schema, "user", pl.DataFrame({USER_ID: [""] * len(users)}))
    for given in GIVEN[1:]:
        place = np.arange(len(taken.values)) - taken.offsets[taken.keys()]
        first = place < given
        items = Ragged.group(taken.keys()[first], taken.values[first], len(users))
        queries = asked_as("unknown", served, users, {}, histories=Histories(items))
        for name, asked in (
            ("demographics", queries),
            ("nothing else", queries._replace(users=nameless)),
        ):
            nums = recommender.stages.run(asked, K, excluded=seen).item_nums
            metrics = ranking_metrics(nums, relevant, K)
            found.append(
                {
                    "interactions": given,
                    "known beside them": name,
                    "places_of_new_items": round(share_of_new(nums, warm), 4),
                    **{metric: round(mean(metrics[metric]) or 0.0, 5) for metric in METRICS},
                }
            )
    return found


def by_level(recommender: Recommender, dataset: Dataset) -> list[dict[str, Any]]:
    """The whole catalogue with new items shown less and more than chosen."""
    curve = []
    for more in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        found = evaluate(raised(recommender, more), dataset.test, k=K)
        curve.append({"more": more, "all": figures(found.metrics), **slices(found)})
    return curve


def hold_out(
    rows: pl.DataFrame, column: str, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows, and held-out ones: all of 10 % of the ids, and a random 10 % of the others."""
    ids = rows[column].unique().sort()
    cold = ids.gather(np.sort(rng.choice(len(ids), len(ids) // 10, replace=False)))
    out = rows[column].is_in(cold.implode()) | pl.Series(rng.random(len(rows)) < 0.1)
    return rows.filter(~out), rows.filter(out)


def read(
    train: pl.DataFrame, test: pl.DataFrame, features: dict[str, Any], overrides: list[str]
) -> Dataset:
    """A data set of these parts, with the files of users and items."""
    source = data_folder("ml-1m")
    with tempfile.TemporaryDirectory() as folder:
        train.write_parquet(Path(folder) / "train.parquet")
        test.write_parquet(Path(folder) / "test.parquet")
        document: dict[str, Any] = {
            "data": {
                "interactions": f"{folder}/train.parquet",
                "users": str(source / "users.parquet"),
                "items": str(source / "items.parquet"),
                "split": {"method": "given", "test": f"{folder}/test.parquet"},
            },
            "features": features,
        }
        for override in overrides:
            apply_override(document, override)
        return Dataset.read(parse_config(document))


def factors(recommender: Recommender) -> tuple[torch.Tensor, torch.Tensor]:
    """User and item vectors of a model of ids alone."""
    users = recommender.users
    with torch.no_grad():
        queries = recommender.served.towers.query_vectors(users.features, {})
        items = recommender.served.towers.item_vectors(recommender.items.features)
    return queries, items


def figures(metrics: Any) -> dict[str, float]:
    """recall@k and ndcg@k."""
    return {name: round(metrics[name], 5) for name in METRICS}


def slices(evaluation: Evaluation) -> dict[str, Any]:
    """The slices with something in them."""
    return {
        name: figures(found) for name, found in evaluation.slices.items() if found["num_queries"]
    }


def difference(
    evaluations: dict[str, Evaluation], other: str, part: str | None, *, of: str = "two_tower"
) -> dict[str, Any]:
    """The paired test of ndcg@k, the two-tower's minus another's."""
    return ndcg_difference(evaluations[of], evaluations[other], part)


# --- new users ----------------------------------------------------------------------------------


def new_users(options: Any, console: Console) -> dict[str, Any]:
    """One model; the cold users with more and more of their interactions."""
    rows = pl.read_parquet(data_folder("ml-1m") / "interactions.parquet")
    rows = rows.select("user_id", "item_id")
    rng = np.random.default_rng(options.seed)
    train, test = cold_users(rows, rng)
    if options.on == "validation":
        train, test = cold_users(train, rng)
    user = {**USER, "history": {"type": "history", "encoder": "mean"}}
    sampled = ["retriever.loss=sampled_softmax", "retriever.num_negatives=1024"]
    dataset = read(train, test, {"user": user, "item": {}}, [*sampled, *options.set])
    recommender, run = fit_part(dataset, None, console=console, title="with history")
    part = dataset.test
    order = rng.permutation(len(part))
    order = order[np.argsort(part.user_num[order], kind="stable")]
    starts = np.unique(part.user_num[order], return_index=True)[1]
    counts = np.diff(np.append(starts, len(order)))
    place = np.arange(len(order)) - np.repeat(starts, counts)
    to_find = part.take(order[place >= max(GIVEN)])
    to_find = to_find.take(np.flatnonzero(to_find.item_num >= 0))
    popularity = PopularityRanker.fit(dataset.train, seen=known_events(dataset).items)
    curve = []
    for given in GIVEN:
        known = part.take(order[place < given])
        known = known.take(np.flatnonzero(known.item_num >= 0))
        histories: Histories = known_events(dataset) if not given else joined(dataset, known)
        known_by_now = Recommender(recommender.served.with_users(recommender.users, histories))
        found = evaluate(known_by_now, to_find, k=K)
        curve.append({"interactions": given, **figures(found.metrics), "paths": found.paths})
    return {
        "num_users": len(np.unique(to_find.user_num)),
        "seconds_an_epoch": round(run.seconds / len(run.epochs), 2),
        "popularity": figures(evaluate(popularity, to_find, k=K).metrics),
        "curve": curve,
    }


def cold_users(rows: pl.DataFrame, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows, and those of 10 % of the users; the 10 % have at least 20 rows each."""
    ids = rows["user_id"].unique().sort()
    cold = ids.gather(np.sort(rng.choice(len(ids), len(ids) // 10, replace=False)))
    out = rows["user_id"].is_in(cold.implode())
    return rows.filter(~out), rows.filter(out)


def joined(dataset: Dataset, known: Any) -> Histories:
    """What all users did in training and validation, and what the new users are known by."""
    validation = dataset.validation
    inside = validation.take(np.flatnonzero(validation.item_num >= 0))
    return dataset.train.append(inside).append(known).histories()


def draw(result: dict[str, Any], file: Path) -> None:
    """The curve as a picture."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    given = [point["interactions"] for point in result["curve"]]
    name = f"ndcg@{K}"
    axes.plot(given, [point[name] for point in result["curve"]], "o-", color="#2a6f97")
    axes.axhline(result["popularity"][name], color="#999999", linestyle="--")
    axes.annotate("popularity", (max(given), result["popularity"][name]), ha="right", va="bottom")
    axes.set_xlabel("interactions known of a new user (0: demographics alone)")
    axes.set_ylabel(name)
    axes.set_ylim(0, 1.1 * max(point[name] for point in result["curve"]))
    axes.set_xticks(given)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"ML-1M: {result['num_users']:,} new users, without training", loc="left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
