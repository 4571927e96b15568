from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.workflow.tuning.shops import IDS_ONLY, config_of, write_shop
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.errors import ConfigError
from twotower.workflow.training.train import keys_of
from twotower.workflow.tuning.settings import with_settings
from twotower.workflow.tuning.space import RULES, SearchedKey, describe, search_space
from twotower.workflow.tuning.trial import read_without_test


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def space_of(shop: Path, *overrides: str) -> dict[str, SearchedKey]:
    return search_space(read_without_test(config_of(shop, *overrides)))


HISTORY = ('features.user.history.type="history"', "features.user.history.max_length=20")
ALWAYS = {
    "training.learning_rate",
    "training.weight_decay",
    "training.batch_size",
    "retriever.embedding_dim",
    "retriever.temperature",
    "retriever.negative_weight",
}
LAYERS = {"training.layer_learning_rate", "retriever.dropout"}
OF_HISTORY = {f"features.user.history.{key}" for key in ("encoder", "max_length", "dropout")}
OF_RANKER = {
    f"ranker.{key}"
    for key in (
        "learning_rate",
        "layer_learning_rate",
        "dropout",
        "weight_decay",
        "num_negatives",
    )
}


SMOOTHS = {"retriever.smoothing_layers"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (IDS_ONLY, ALWAYS | SMOOTHS),
        ((), ALWAYS | SMOOTHS | LAYERS),
        (("retriever.hidden=[]",), ALWAYS | SMOOTHS | {"training.layer_learning_rate"}),
        (HISTORY, ALWAYS | LAYERS | OF_HISTORY | {"features.item.id.dropout"}),
        (("ranker={}",), ALWAYS | SMOOTHS | LAYERS | OF_RANKER),
        (("retriever.normalize=false",), ALWAYS - {"retriever.temperature"} | LAYERS),
        (
            ('retriever.loss="bpr"',),
            ALWAYS - {"retriever.negative_weight"} | SMOOTHS | LAYERS,
        ),
    ],
)
def test_keys_without_an_effect_are_not_searched(
    overrides: tuple[str, ...], expected: set[str], shop: Path
) -> None:
    assert set(space_of(shop, *overrides)) == expected


def test_the_own_values_are_what_auto_amounts_to(shop: Path) -> None:
    found = space_of(shop)
    assert found["training.batch_size"].own == 64
    assert found["retriever.negative_weight"].own == 1.15
    rows = len(read_without_test(config_of(shop)).train)
    assert found["retriever.temperature"].own == pytest.approx(0.1 * (600_000 / rows) ** 0.25)
    single = space_of(shop, *HISTORY)
    assert single["retriever.negative_weight"].own == 1.0
    assert single["features.user.history.max_length"].place == SearchChoice((10, 20, 40))


def test_ranges_and_choices_hold_the_own_value(shop: Path) -> None:
    found = space_of(
        shop,
        "training.learning_rate=0.5",
        "training.weight_decay=0.3",
        "retriever.embedding_dim=6",
        'features.user.history.type="history"',
        "features.user.history.num_heads=3",
    )
    assert found["training.learning_rate"].place == SearchRange(0.001, 0.5, log=True)
    assert found["training.weight_decay"].place == SearchChoice((0.3, 0.0, 0.01, 0.1, 0.5))
    assert found["retriever.embedding_dim"].place == SearchChoice((3, 6, 12))


def test_values_that_other_keys_exclude_are_not_tried(shop: Path) -> None:
    found = space_of(
        shop,
        "retriever.embedding_dim=6",
        'features.user.history.type="history"',
        "features.user.history.num_heads=2",
    )
    assert found["retriever.embedding_dim"].place == SearchChoice((6, 12))  # not 3


def test_user_id_dropout_is_searched_where_validation_has_new_users(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    rows = pl.read_parquet(tmp_path / "interactions.parquet").sort("timestamp")
    new = pl.col("user_id").str.slice(0, 0) + "u_new_" + pl.int_range(pl.len()).cast(pl.String)
    late = rows.tail(1000).with_columns(user_id=new)
    pl.concat([rows.head(len(rows) - 1000), late]).write_parquet(tmp_path / "interactions.parquet")
    found = space_of(config)
    assert found["features.user.id.dropout"].own == 0.1
    assert "features.user.id.dropout" not in space_of(config, *IDS_ONLY)


def test_item_id_dropout_is_searched_where_new_items_go_through_the_item_tower(shop: Path) -> None:
    key = "features.item.id.dropout"
    assert key not in space_of(shop)  # the cold tower encodes them
    assert space_of(shop, "retriever.cold_tower=false")[key].own == 0.1
    assert key not in space_of(shop, "retriever.cold_tower=false", *IDS_ONLY)


def test_the_config_changes_the_space(shop: Path) -> None:
    found = space_of(
        shop,
        "tune.space.retriever.temperature={low=0.05,high=0.1}",
        'tune.space.retriever.loss=["softmax","bsl"]',
        "tune.space.training.batch_size=false",
        "tune.space.retriever.num_negatives={low=10,high=100,log=true}",
        "tune.space.retriever.dropout={low=0,high=0.5}",
    )
    assert "training.batch_size" not in found
    yours = {key: searched.place for key, searched in found.items() if searched.is_yours}
    assert yours == {
        "retriever.temperature": SearchRange(0.05, 0.1),
        "retriever.loss": SearchChoice(("softmax", "bsl")),
        "retriever.num_negatives": SearchRange(10, 100, log=True, integer=True),
        "retriever.dropout": SearchRange(0.0, 0.5),
    }
    assert found["retriever.loss"].own == "softmax"
    assert len(found) == len(space_of(shop)) + 1


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        (
            'retriever.temperatur=["x"]',
            "tune.space.retriever.temperatur: the config has no such key, did you mean "
            "'retriever.temperature'?",
        ),
        (
            "data.split.test_fraction=[0.1]",
            "tune.space.data.split.test_fraction: only keys of features, retriever, ranker, "
            "training can be searched. Fix: remove it.",
        ),
        (
            "retriever.temperature={low=0,high=1}",
            "tune.space.retriever.temperature: Input should be greater than 0 (found 0.0). Fix: "
            "remove this value.",
        ),
        (
            'retriever.loss=["softmax","softmux"]',
            "tune.space.retriever.loss: ",
        ),
        (
            "retriever.embedding_dim={low=4.5,high=8.5}",
            "tune.space.retriever.embedding_dim: Input should be a valid integer, got a number "
            "with a fractional part (found 4.5). Fix: remove this value.",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(place: str, problem: str, shop: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        space_of(shop, f"tune.space.{place}")
    assert str(raised.value).startswith(problem)


def test_a_space_without_a_key_is_refused(shop: Path) -> None:
    none = [f"tune.space.{key}=false" for key in space_of(shop)]
    with pytest.raises(ConfigError, match="leaves no key to search"):
        space_of(shop, *none)


def test_each_value_of_each_rule_is_allowed(shop: Path) -> None:
    overrides = (*HISTORY, "ranker={}", "retriever.embedding_dim=64")
    config = config_of(shop, *overrides)
    keys = dict(keys_of(config.model_dump()))
    for rule in RULES:
        assert rule.key in keys
        assert describe(rule.place)
        place = rule.place
        ends = (
            place.values
            if isinstance(place, SearchChoice)
            else (place.low, place.high)
            if isinstance(place, SearchRange)
            else place.values(64)
        )
        for value in ends:
            with_settings(config, {rule.key: value})
