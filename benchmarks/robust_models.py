"""One model in one cell of `benchmarks.robust`: files, config, training, figures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

import twotower
from benchmarks.robust_cells import Cell, Frames, hold_users_out
from twotower.config import Config, apply_override, load_config, parse_config
from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import Dataset, number_interactions
from twotower.data.features.histories import Histories
from twotower.models.baselines import BASELINES
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.workflow.comparison.contenders.base import TrainedModel
from twotower.workflow.comparison.contenders.classic import baseline
from twotower.workflow.evaluate import Ranker, evaluate
from twotower.workflow.setup.init import write_config
from twotower.workflow.training.train import known_events, train_bundle

K = 20
METRICS = (f"ndcg@{K}", f"recall@{K}")
CONTENDERS = ("files", "init")
BASELINE_NAMES = ("popularity", "recent_popularity", "item_knn", "ease", "ials")
KNOWN = "known.parquet"
SOURCE = Path(twotower.__file__).parent
OF_BASELINES = ("config/baselines.py", "data", "models/baselines", "workflow/evaluate.py")
OF_CONTENDERS = (
    *("config", "data", "features", "models", "index", "training", "serving/answer"),
    *("serving/bundle", "workflow/training", "workflow/evaluate.py", "workflow/setup/init"),
)
"""What the figures of a model depend on, in the package's folder."""


# --- files and configs of a cell --------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """A cell as files.

    Attributes:
        folder: of the files, `known.parquet` among them where users are unknown.
        paths: `interactions`, `users`, `items` -> path, None for no table.
        split: `[data.split]`, the keys that are not left at their defaults.
        digest: of the files' content.
    """

    folder: Path
    paths: Mapping[str, str | None]
    split: Mapping[str, str]
    digest: str


def write_files(cell: Cell, folder: Path, *, development: bool) -> Files:
    """Write a cell's tables."""
    frames = cell.make()
    if cell.split == "unknown_users":
        frames = hold_users_out(frames)
    if development:
        frames = without_test(cell, frames, folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "interactions": frames.interactions,
        "users": frames.users,
        "items": frames.items,
        "test": frames.test,
        "known": frames.known,
    }
    made = hashlib.sha256()
    paths: dict[str, str | None] = {}
    for name, table in tables.items():
        paths[name] = None
        if table is not None:
            file = folder / f"{name}.parquet"
            table.write_parquet(file)
            made.update(file.read_bytes())
            paths[name] = str(file)
    split = {}
    if paths["test"] is not None:
        split = {"method": "given", "test": paths["test"]}
    elif cell.split != "default":
        split = {"method": str(cell.split)}
    made.update(json.dumps(cell.split).encode())
    named = {name: paths[name] for name in ("interactions", "users", "items")}
    return Files(folder, named, split, made.hexdigest())


def without_test(cell: Cell, frames: Frames, folder: Path) -> Frames:
    """The tables without the rows of the test part, split once more."""
    if frames.known is not None:
        return hold_users_out(Frames(frames.interactions, frames.users, frames.items))
    rows = frames.interactions
    if frames.test is None:
        path = folder / "all.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(path)
        split = {} if cell.split == "default" else {"method": cell.split}
        parts = Dataset.read(
            parse_config({"data": {"interactions": str(path), "split": split}})
        ).parts
        rows = pl.concat([parts.train, parts.validation])
        return Frames(rows, frames.users, frames.items)
    # As the LightGCN splits do: a random share of each user's rows.
    order = pl.Series("order", np.random.default_rng(1).permutation(len(rows)))
    place = pl.col("order").rank().over(USER_ID)
    is_test = place > 0.8 * pl.len().over(USER_ID) + 0.5
    drawn = rows.with_columns(order).select(is_test).to_series()
    return Frames(rows.filter(~drawn), frames.users, frames.items, test=rows.filter(drawn))


def config_of(contender: str, files: Files, overrides: Sequence[str], seed: int) -> Config:
    """The config that a newcomer would have, with the cell's split and the seed."""
    split = [f'data.split.{key}="{value}"' for key, value in files.split.items()]
    overrides = [*split, f"training.seed={seed}", *overrides]
    if contender == "init":
        folder = files.folder / f"written-{seed}"
        path = folder / "twotower.toml"
        path.unlink(missing_ok=True)
        interactions = files.paths["interactions"]
        assert interactions is not None
        write_config(folder, interactions, files.paths["users"], files.paths["items"])
        return load_config(path, overrides)
    document: dict[str, Any] = {
        "data": {name: path for name, path in files.paths.items() if path is not None}
    }
    for override in overrides:
        apply_override(document, override)
    return parse_config(document)


