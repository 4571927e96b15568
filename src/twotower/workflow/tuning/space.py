"""What `tune` searches: keys by rules from the config and its data, changed by `[tune.space]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError

from twotower.config import Config, SpaceRange
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.data.batches.batches import UserBatches
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, explain, unknown
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.losses.weighting import WEIGHT_WITH_MANY_TARGETS
from twotower.models.retriever.two_tower import TwoTower, can_smooth, initial_temperature
from twotower.workflow.training.fit_retriever import make_batches, own_table_rate
from twotower.workflow.training.train import keys_of
from twotower.workflow.tuning.settings import Value, has_features, value_at, with_settings

SECTIONS: Final = ("features", "retriever", "ranker", "training")
"""Sections whose keys can be searched: the others decide what is measured, and on which rows."""
NEW_SHARE: Final = 0.05
"""Share of the validation rows that are of new users (or items) from which their id dropout is
searched. With fewer, validation would favour none, at the expense of new users (or items)."""


class AroundOwn(NamedTuple):
    """Half of the config's own value, the value itself and its double."""

    def values(self, own: int) -> tuple[int, ...]:
        """Whole numbers, ascending."""
        return tuple(dict.fromkeys((max(own // 2, 1), own, 2 * own)))


Place = SearchRange | SearchChoice
IsSearched = Callable[[Dataset], bool]
Own = Callable[[Dataset], Value]


def always(dataset: Dataset) -> bool:
    """Searched for all data."""
    del dataset
    return True


@dataclass(frozen=True)
class Rule:
    """When a key is searched, and over what.

    Attributes:
        key: config key.
        place: range or choices; widened to hold the config's own value.
        when: a phrase for the docs; empty for always.
        applies: whether the key is searched for a config and its data.
        own: the value that the config's own amounts to, where it may be "auto" or none.
    """

    key: str
    place: Place | AroundOwn
    when: str = ""
    applies: IsSearched = always
    own: Own | None = None

    def own_value(self, dataset: Dataset) -> Value:
        """The config's own value of the key."""
        own = value_at(dataset.config, self.key) if self.own is None else self.own(dataset)
        assert own is not None, self.key
        return own


@dataclass(frozen=True)
class SearchedKey:
    """A key that is searched.

    Attributes:
        own: the config's own value.
        place: what is searched.
        is_yours: whether `[tune.space]` says so.
    """

    own: Any
    place: Place
    is_yours: bool = False


# --- rules ------------------------------------------------------------------------------------


def reads_features(dataset: Dataset) -> bool:
    """Whether a tower has layers over features or a history."""
    return has_features(dataset.config)


def has_hidden_layers(dataset: Dataset) -> bool:
    """Whether a tower has hidden layers with dropout."""
    return reads_features(dataset) and dataset.config.retriever.hidden != ()


def smooths(dataset: Dataset) -> bool:
    """Whether the id embeddings can be smoothed over the graph."""
    return can_smooth(dataset.schema) and dataset.config.retriever.normalize


def is_softmax(dataset: Dataset) -> bool:
    """Whether the loss reads `negative_weight`."""
    return dataset.config.retriever.loss in ("softmax", "sampled_softmax", "in_batch_softmax")


def has_history(dataset: Dataset) -> bool:
    """Whether the query tower reads a history."""
    return dataset.config.features.history is not None


def ranks(dataset: Dataset) -> bool:
    """Whether the config has a ranker."""
    return dataset.config.ranker is not None


def meets_new_users(dataset: Dataset) -> bool:
    """Whether the query tower reads user ids and more, and validation has rows of new users."""
    features = dataset.config.features
    reads = {**features.enabled("user"), **features.enabled("context")}
    if "id" not in reads or (len(reads) == 1 and features.history is None):
        return False
    new = ~dataset.users.is_warm(dataset.validation.user_num)
    return bool(new.mean() >= NEW_SHARE)


def meets_new_items(dataset: Dataset) -> bool:
    """Whether the item tower reads ids and more, also of new items, and validation has rows of
    new items of the catalogue."""
    reads = dataset.config.features.enabled("item")
    goes_elsewhere = dataset.config.retriever.cold_tower and not has_history(dataset)
    if "id" not in reads or len(reads) == 1 or goes_elsewhere:
        return False
    item_num = dataset.validation.item_num
    new = (item_num >= 0) & ~dataset.items.is_warm(np.maximum(item_num, 0))
    return bool(new.mean() >= NEW_SHARE)


def own_batch_size(dataset: Dataset) -> Value:
    """The number of queries in a batch."""
    return make_batches(dataset.train, dataset.config).batch_size


def own_temperature(dataset: Dataset) -> Value:
    """The temperature that training begins with."""
    return initial_temperature(dataset.config.retriever, len(dataset.train))


def own_learning_rate(dataset: Dataset) -> Value:
    """The learning rate of the tables that "auto" amounts to."""
    return own_table_rate(dataset.config, len(dataset.train))


def own_negative_weight(dataset: Dataset) -> Value:
    """The weight that "auto" amounts to."""
    configured = dataset.config.retriever.negative_weight
    if configured != "auto":
        return configured
    batches = make_batches(dataset.train, dataset.config)
    return WEIGHT_WITH_MANY_TARGETS if isinstance(batches, UserBatches) else 1.0


def own_id_dropout(side: str) -> Own:
    """The id dropout that a tower has."""

    def own(dataset: Dataset) -> Value:
        model = TwoTower(dataset.config.retriever, dataset.schema, seed=0)
        tower = model.query_tower if side == "user" else model.item_tower
        return next(e.dropout for e in tower.encoders if isinstance(e, IdEncoder))

    return own


HISTORY: Final = "features.user.history"
RULES: Final[tuple[Rule, ...]] = (
    Rule("training.learning_rate", SearchRange(0.001, 0.05, log=True), own=own_learning_rate),
    Rule(
        "training.layer_learning_rate",
        SearchRange(0.0002, 0.005, log=True),
        "a tower has features besides ids, or a history",
        reads_features,
    ),
    Rule("training.weight_decay", SearchChoice((0.0, 0.01, 0.1, 0.5))),
    Rule("training.batch_size", AroundOwn(), own=own_batch_size),
    Rule("retriever.embedding_dim", AroundOwn()),
    Rule(
        "retriever.temperature",
        SearchRange(0.04, 0.5, log=True),
        "`retriever.normalize`",
        lambda dataset: dataset.config.retriever.normalize,
        own_temperature,
    ),
    Rule(
        "retriever.negative_weight",
        SearchRange(1.0, 1.5),
        "the loss is a softmax",
        is_softmax,
        own_negative_weight,
    ),
    Rule(
        "retriever.dropout",
        SearchRange(0.0, 0.5),
        "a tower has hidden layers",
        has_hidden_layers,
    ),
    Rule(
        "retriever.smoothing_layers",
        SearchChoice((0, 1, 2, 3)),
        "both towers read ids, there is no history, and `retriever.normalize`",
        smooths,
    ),
    Rule(
        "features.user.id.dropout",
        SearchRange(0.0, 0.9),
        "the query tower reads ids and more, and 5% of the validation rows are of new users",
        meets_new_users,
        own_id_dropout("user"),
    ),
    Rule(
        "features.item.id.dropout",
        SearchRange(0.0, 0.5),
        "the item tower reads ids and more, new items go through it (no cold tower, or a history), "
        "and 5% of the validation rows are of new items",
        meets_new_items,
        own_id_dropout("item"),
    ),
    Rule(
        f"{HISTORY}.encoder",
        SearchChoice(("mean", "attention", "transformer")),
        "there is a history",
        has_history,
    ),
    Rule(f"{HISTORY}.max_length", AroundOwn(), "there is a history", has_history),
    Rule(f"{HISTORY}.dropout", SearchRange(0.0, 0.5), "there is a history", has_history),
    Rule(
        "ranker.learning_rate",
        SearchRange(0.001, 0.03, log=True),
        "there is a ranker",
        ranks,
    ),
    Rule(
        "ranker.layer_learning_rate",
        SearchRange(0.0003, 0.003, log=True),
        "there is a ranker",
        ranks,
    ),
    Rule("ranker.dropout", SearchRange(0.0, 0.4), "there is a ranker", ranks),
    Rule(
        "ranker.weight_decay",
        SearchChoice((0.0, 0.01, 0.03, 0.1)),
        "there is a ranker",
        ranks,
    ),
    Rule("ranker.num_negatives", SearchChoice((4, 8, 16)), "there is a ranker", ranks),
)


# --- the space of a config --------------------------------------------------------------------


def search_space(dataset: Dataset) -> dict[str, SearchedKey]:
    """The keys that are searched for a config and its data, as `RULES` and `[tune.space]` say.

    Raises:
        ConfigError: `[tune.space]` names a key or a value that there is not, or nothing is left
            to search.
    """
    declared = declared_places(dataset.config)
    known = {rule.key: rule for rule in RULES if rule.applies(dataset)}
    found = {key: by_rule(rule, dataset) for key, rule in known.items() if key not in declared}
    for key, place in declared.items():
        if place is not None:
            rule = known.get(key)
            own = value_at(dataset.config, key) if rule is None else rule.own_value(dataset)
            found[key] = SearchedKey(own, place, is_yours=True)
    if not found:
        raise ConfigError(
            explain("tune.space leaves no key to search", fix="remove one of its `false`")
        )
    return found


def by_rule(rule: Rule, dataset: Dataset) -> SearchedKey:
    """A key as its rule says: with the config's own value, without values that do not fit the
    other keys."""
    own, place = rule.own_value(dataset), rule.place
    if isinstance(place, SearchRange):
        assert isinstance(own, int | float)
        return SearchedKey(
            own,
            SearchRange(min(place.low, own), max(place.high, own), place.log, place.integer),
        )
    if isinstance(place, AroundOwn):
        assert isinstance(own, int)
        values: tuple[Value, ...] = place.values(own)
    else:
        values = place.values if own in place.values else (own, *place.values)
    config = dataset.config
    fitting = (v for v in values if problem_of(config, rule.key, v) is None)
    return SearchedKey(own, SearchChoice(tuple(fitting)))


def declared_places(config: Config) -> dict[str, Place | None]:
    """The keys of `[tune.space]`; None for those that are not to be searched.

    Raises:
        ConfigError: it names a key or a value that there is not.
    """
    keys = dict(keys_of(config.model_dump()))
    found: dict[str, Place | None] = {}
    for key, place in config.tune.space.items():
        check_key(key, keys)
        found[key] = None if place is False else declared_place(config, key, place)
    return found


def declared_place(config: Config, key: str, declared: SpaceRange | tuple[Value, ...]) -> Place:
    """A place of `[tune.space]`, after checking its values.

    Raises:
        ConfigError: a value is not allowed.
    """
    if not isinstance(declared, SpaceRange):
        check_values(config, key, declared)
        return SearchChoice(declared)
    low, high = declared.low, declared.high
    between = np.nextafter(low, high)
    integer = low.is_integer() and high.is_integer() and bool(problem_of(config, key, between))
    check_values(config, key, (int(low), int(high)) if integer else (low, high))
    return SearchRange(low, high, log=declared.log, integer=integer)


def check_key(key: str, keys: Mapping[str, Any]) -> None:
    """Refuse a key that cannot be searched.

    Raises:
        ConfigError: the config has no such key, or it is of another section.
    """
    section = key.partition(".")[0]
    if section not in SECTIONS:
        raise ConfigError(
            explain(
                f"tune.space.{key}: only keys of {', '.join(SECTIONS)} can be searched",
                fix="remove it",
            )
        )
    if key not in keys:
        there = [name for name in keys if name.split(".")[0] in SECTIONS]
        raise ConfigError(unknown(f"tune.space.{key}: the config has no such key", key, there))


def check_values(config: Config, key: str, values: Iterable[Value]) -> None:
    """Refuse values that the config does not allow.

    Raises:
        ConfigError: names the first of them.
    """
    for value in values:
        problem = problem_of(config, key, value)
        if problem is not None:
            raise ConfigError(
                explain(f"tune.space.{key}: {problem}", value=value, fix="remove this value")
            )


def problem_of(config: Config, key: str, value: Value) -> str | None:
    """Why a key cannot have a value; None if it can."""
    try:
        with_settings(config, {key: value})
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return None


def short(value: Any) -> str:
    """A value with at most four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe(place: Place | AroundOwn) -> str:
    """A range or choices in words."""
    if isinstance(place, AroundOwn):
        return "half of yours, yours, its double"
    if isinstance(place, SearchChoice):
        return ", ".join(short(value) for value in place.values)
    scale = ", log scale" if place.log else ""
    return f"{place.low:g} to {place.high:g}{scale}"
