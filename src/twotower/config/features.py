"""`[features]`: what the towers read, a declaration each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from twotower.config.registries import HistoryEncoderName
from twotower.config.section import Section


class IdFeatureConfig(Section):
    """`[features.user.id]`, `[features.item.id]`: the raw id as a feature. On by default."""

    type: Literal["id"] = "id"
    enabled: bool = True
    """False leaves ids out of the tower: it then knows features alone."""
    num_oov: int = Field(default=1, ge=1)
    """Rows for ids that training never saw."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of ids that are replaced by their OOV row in training, so that OOV rows are trained
    and features learn to stand in for the id. Left out: 0.8 for users beside a history; 0.1 in a
    tower that has other features, but for items that have a cold tower and are not read in
    histories; else 0."""


class ColumnFeatureConfig(Section):
    """A feature that is read from a column of the side's table."""

    column: str | None = None
    """The column's name in the table; left out: the feature's own name."""


class CategoryConfig(ColumnFeatureConfig):
    """One value of a set: a country, an occupation. Values are text: of a CSV file as they are
    spelled, so that 9.1 and 9.10 differ; numbers of other files and of requests by their shortest
    spelling (9.1, and 10 for 10.0); truth values as `true` and `false`."""

    type: Literal["category"]
    min_count: int = Field(default=1, ge=1)
    """Values that are rarer than this in training share the OOV row."""
    num_oov: int = Field(default=1, ge=1)
    """Rows for values that training never saw."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Left out: grows with the number of values, at most the tower's embedding_dim."""


class CategoriesConfig(ColumnFeatureConfig):
    """Several values of a set: genres, tags."""

    type: Literal["categories"]
    separator: str | None = Field(default=None, min_length=1)
    """For text cells; list columns need none."""
    hierarchical: bool = False
    """Cells are paths, such as `Home > Kitchen > Pans` with the separator `>`: each beginning of a
    path is a value. Blanks around the separator are ignored. A list is a path, too, where there is
    no separator."""
    min_count: int = Field(default=1, ge=1)
    """Values that are rarer than this in training share the OOV row."""
    num_oov: int = Field(default=1, ge=1)
    """Rows for values that training never saw."""
    max_values: int = Field(default=16, ge=1)
    """Values of a row beyond this number are left out."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Left out: grows with the number of values, at most the tower's embedding_dim."""


class NumberConfig(ColumnFeatureConfig):
    """A number, standardised; missing values get a flag of their own."""

    type: Literal["number"]
    log: bool = False
    """Take log(1 + x) first: for prices and counts. Values must then be at least 0."""
    num_bins: int = Field(default=0, ge=0)
    """Also embed the quantile bin that the value falls into; 0: no bins."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers in text, where the other sign, blanks or apostrophes group
    thousands. Signs and codes of currencies beside a number are ignored: `€16.02`, `35.73 EUR`."""


TimeUnit = Literal["s", "ms", "us", "ns", "excel"]


class TimestampConfig(ColumnFeatureConfig):
    """A point in time as cycles (hour of day, day of week, day of year) and as an age."""

    type: Literal["timestamp"]
    format: str | None = None
    """How times are written, in strptime's codes, such as `"%d/%m/%Y"`. Default: recognised when
    the feature is fitted, as for `data.time_format`, and kept from then on. Later files and
    requests may send ISO 8601, too."""
    unit: TimeUnit | None = None
    """Unit of times that are numbers, as for `data.time_unit`. Default: recognised when the feature
    is fitted, and kept from then on."""


class TextConfig(ColumnFeatureConfig):
    """Free text: a title, a plot, a description."""

    type: Literal["text"]
    encoder: str = Field(default="bag", min_length=1)
    """`bag`: hashed words and word n-grams, their vectors learned with the towers. Anything else
    is a sentence-transformers model, a folder or a name, which stays as it is (needs
    `pip install 'twotower[text]'`)."""
    num_buckets: int = Field(default=32_768, ge=1, le=2**31 - 2)
    """`bag`: what words and n-grams are hashed into; the table has a row for each that training
    knows."""
    ngrams: int = Field(default=2, ge=1, le=5)
    """`bag`: runs of up to this many words are terms, too."""
    max_terms: int = Field(default=512, ge=1)
    """`bag`: a text's further different terms are left out."""
    min_count: int = Field(default=2, ge=1)
    """`bag`: terms that fewer training texts hold are left out."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Left out: the tower's embedding_dim."""


