"""Results of the finished models of a comparison: metrics, intervals, tests and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from twotower.data.dataset.dataset import Dataset
from twotower.evaluation.comparison import (
    Intervals,
    bootstrap_intervals,
    popularity_buckets,
    relevant_in_group,
)
from twotower.evaluation.metrics import Floats, ranking_metrics
from twotower.evaluation.report import REPORTED_METRICS, Evaluation
from twotower.evaluation.significance import holm, paired_p_value
from twotower.evaluation.slices import SLICES
from twotower.workflow.comparison.verdict import rival_of, verdict

ALL = "all"
REFERENCE_FAMILIES = (
    ("matrix_factorization",),
    ("linear", "neighbourhood"),
    ("popularity",),
    ("deep",),
)
"""The reference is the best model of the first of these groups that has a finished model."""


@dataclass(frozen=True)
class FinishedModel:
    """A trained and evaluated model.

    Attributes:
        entry: name, title, family, about, and the contents of its `result.json`.
        evaluation: evaluation on the test part.
    """

    entry: Mapping[str, Any]
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.entry["name"])


def comparison_document(
    dataset: Dataset,
    finished: Sequence[FinishedModel],
    failed: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """The complete result of a comparison as a JSON object.

    Args:
        dataset: the dataset on whose test part all models were evaluated.
        finished: finished models, at least one.
        failed: failed models, each with its `reason`.
        missing: models that were not run.
        interrupted: whether Ctrl-C stopped the comparison.
    """
    budget, settings = dataset.config.compare, dataset.config.evaluation
    first = finished[0].evaluation
    reference = select_reference(finished)
    columns = per_query_values(dataset, finished)
    figures = intervals_of(columns, dataset)
    tests = paired_tests(finished, reference, dataset)
    buckets = popularity_buckets(dataset.train.item_counts(), budget.popularity_buckets)[1]
    models = [model_row(one, figures, tests.get(one.name), dataset) for one in finished]
    models.sort(key=lambda row: -row["metrics"][f"ndcg@{settings.k}"]["mean"])
    document: dict[str, Any] = {
        "protocol": "full_catalog",
        "candidates": settings.candidates,
        "k": settings.k,
        "metric": f"ndcg@{settings.k}",
        "mask_seen": settings.mask_seen,
        "split": dataset.parts.method,
        "leak": dataset.parts.leak,
        "num_queries": len(first.user_num),
        "num_items": first.num_items,
        "rows": {
            "training": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
        },
        "budget": {
            "trials": budget.trials,
            "seconds": budget.seconds,
            "search": budget.search,
            "seed": budget.seed,
        },
        "resamples": budget.resamples,
        "level": budget.level,
        "significance": budget.significance,
        "reference": reference.name,
        "interrupted": interrupted,
        "buckets": [bucket._asdict() for bucket in buckets],
        "models": models,
        "failed": [dict(entry) for entry in failed],
        "not_run": [dict(entry) for entry in missing],
    }
    document["first_two"] = first_two(document, {one.name: one for one in finished}, dataset)
    return {"verdict": verdict(document), **document}


def select_reference(finished: Sequence[FinishedModel]) -> FinishedModel:
    """The matrix factorization with the best validation metric; without one, the best model of the
    next group of `REFERENCE_FAMILIES`."""
    for families in REFERENCE_FAMILIES:
        those = [one for one in finished if one.entry["family"] in families]
        if those:
            return max(those, key=lambda one: float(one.entry["validation"]))
    raise AssertionError("every family is listed")


# --- figures ----------------------------------------------------------------------------------

Key = tuple[str, str, str]
"""Model, part of the queries (`all`, a slice, `bucket 0`, …), metric."""


def per_query_values(dataset: Dataset, finished: Sequence[FinishedModel]) -> dict[Key, Floats]:
    """Key -> (Q,) per-query values of every figure that gets a confidence interval."""
    k = dataset.config.evaluation.k
    ndcg, recall = f"ndcg@{k}", f"recall@{k}"
    relevant = dataset.test.by_user().take(finished[0].evaluation.user_num)
    groups, buckets = popularity_buckets(
        dataset.train.item_counts(), dataset.config.compare.popularity_buckets
    )
    inside = [relevant_in_group(relevant, groups, place) for place in range(len(buckets))]
    columns: dict[Key, Floats] = {}
    for one in finished:
        found = one.evaluation
        for name in REPORTED_METRICS:
            columns[one.name, ALL, f"{name}@{k}"] = found.per_query[f"{name}@{k}"]
        for part in SLICES:
            for metric in (ndcg, recall):
                columns[one.name, part, metric] = found.per_slice[part][metric]
        for place, lists in enumerate(inside):
            values = ranking_metrics(found.ranked, lists, k)
            columns[one.name, f"bucket {place}", recall] = values[recall]
    return columns


def intervals_of(columns: Mapping[Key, Floats], dataset: Dataset) -> dict[Key, dict[str, Any]]:
    """Key -> mean, low, high and number of queries; None if no query has a value."""
    budget = dataset.config.compare
    values = np.stack(list(columns.values()), axis=1)
    found = bootstrap_intervals(
        values,
        rng=np.random.default_rng((budget.seed, 0)),
        resamples=budget.resamples,
        level=budget.level,
    )
    num_queries = (~np.isnan(values)).sum(axis=0)
    return {
        key: {**figure(found, place), "num_queries": int(num_queries[place])}
        for place, key in enumerate(columns)
    }


def figure(found: Intervals, place: int) -> dict[str, float | None]:
    """One mean with its interval."""
    return {
        name: None if np.isnan(values[place]) else float(values[place])
        for name, values in found._asdict().items()
    }


# --- tests ------------------------------------------------------------------------------------


def paired_tests(
    finished: Sequence[FinishedModel], reference: FinishedModel, dataset: Dataset
) -> dict[str, dict[str, Any]]:
    """Model -> part -> difference in ndcg@k to the reference with its interval, p-value, and
    p-value with Holm correction over the models of that part; the reference has none."""
    budget, k = dataset.config.compare, dataset.config.evaluation.k
    others = [one for one in finished if one is not reference]
    tests: dict[str, dict[str, Any]] = {one.name: {} for one in others}
    if not others:
        return tests
    for place, part in enumerate((ALL, *SLICES)):
        gaps = [ndcg_of(one, part, k) - ndcg_of(reference, part, k) for one in others]
        if np.isnan(gaps[0]).all():
            continue
        found = bootstrap_intervals(
            np.stack(gaps, axis=1),
            rng=np.random.default_rng((budget.seed, 1, place)),
            resamples=budget.resamples,
            level=budget.level,
        )
        p_values = np.array([paired_p_value(gap[~np.isnan(gap)]) for gap in gaps])
        for row, corrected in enumerate(holm(p_values)):
            tests[others[row].name][part] = {
                "difference": float(found.mean[row]),
                "low": float(found.low[row]),
                "high": float(found.high[row]),
                "p_value": float(p_values[row]),
                "p_holm": float(corrected),
                "significant": bool(corrected < budget.significance),
            }
    return tests


def first_two(
    document: Mapping[str, Any], finished: Mapping[str, FinishedModel], dataset: Dataset
) -> dict[str, Any] | None:
    """The test of the best model against the model that the verdict compares it with, if neither is
    the reference, else None; its p-value is corrected together with those of `paired_tests`."""
    models, reference = document["models"], document["reference"]
    if len(models) < 2:
        return None
    pair = models[0]["name"], rival_of(document)["name"]
    if reference in pair:
        return None
    k = dataset.config.evaluation.k
    gap = ndcg_of(finished[pair[0]], ALL, k) - ndcg_of(finished[pair[1]], ALL, k)
    p_value = paired_p_value(gap[~np.isnan(gap)])
    others = [m["tests"][ALL]["p_value"] for m in models if m["name"] != reference]
    corrected = float(holm(np.array([p_value, *others]))[0])
    return {
        "models": list(pair),
        "difference": float(np.nanmean(gap)),
        "p_value": float(p_value),
        "p_holm": corrected,
        "significant": corrected < dataset.config.compare.significance,
    }


def ndcg_of(one: FinishedModel, part: str, k: int) -> Floats:
    """(Q,) ndcg@k of a model in one part; NaN for queries outside it."""
    values = one.evaluation.per_query if part == ALL else one.evaluation.per_slice[part]
    return values[f"ndcg@{k}"]


# --- rows -------------------------------------------------------------------------------------


def model_row(
    one: FinishedModel,
    figures: Mapping[Key, dict[str, Any]],
    tests: Mapping[str, Any] | None,
    dataset: Dataset,
) -> dict[str, Any]:
    """The results of one model."""
    k = dataset.config.evaluation.k
    entry, name = one.entry, one.name
    found = one.evaluation
    trials = entry["trials"]
    num_buckets = sum(key[0] == name and key[1].startswith("bucket") for key in figures)
    slices = {}
    for part in SLICES:
        if found.slices[part]["num_queries"]:
            slices[part] = {
                "num_queries": found.slices[part]["num_queries"],
                "num_relevant": found.slices[part]["num_relevant"],
                **{m: figures[name, part, m] for m in (f"ndcg@{k}", f"recall@{k}")},
            }
    return {
        **{key: entry[key] for key in ("name", "title", "family", "about")},
        "validation": entry["validation"],
        "metrics": {f"{m}@{k}": figures[name, ALL, f"{m}@{k}"] for m in REPORTED_METRICS},
        "slices": slices,
        "buckets": [figures[name, f"bucket {b}", f"recall@{k}"] for b in range(num_buckets)],
        "tests": dict(tests) if tests else {},
        "beyond_accuracy": found.beyond,
        "paths": found.paths,
        "settings": entry["settings"],
        "num_trials": len(trials),
        "num_failed_trials": sum(trial["value"] is None for trial in trials),
        **{
            key: entry[key]
            for key in (
                "trials",
                "tuning_seconds",
                "train_seconds",
                "memory_mb",
                "peak_memory_mb",
                "parameters",
                "milliseconds",
                "curve",
            )
        },
        "stages": entry.get("stages"),
    }


def frame_of(document: Mapping[str, Any]) -> pl.DataFrame:
    """One row per model, best first, then the failed ones: the figures of the document, without
    learning curves (see `curves_of`) and trials."""
    rows: list[dict[str, Any]] = []
    for model in document["models"]:
        row: dict[str, Any] = {
            **{key: model[key] for key in ("name", "title", "family")},
            "failure": None,
            "is_reference": model["name"] == document["reference"],
            "validation": model["validation"],
        }
        for metric, value in model["metrics"].items():
            row |= columns_of_interval(metric, value)
        row |= columns_of_test("", model["tests"].get(ALL))
        for part in SLICES:
            in_slice = model["slices"].get(part, {})
            for metric in (document["metric"], f"recall@{document['k']}"):
                row |= columns_of_interval(f"{metric}_{part}", in_slice.get(metric))
            row |= columns_of_test(f"_{part}", model["tests"].get(part))
        for place, value in enumerate(model["buckets"]):
            row |= columns_of_interval(f"recall@{document['k']}_bucket_{place}", value)
        row |= model["beyond_accuracy"]
        row |= {"trials": model["num_trials"], "parameters": model["parameters"]}
        for key in ("tuning_seconds", "train_seconds", "memory_mb", "peak_memory_mb"):
            row[key] = float(model[key])
        row |= {f"milliseconds_{key}": value for key, value in model["milliseconds"].items()}
        rows.append(row | dict(scalars("stages", model["stages"] or {})))
    for entry in document["failed"]:
        identity = {key: entry[key] for key in ("name", "title", "family")}
        rows.append({**identity, "failure": entry["reason"], "is_reference": False})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        [{name: row.get(name) for name in names} for row in rows], infer_schema_length=None
    )


def curves_of(document: Mapping[str, Any]) -> pl.DataFrame:
    """One row per model and validated epoch: name, epoch, seconds, metric."""
    rows = [
        {"name": model["name"], **point} for model in document["models"] for point in model["curve"]
    ]
    schema = {"name": pl.String, "epoch": pl.Int64, "seconds": pl.Float64, "metric": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def columns_of_interval(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A mean and its interval as three columns."""
    value = value or {}
    ends = {f"{name}_{end}": value.get(end) for end in ("low", "high")}
    return {name: value.get("mean"), **ends}


def columns_of_test(end: str, test: Mapping[str, Any] | None) -> dict[str, Any]:
    """A difference to the reference, its interval and its test as columns with a name suffix."""
    test = test or {}
    return {
        f"difference{end}": test.get("difference"),
        f"difference{end}_low": test.get("low"),
        f"difference{end}_high": test.get("high"),
        **{f"{key}{end}": test.get(key) for key in ("p_value", "p_holm", "significant")},
    }


def scalars(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The scalars of a nested object with their paths."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from scalars(f"{name}_{key}", part)
    elif not isinstance(value, list):
        yield name, value
