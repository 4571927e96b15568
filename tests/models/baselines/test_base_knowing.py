"""A baseline that comes to know more of its users answers as one that knew it from the start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate, write
from twotower.models.baselines import BASELINES, Baseline
from twotower.workflow.training.train import known_events


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("shop")
    write(generate(num_users=80, num_items=40, num_interactions=780), folder)
    return Dataset.read(
        parse_config({"data": {"interactions": str(folder / "interactions.parquet")}})
    )


@pytest.mark.parametrize("kind", BASELINES.values(), ids=BASELINES.keys())
def test_it_answers_as_if_it_had_known(kind: type[Baseline[Any]], dataset: Dataset) -> None:
    later = known_events(dataset).items
    few = {"epochs": 2} if "epochs" in kind.config_type.model_fields else {}
    config = kind.config_type.model_validate(few)
    from_start = kind.fit(dataset.train, config, seen=later)
    first = kind.fit(dataset.train, config)
    told = first.knowing(dataset.train, later)
    everybody = np.arange(dataset.users.first_known, len(dataset.users))
    for ours, wanted in zip(
        told.top_k(everybody, 10), from_start.top_k(everybody, 10), strict=True
    ):
        np.testing.assert_array_equal(ours, wanted)
    assert first.seen is not told.seen
    before = first.top_k(everybody, 10).item_nums
    assert (before != told.top_k(everybody, 10).item_nums).any()