class ImageConfig(ColumnFeatureConfig):
    """A picture: a path, a file:// URL or the bytes of an image file. Web addresses are refused;
    pictures that cannot be read count as missing, and are told."""

    type: Literal["image"]
    encoder: str = Field(default="cnn", min_length=1)
    """`cnn`: a small convolutional net, learned with the towers. Anything else is a vision model of
    transformers, a folder or a name, which stays as it is (needs
    `pip install 'twotower[image]'`)."""
    size: int = Field(default=32, ge=8, le=256)
    """`cnn`: pictures are scaled to size x size pixels."""
    folder: str | None = None
    """Where relative paths start. Left out: the folder of the side's file; without a config file,
    the working folder."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Left out: the tower's embedding_dim."""


class VectorConfig(ColumnFeatureConfig):
    """A vector of numbers that another program made, the same length in each row: a list column,
    or a .npy file."""

    type: Literal["vector"]
    file: str | None = None
    """A .npy file (rows, numbers) with a row for each row of the users or items file, in its order.
    Left out: the column is read from the table itself."""
    dim: int | None = Field(default=None, ge=1)
    """The length that vectors must have; left out, that of the first."""
    normalize: bool = False
    """Scale each vector to length 1."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Left out: the tower's embedding_dim."""


class HistoryConfig(Section):
    """`[features.user.history]`: the user's last interactions, read by the query tower. Their items
    are what the item tower makes of them, so that items new to training work there, too.

    Where the interactions have times, training predicts each one from those before it. Where they
    have none, a history is a set: its order is drawn anew in each epoch."""

    type: Literal["history"]
    encoder: HistoryEncoderName = "transformer"
    """`mean`: the mean of the items, weighted by age, times the root of their number; `attention`:
    beside it the last item asks for what fits it; `transformer`: causal self-attention."""
    max_length: int = Field(default=50, ge=2)
    """Places; one is the beginning, so that the newest `max_length - 1` events are read."""
    num_layers: int = Field(default=2, ge=1)
    """`transformer`: its layers."""
    num_heads: int = Field(default=2, ge=1)
    """`attention`, `transformer`: must divide the retriever's embedding_dim."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Of items and layers."""
    event_types: bool = True
    """Read the types of events, where the interactions have them."""
    ages: bool = True
    """Read how long before the newest event each one was, where there are times."""


FeatureConfig = Annotated[
    IdFeatureConfig
    | CategoryConfig
    | CategoriesConfig
    | NumberConfig
    | TimestampConfig
    | TextConfig
    | ImageConfig
    | VectorConfig,
    Field(discriminator="type"),
]
ContextFeatureConfig = Annotated[
    CategoryConfig
    | CategoriesConfig
    | NumberConfig
    | TimestampConfig
    | TextConfig
    | ImageConfig
    | VectorConfig,
    Field(discriminator="type"),
]


class FeaturesConfig(Section):
    """`[features.user.NAME]`, `[features.item.NAME]`, `[features.context.NAME]`.

    User features are read from the users file, item features from the items file, context features
    from the interactions (and sent with each request).
    """

    user: dict[str, Annotated[FeatureConfig | HistoryConfig, Field(discriminator="type")]] = Field(
        default_factory=dict
    )
    item: dict[str, FeatureConfig] = Field(default_factory=dict)
    context: dict[str, ContextFeatureConfig] = Field(default_factory=dict)

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
        for name, context in self.context.items():
            if isinstance(context, VectorConfig) and context.file is not None:
                raise ValueError(
                    f"features.context.{name}: 'file' is for users and items; a request sends its "
                    "context's vectors as lists"
                )
        if not self.enabled("item"):
            raise ValueError("the item tower has no feature: enable features.item.id or add one")
        if not (self.enabled("user") or self.context or self.history):
            raise ValueError("the query tower has no feature: enable features.user.id or add one")
        return self

    @property
    def history(self) -> HistoryConfig | None:
        """The declaration of the history, None without one."""
        found = self.user.get("history")
        return found if isinstance(found, HistoryConfig) else None

    def enabled(self, side: Literal["user", "item", "context"]) -> dict[str, Any]:
        """The features of a side that are in use, in the order of the config, the id first; the
        history, which is read from the interactions, is not among them."""
        features: Mapping[str, Any] = getattr(self, side)
        return {
            name: feature
            for name, feature in sorted(features.items(), key=lambda entry: entry[0] != "id")
            if feature.type != "history" and (feature.type != "id" or feature.enabled)
        }


FEATURE_MODELS: dict[str, type[Section]] = {
    "id": IdFeatureConfig,
    "category": CategoryConfig,
    "categories": CategoriesConfig,
    "number": NumberConfig,
    "timestamp": TimestampConfig,
    "text": TextConfig,
    "image": ImageConfig,
    "vector": VectorConfig,
    "history": HistoryConfig,
}
"""The type that a declaration names -> its model."""
