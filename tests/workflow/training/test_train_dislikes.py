"""Dislikes from the file to the answers: positives nowhere, negatives of the ranker where asked."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from twotower.config import Config, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import DataError
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.workflow.training.train import Outcome, fit_stages, train_bundle


def quiet() -> Console:
    return Console(file=StringIO())


def write(folder: Path, rows: list[tuple[Any, ...]], columns: str, more: str = "") -> Path:
    """A log and its config, whose path is given."""
    pl.DataFrame(rows, schema=columns.split(), orient="row").write_csv(folder / "log.csv")
    path = folder / "twotower.toml"
    path.write_text(
        f'[data]\ninteractions = "log.csv"\n{more}\n[data.split]\nmethod = "random"\n'
        "[training]\nepochs = 2\n",
        encoding="utf-8",
    )
    return path


def trained(path: Path) -> tuple[Recommender, Outcome]:
    outcome = train_bundle(load_config(path), path.parent / "bundle", console=quiet())
    return Recommender.load(path.parent / "bundle"), outcome


def for_a_stranger(recommender: Recommender, k: int = 10) -> list[Any]:
    nums = recommender.top_k(np.array([-1]), k).item_nums[0]
    return [recommender.items.ids[int(num)] for num in nums if num >= 0]


@pytest.mark.parametrize("with_items", [False, True])
def test_what_everybody_dislikes_is_not_popular(with_items: bool, tmp_path: Path) -> None:
    rows = [(f"u{n}", "hated", 1700000000 + n, -1) for n in range(60)]
    rows += [
        (f"u{n}", f"i{(n * 7 + place * 5) % 30}", 1700000000 + n + place, 1)
        for n in range(60)
        for place in range(1, 5)
    ]
    more = 'items = "items.csv"' if with_items else ""
    path = write(tmp_path, rows, "user_id item_id timestamp weight", more)
    pl.DataFrame({"item_id": ["hated", *(f"i{n}" for n in range(30))]}).write_csv(
        tmp_path / "items.csv"
    )
    recommender, outcome = trained(path)
    assert outcome.evaluation is not None
    known = [value for value in recommender.items.ids.to_list() if value is not None]
    assert ("hated" in known) is with_items
    assert "hated" not in for_a_stranger(recommender)
    pairs = {(user, item) for user, item, _, weight in rows if weight > 0}
    assert int(recommender.served.seen.lengths.sum()) + outcome.evaluation.counts["rows"] == len(
        pairs
    )
    assert (
        f"{tmp_path / 'log.csv'}: 60 of 300 rows have a weight of 0 or below: they are dislikes, "
        "not positives, and were dropped (data.positive.dislikes)."
    ) in outcome.notes["data"]


def test_clicks_that_are_mostly_0(tmp_path: Path) -> None:
    """Each user clicks on two of the items of a group and is shown the popular `shown` in vain."""
    rows = [
        (f"u{n}", item, click)
        for n in range(40)
        for item, click in (
            *((f"i{n % 4}-{place}", 1) for place in range(3)),
            *((f"shown{place}", 0) for place in range(20)),
        )
    ]
    path = write(tmp_path, rows, "user_id item_id click", '[data.columns]\nweight = "click"')
    recommender, outcome = trained(path)
    assert all(str(item).startswith("i") for item in for_a_stranger(recommender))
    assert outcome.evaluation is not None
    assert outcome.evaluation.counts["rows"] == 12
    assert outcome.result.best_metric is not None
    assert math.isfinite(outcome.result.best_metric)


def test_returns_are_not_learned_from(tmp_path: Path) -> None:
    rows = [(f"c{n % 20}", f"p{n % 9}", 6 if n % 3 else -3) for n in range(180)]
    path = write(tmp_path, rows, "user_id item_id quantity", '[data.columns]\nweight = "quantity"')
    dataset = Dataset.read(load_config(path))
    pairs = {(user, item) for user, item, quantity in rows if quantity > 0}
    assert set(dataset.parts.train.select("user_id", "item_id").rows()) <= pairs
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == len(pairs)


def test_a_log_of_dislikes_alone(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", "a", 0), ("v", "b", 0)], "user_id item_id weight")
    with pytest.raises(DataError, match=r"all 2 rows have a weight of 0 or below"):
        train_bundle(load_config(path), tmp_path / "bundle", console=quiet())


def planted(folder: Path, dislikes: str) -> Config:
    """Users of a group like items of that group and dislike the first item of the next one, which
    that group likes."""
    rng = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for user in range(120):
        group = user % 3
        rows += [(f"u{user}", f"i{group}-{item}", 1) for item in rng.permutation(10)[:6]]
        rows.append((f"u{user}", f"i{(group + 1) % 3}-0", -1))
    more = f'[data.positive]\ndislikes = "{dislikes}"'
    path = write(folder, rows, "user_id item_id weight", more)
    with path.open("a", encoding="utf-8") as file:
        file.write("[ranker]\nepochs = 15\nbatch_size = 8\nembedding_dim = 8\n")
        file.write("neighbours = 0\nlearning_rate = 0.03\n[retriever]\nblend = false\n")
    return load_config(path, ["training.learning_rate=0.01"])


def gap(config: Config) -> float:
    """By how much the ranker scores other items of the next group above the disliked one."""
    dataset = Dataset.read(config)
    recommender = fit_stages(dataset, None, console=quiet()).recommender
    assert isinstance(recommender.served.ranker, NeuralRanker)
    items = [[f"i{(user + 1) % 3}-0", f"i{(user + 1) % 3}-{user % 9 + 1}"] for user in range(120)]
    users = dataset.users.nums(pl.Series([f"u{user}" for user in range(120)]))
    nums = np.stack([dataset.items.nums(pl.Series(pair)) for pair in items])
    scores = recommender.served.ranker.logits(recommender.served.queries_of(users, {}), nums)
    return float((scores[:, 1] - scores[:, 0]).mean())


def test_the_ranker_learns_what_is_disliked(tmp_path: Path) -> None:
    """Without dislikes nothing tells the disliked item from others that a user does not know."""
    learned, left_out = (gap(planted(tmp_path, rule)) for rule in ("negatives", "leave_out"))
    assert learned > left_out + 1
