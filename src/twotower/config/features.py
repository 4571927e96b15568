"""`[features]`: the features of the towers, one section per feature."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from twotower.config.feature_type import FEATURE_TYPES, SIDES, FeatureConfig, Side
from twotower.config.registries import HistoryEncoderName
from twotower.config.section import Section
from twotower.errors import unknown
from twotower.registry import load_installed_plugins

TimeUnit = Literal["s", "ms", "us", "ns", "excel"]


class IdFeatureConfig(Section):
    """`[features.user.id]`, `[features.item.id]`: the id as a feature. On by default."""

    type: Literal["id"] = "id"
    enabled: bool = True
    """Whether the tower reads the id. Without it, users (or items) with equal features have equal
    vectors."""
    num_oov: int = Field(default=1, ge=1)
    """Number of embedding rows for ids that are not in the training data."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of ids that training replaces by their OOV row, which trains the OOV rows and makes the
    model rely on features. Default: 0.8 for users with a history; 0.1 in a tower with other
    features, except for items that have a cold tower and are not read in histories; else 0."""


class HistoryConfig(Section):
    """`[features.user.history]`: the user's most recent interactions, read by the query tower.
    Their items are represented by the output of the item tower, so new items work too.

    With timestamps, training predicts each interaction from the earlier ones. Without timestamps, a
    history is a set, and its order is shuffled in each epoch."""

    type: Literal["history"]
    encoder: HistoryEncoderName = "transformer"
    """`mean`: mean of the items weighted by age, times the square root of their number;
    `attention`: in addition, attention of the newest item over the others; `transformer`: causal
    self-attention. Plug-ins may register others."""
    max_length: int = Field(default=50, ge=2)
    """Number of positions. One is the start token, so the newest `max_length - 1` events are
    read."""
    num_layers: int = Field(default=2, ge=1)
    """`transformer`: number of layers."""
    num_heads: int = Field(default=2, ge=1)
    """`attention`, `transformer`: number of attention heads; must divide
    `retriever.embedding_dim`."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout rate of items and layers."""
    event_types: bool = True
    """Read the event types, if the interactions have them."""
    ages: bool = True
    """Read the age of each event relative to the newest one, if there are timestamps."""


OTHER_FEATURES: dict[Side, dict[str, type[Section]]] = {
    "user": {"id": IdFeatureConfig, "history": HistoryConfig},
    "item": {"id": IdFeatureConfig},
    "context": {},
}
"""Features that are not a column of the side's table."""


def feature_section(side: Side, name: str | None) -> type[Section] | None:
    """The section of a feature type on a side, None for a name that there is not.

    Plug-ins that are installed are loaded before a type counts as unknown.
    """
    if name in OTHER_FEATURES[side]:
        return OTHER_FEATURES[side][name]
    if name not in FEATURE_TYPES:
        load_installed_plugins()
    return FEATURE_TYPES[name] if name is not None and name in FEATURE_TYPES else None


def read_feature(declared: Any, *, side: Side) -> Section:
    """A declaration, read as its type.

    Raises:
        ValidationError, PydanticCustomError, PydanticKnownError: pydantic adds the place.
    """
    if isinstance(declared, Section):
        return declared
    if not isinstance(declared, Mapping):
        raise PydanticKnownError("dict_type")
    name = declared.get("type")
    section = None if name is None else feature_section(side, str(name))
    if section is not None:
        return section.model_validate(declared)
    types = sorted(FEATURE_TYPES.names())
    if name is None:
        raise PydanticCustomError(
            "feature_without_type", "needs a 'type': {types}", {"types": ", ".join(types)}
        )
    problem = unknown(f"there is no feature type {str(name)!r}", str(name), types)
    raise PydanticCustomError("unknown_feature_type", "{problem}", {"problem": problem})


UserFeature = Annotated[
    SerializeAsAny[FeatureConfig | IdFeatureConfig | HistoryConfig],
    PlainValidator(partial(read_feature, side="user")),
]
ItemFeature = Annotated[
    SerializeAsAny[FeatureConfig | IdFeatureConfig],
    PlainValidator(partial(read_feature, side="item")),
]
ContextFeature = Annotated[
    SerializeAsAny[FeatureConfig], PlainValidator(partial(read_feature, side="context"))
]


class FeaturesConfig(Section):
    """`[features.user.NAME]`, `[features.item.NAME]`, `[features.context.NAME]`.

    User features are read from the users file, item features from the items file, context features
    from the interactions (and sent with each request).
    """

    user: dict[str, UserFeature] = Field(default_factory=dict)
    item: dict[str, ItemFeature] = Field(default_factory=dict)
    context: dict[str, ContextFeature] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _id_needs_no_type(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = {
            side: dict(features) for side, features in data.items() if isinstance(features, Mapping)
        }
        for side in ("user", "item"):
            entry = filled.setdefault(side, {}).get("id", {})
            if isinstance(entry, Mapping):
                filled[side]["id"] = {"type": "id", **entry}
        return {**data, **filled}

    @model_validator(mode="after")
    def _sides_hold_features(self) -> FeaturesConfig:
        for side, features in (("user", self.user), ("item", self.item)):
            for name, feature in features.items():
                if (feature.type == "id") != (name == "id"):
                    raise ValueError(
                        f"features.{side}.{name}: the feature named 'id' is the one of type 'id'"
                    )
        for name, feature in self.user.items():
            if (feature.type == "history") != (name == "history"):
                raise ValueError(
                    f"features.user.{name}: the feature named 'history' is the one of that type"
                )
        for side in SIDES:
            for name, column in self.columns(side).items():
                try:
                    column.check_side(side)
                except ValueError as error:
                    raise ValueError(f"features.{side}.{name}: {error}") from None
        if not self.enabled("item"):
            raise ValueError("the item tower has no feature: enable features.item.id or add one")
        if not (self.enabled("user") or self.context or self.history):
            raise ValueError("the query tower has no feature: enable features.user.id or add one")
        return self

    @property
    def history(self) -> HistoryConfig | None:
        """The config of the history; None if there is none."""
        found = self.user.get("history")
        return found if isinstance(found, HistoryConfig) else None

    @property
    def has_ids_alone(self) -> bool:
        """Whether the towers read ids and nothing else."""
        sides = (self.enabled(side) for side in ("user", "item", "context"))
        return self.history is None and not any(set(side) - {"id"} for side in sides)

    def enabled(self, side: Side) -> dict[str, FeatureConfig | IdFeatureConfig]:
        """The features of a side that are in use, in the order of the config, the id first; the
        history, which is read from the interactions, is not among them."""
        features: Mapping[str, Section] = getattr(self, side)
        found: dict[str, FeatureConfig | IdFeatureConfig] = {
            name: feature
            for name, feature in features.items()
            if isinstance(feature, IdFeatureConfig) and feature.enabled
        }
        return {**found, **self.columns(side)}

    def columns(self, side: Side) -> dict[str, FeatureConfig]:
        """The features of a side that are read from columns of its table, in the order of the
        config."""
        features: Mapping[str, Section] = getattr(self, side)
        return {
            name: feature
            for name, feature in features.items()
            if isinstance(feature, FeatureConfig)
        }

    def id_of(self, side: Literal["user", "item"]) -> IdFeatureConfig:
        """The declaration of a side's id, enabled or not."""
        found: IdFeatureConfig = getattr(self, side)["id"]
        return found