# --- one model --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """One model of a cell.

    Attributes:
        cell: name of the cell.
        files: of the cell.
        model: name of a contender or a baseline.
        seed: of the model.
        overrides: of the contenders' configs.
        refit: whether a baseline learns from the validation rows in the end.
    """

    cell: str
    files: Files
    model: str
    seed: int
    overrides: tuple[str, ...]
    refit: bool = False

    @property
    def fingerprint(self) -> str:
        """Of everything that the figures depend on."""
        is_ours = self.model in CONTENDERS
        made = hashlib.sha256(self.files.digest.encode())
        made.update(json.dumps([self.model, self.seed, self.refit]).encode())
        made.update(json.dumps(self.overrides if is_ours else []).encode())
        for name in OF_CONTENDERS if is_ours else OF_BASELINES:
            place = SOURCE / name
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                made.update(file.read_bytes())
        return made.hexdigest()


def measured(work: Work) -> dict[str, Any]:
    """The figures of one model: of each user, in the order of the ids, so that models can be
    paired."""
    if work.model in CONTENDERS:
        return measured_contender(work)
    dataset = Dataset.read(config_of("files", work.files, (), work.seed))
    start = time.process_time()
    model = fit_baseline(work.model, dataset)
    epoch = best_epoch(model)
    if work.refit:
        kind = BASELINES[work.model]
        dataset = dataset.refit("train")
        settings = kind.config_type.model_validate({} if epoch is None else {"epochs": epoch})
        fitted = kind.fit(dataset.train, settings, rng=np.random.default_rng(work.seed))
        ranker: Ranker = fitted.knowing(dataset.train, known_rows(dataset, work.files).items)
    else:
        ranker = model.ranker(known_rows(dataset, work.files))
    figures = figures_of(ranker, dataset)
    seconds = round(time.process_time() - start, 3)
    return {**figures, "seconds": seconds, "best_epoch": epoch}


def measured_contender(work: Work) -> dict[str, Any]:
    """As `twotower train` does it; the bundle is loaded and measured."""
    config = config_of(work.model, work.files, work.overrides, work.seed)
    bundle = work.files.folder / f"bundle-{work.model}-{work.seed}"
    start = time.process_time()
    dataset = Dataset.read(config)
    middle = time.process_time()
    outcome = train_bundle(config, bundle, console=Console(quiet=True))
    seconds = time.process_time() - middle - (middle - start)
    served = Recommender.load(bundle).served
    refit = served.config.training.refit == "train"
    if refit:
        dataset = dataset.refit("train")
    blend: dict[str, Any] = served.manifest.get("blend") or {}
    if (work.files.folder / KNOWN).exists():
        served = served.with_users(dataset.users, known_rows(dataset, work.files))
    result = outcome.result
    return {
        **figures_of(Recommender(served), dataset),
        "seconds": round(seconds, 3),
        "training_seconds": round(result.seconds, 3),
        "best_epoch": result.best_epoch,
        "epochs": len(result.epochs),
        "validation": result.best_metric,
        "refit": refit,
        "shares": {name: round(share, 3) for name, share in blend.get("shares", {}).items()},
    }


def fit_baseline(name: str, dataset: Dataset) -> TrainedModel:
    """A baseline with the defaults of `twotower compare`."""
    contender = baseline(name, BASELINES[name], dataset.config)
    return contender.train(dataset, contender.defaults, Monitor(), {})


def best_epoch(model: TrainedModel) -> int | None:
    """The epoch that validation chose; None for a model without epochs."""
    if not model.curve:
        return None
    return int(max(model.curve, key=lambda point: point["metric"])["epoch"])


def known_rows(dataset: Dataset, files: Files) -> Histories:
    """What is known of each user when the test part is asked for."""
    path = files.folder / KNOWN
    if not path.exists():
        return known_events(dataset)
    more = number_interactions(pl.read_parquet(path), dataset.users, dataset.items)
    more = more.take(np.flatnonzero(more.item_num >= 0))
    validation = dataset.validation
    validation = validation.take(np.flatnonzero(validation.item_num >= 0))
    rows = dataset.train.append(validation).append(more)
    return rows.histories(learned=np.arange(len(rows)) < len(dataset.train))


def figures_of(ranker: Ranker, dataset: Dataset) -> dict[str, Any]:
    """Metrics of the test part, and of each user in the order of the ids."""
    found = evaluate(ranker, dataset.test, k=K)
    ids = [str(user) for user in dataset.users.ids[found.user_num]]
    order = np.argsort(ids)
    return {
        "metrics": {name: round(found.metrics[name], 6) for name in METRICS},
        "per_query": {
            name: [round(float(value), 6) for value in found.per_query[name][order]]
            for name in METRICS
        },
    }
