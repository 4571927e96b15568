"""What can be known of the synthetic shop, from ids and some kinds of features."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from benchmarks.knowable import knowable
from twotower.data.synthetic.shop import SyntheticShop, best_reachable, generate

KINDS = ("metadata", "text", "image", "context", "history")


@pytest.fixture(scope="module")
def catalogue() -> SyntheticShop:
    return generate(num_users=400, num_items=200, num_interactions=8000, seed=3)


def parts(catalogue: SyntheticShop) -> tuple[pl.DataFrame, pl.DataFrame]:
    log = catalogue.interactions
    return log[:6000], log[6000:]


def test_each_kind_raises_the_ceiling_and_none_reaches_the_truth(catalogue: SyntheticShop) -> None:
    train, test = parts(catalogue)
    ceilings = [
        best_reachable(knowable(catalogue, train, KINDS[:number]), test, 10)["ndcg@10"]
        for number in range(len(KINDS) + 1)
    ]
    # The ranking finds the most items to be expected; what chance brought may differ a little.
    assert all(after > before - 0.005 for before, after in pairwise(ceilings))
    assert ceilings[-1] > ceilings[0] + 0.02
    assert ceilings[-1] < best_reachable(catalogue, test, 10)["ndcg@10"]


def test_of_known_users_and_items_all_effects_are_known(catalogue: SyntheticShop) -> None:
    train, _ = parts(catalogue)
    known = knowable(catalogue, train, ())
    new_users = ~catalogue.users["user_id"].is_in(train["user_id"].implode()).to_numpy()
    new_items = ~catalogue.items["item_id"].is_in(train["item_id"].implode()).to_numpy()
    users = np.flatnonzero(~new_users)
    true = catalogue.taste.effects(users)
    for name, effect in known.taste.effects(users).items():
        wanted = np.broadcast_to(true[name], effect.shape)
        np.testing.assert_array_equal(effect[:, ~new_items], wanted[:, ~new_items])
        assert (effect[:, new_items] == effect[:, new_items][:, :1]).all()


def test_features_tell_of_new_items_what_they_say_and_no_more(catalogue: SyntheticShop) -> None:
    train, _ = parts(catalogue)
    new = ~catalogue.items["item_id"].is_in(train["item_id"].implode()).to_numpy()
    users = np.flatnonzero(catalogue.users["user_id"].is_in(train["user_id"].implode()).to_numpy())
    true = catalogue.taste.effects(users)
    told = knowable(catalogue, train, ("metadata", "text")).taste.effects(users)
    for name in ("camp", "price and year", "mood"):
        np.testing.assert_array_equal(told[name], true[name])
    for name in ("look", "factors", "popularity"):
        assert (told[name][:, new] == told[name][:, new][:, :1]).all()


def test_new_users_are_expected_to_like_what_their_group_likes(catalogue: SyntheticShop) -> None:
    train, _ = parts(catalogue)
    users = np.flatnonzero(~catalogue.users["user_id"].is_in(train["user_id"].implode()).to_numpy())
    taste = knowable(catalogue, train, ("metadata", "text", "image")).taste
    moods = taste.effects(users)["mood"]
    occupations = taste.users.occupation[users]
    for occupation in np.unique(occupations):
        same = moods[occupations == occupation]
        assert (same == same[0]).all()
    assert len(np.unique(moods[:, 0])) == len(np.unique(occupations))
    strangers = knowable(catalogue, train, ()).taste.effects(users)
    assert all((effect == effect[:1]).all() for effect in strangers.values())


def test_without_the_device_all_contexts_look_the_same(catalogue: SyntheticShop) -> None:
    train, _ = parts(catalogue)
    alike = knowable(catalogue, train, ()).taste.by_context
    assert (alike == alike[0]).all()
    by_device = knowable(catalogue, train, ("context",)).taste.by_context
    assert (by_device[0] == by_device[1]).all()
    assert (by_device[2] == by_device[3]).all()
    assert not np.allclose(by_device[1], by_device[2])
