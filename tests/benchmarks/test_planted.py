"""What is planted is found where it is, and not where a model cannot know of it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.planted import Asked, coefficients, histories, likeliest_factor, recovered
from benchmarks.synthetic_ablation import STEPS, settings
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import SyntheticShop, generate, write
from twotower.workflow.training.train import fit_part

FEATURES = dict(STEPS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticShop, Path]:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(folder, num_users=300, num_items=160, num_interactions=9000, seed=7)
    write(catalogue, folder)
    return catalogue, folder


def found(shop: tuple[SyntheticShop, Path], *steps: str) -> dict[str, float]:
    """What a model that reads the features of some steps recovers."""
    catalogue, folder = shop
    features = {
        side: {name: f for step in steps for name, f in FEATURES[step].get(side, {}).items()}
        for side in ("user", "item", "context")
    }
    dataset = Dataset.read(settings(folder, features, seed=0))
    recommender, _ = fit_part(dataset, None, console=Console(file=StringIO()))
    return recovered(catalogue, dataset, recommender, folder)


def test_ids_alone_recover_nothing_but_what_ids_tell(shop: tuple[SyntheticShop, Path]) -> None:
    signals = found(shop, "ids")
    assert signals.pop("ids") > 0.05
    assert set(signals) == {"metadata", "text", "image", "context", "context_warm", "history"}
    assert set(signals.values()) == {0.0}


def test_each_signal_is_recovered_by_the_features_that_tell_it(
    shop: tuple[SyntheticShop, Path],
) -> None:
    signals = found(shop, "+ metadata", "+ text", "+ context")
    assert signals["metadata"] > 0.4
    assert signals["text"] > 0.1
    assert signals["context"] > 0.08
    assert abs(signals["image"]) < 0.05
    assert signals["history"] == 0.0


def test_coefficients_of_effects_are_found_beside_each_users_mean() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(20, 30)), rng.normal(size=30)
    told = 0.5 * first + 2 * second + rng.normal(size=(20, 1))
    counted = rng.random((20, 30)) < 0.8
    told[~counted] = 99.0
    found = coefficients(told, {"first": first, "second": second}, counted)
    assert found == pytest.approx({"first": 0.5, "second": 2.0})


def test_the_likeliest_factor_makes_flat_logits_true_ones() -> None:
    rng = np.random.default_rng(0)
    true = 1.5 * rng.normal(size=(20_000, 12))
    masked = rng.random(true.shape) < 0.2
    noise = rng.gumbel(size=true.shape)
    chosen = np.where(masked, -np.inf, true + noise).argmax(axis=1)
    assert likeliest_factor(true / 4, chosen, masked) == pytest.approx(4, rel=0.03)
    assert likeliest_factor(true * 4, chosen, masked) == pytest.approx(0.25, rel=0.03)


def test_a_history_gets_one_more_event_at_its_end(shop: tuple[SyntheticShop, Path]) -> None:
    catalogue, folder = shop
    dataset = Dataset.read(settings(folder, FEATURES["+ history"], seed=0, epochs=1))
    recommender, _ = fit_part(dataset, None, console=Console(file=StringIO()))
    users = np.arange(dataset.users.first_known, dataset.users.first_known + 3)
    asked = Asked(catalogue, dataset, recommender, users)
    added = asked.items[[5, 6, 7]]
    before, after = histories(asked, users, added)
    for row in range(3):
        known = before.item_num[row][before.mask[row]].tolist()
        longer = after.item_num[row][after.mask[row]].tolist()
        assert longer[-1] == added[row]
        assert longer[1:-1][-20:] == known[1:][-20:]
