"""Everything that a `twotower.toml` can say, as frozen models; unknown keys are errors.

Relative paths in a config are relative to the config file. `load_config` makes them absolute.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twotower.errors import ConfigError, explain, nearest


class Section(BaseModel):
    """A table of the config file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# --- [data] ---------------------------------------------------------------------------------


class ColumnsConfig(Section):
    """`[data.columns]`: ours = theirs, in whichever table has it; only where names differ."""

    user_id: str = "user_id"
    """In the interactions and in the users file."""
    item_id: str = "item_id"
    """In the interactions and in the items file."""
    timestamp: str | None = None
    """Left out: the column `timestamp` is used where the interactions have one."""
    weight: str | None = None
    """Left out: the column `weight` is used where the interactions have one."""
    event_type: str | None = None
    """Left out: the column `event_type` is used where the interactions have one."""


class PositiveConfig(Section):
    """`[data.positive]`: which rows count as "this user likes this item"."""

    min_weight: float | None = None
    """Rows with a smaller weight are not learned from. Left out: every row is positive."""
    event_types: tuple[str, ...] | None = None
    """Only rows of these event types are learned from. Left out: all types."""


SplitMethod = Literal["global_time", "last_out", "random", "given"]


class SplitConfig(Section):
    """`[data.split]`: how the test and the validation part are cut from the interactions."""

    method: SplitMethod | None = None
    """Left out: `given` where `test` is set, else `global_time` where there are times, else
    `random`."""
    test: str | None = None
    """The file of the test part, for `given`."""
    validation: str | None = None
    """The file of the validation part, for `given`; left out: cut from the training part."""
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the rows (`global_time`) or of each user's rows (`random`) that is tested on."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The same for validation, of what is left after the test part; 0 makes none."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random cuts."""

    @model_validator(mode="after")
    def _given_needs_test(self) -> SplitConfig:
        if self.method == "given" and self.test is None:
            raise ValueError("method = 'given' needs 'test', the file of the test part")
        if self.method not in (None, "given") and (self.test or self.validation):
            raise ValueError(
                f"'test' and 'validation' name files for method = 'given', not for {self.method!r}"
            )
        return self


class DataConfig(Section):
    """`[data]`: the tables."""

    interactions: str
    """CSV, TSV, JSON Lines, Parquet, a folder of one of these, or `sqlite:///file#table`,
    `postgresql://host/db#table`."""
    users: str | None = None
    """A table with a row a user; optional."""
    items: str | None = None
    """A table with a row an item; optional."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """Separator of CSV files; left out: a comma, or a tab for .tsv."""
    columns: ColumnsConfig = ColumnsConfig()
    """A section of its own, below; so are the next two."""
    positive: PositiveConfig = PositiveConfig()
    """Which rows are learned from."""
    split: SplitConfig = SplitConfig()
    """How the parts are cut."""


# --- [features] -----------------------------------------------------------------------------


class IdFeatureConfig(Section):
    """`[features.user.id]`, `[features.item.id]`: the raw id as a feature. On by default."""

    type: Literal["id"] = "id"
    enabled: bool = True
    """False leaves ids out of the tower: it then knows features alone."""
    num_oov: int = Field(default=1, ge=1)
    """Rows for ids that training never saw."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of ids that are replaced by their OOV row in training, so that OOV rows are trained
    and features learn to stand in for the id. Left out: 0.1 in a tower that has other features,
    else 0."""


class ColumnFeatureConfig(Section):
    """A feature that is read from a column of the side's table."""

    column: str | None = None
    """The column's name in the table; left out: the feature's own name."""


class CategoryConfig(ColumnFeatureConfig):
    """One value of a set: a country, an occupation."""

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


class TimestampConfig(ColumnFeatureConfig):
    """A point in time as cycles (hour of day, day of week, day of year) and as an age."""

    type: Literal["timestamp"]


FeatureConfig = Annotated[
    IdFeatureConfig | CategoryConfig | CategoriesConfig | NumberConfig | TimestampConfig,
    Field(discriminator="type"),
]
ContextFeatureConfig = Annotated[
    CategoryConfig | CategoriesConfig | NumberConfig | TimestampConfig,
    Field(discriminator="type"),
]


class FeaturesConfig(Section):
    """`[features.user.NAME]`, `[features.item.NAME]`, `[features.context.NAME]`.

    User features are read from the users file, item features from the items file, context features
    from the interactions (and sent with each request).
    """

    user: dict[str, FeatureConfig] = Field(default_factory=dict)
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
        if not self.enabled("item"):
            raise ValueError("the item tower has no feature: enable features.item.id or add one")
        if not (self.enabled("user") or self.context):
            raise ValueError("the query tower has no feature: enable features.user.id or add one")
        return self

    def enabled(self, side: Literal["user", "item", "context"]) -> dict[str, Any]:
        """The features of a side that are in use, in the order of the config, the id first."""
        features: Mapping[str, Any] = getattr(self, side)
        return {
            name: feature
            for name, feature in sorted(features.items(), key=lambda entry: entry[0] != "id")
            if feature.type != "id" or feature.enabled
        }


# --- [retriever] ----------------------------------------------------------------------------

LossName = Literal["softmax", "in_batch_softmax", "sampled_softmax", "bsl", "bpr", "bce"]


class RetrieverConfig(Section):
    """`[retriever]`: the two towers and the loss that trains them."""

    embedding_dim: int = Field(default=64, ge=1)
    """D: the width of ids' embeddings and of the query and item vectors."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | Literal["auto"] = "auto"
    """Widths of the hidden layers of each tower's MLP. `auto`: none for a tower that has an id
    alone, else one layer of 2 D. An empty list is a linear tower."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "gelu"
    """After each hidden layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Applied to the hidden layers."""
    normalize: bool = True
    """L2-normalise the vectors, so that the score is a cosine divided by the temperature."""
    temperature: float = Field(default=0.1, gt=0)
    """The score is divided by it."""
    learn_temperature: bool = False
    """Train the temperature, too."""
    smoothing_layers: int = Field(default=2, ge=0)
    """Smooth the id embeddings over the user-item graph by this many layers while training (where
    both towers have ids); folded into the tables afterwards. 0: none."""
    loss: LossName = "softmax"
    """`softmax` is the exact one over the catalogue where it has at most `max_full_softmax` items,
    and `sampled_softmax` beyond."""
    negative_weight: float = Field(default=1.15, ge=1)
    """Softmax losses: how much the negative side weighs against the positive; 1 is the plain
    softmax."""
    max_full_softmax: int = Field(default=100_000, ge=1)
    """See `loss`."""
    num_negatives: int = Field(default=4096, ge=1)
    """Sampled items shared by a batch: `sampled_softmax`, `bsl`, mixed negatives."""
    negatives_per_pair: int = Field(default=4, ge=1)
    """Negatives of each positive, for `bpr` and `bce`."""
    negative_sampler: Literal["uniform", "popularity"] = "uniform"
    """How sampled items are drawn."""
    mixed_negatives: bool = False
    """Add `num_negatives` sampled items to the batch's own (`in_batch_softmax`)."""
    logq_correction: bool = True
    """Subtract log q of each sampled candidate, q being its expected count in the sample."""
    positive_temperature: float = Field(default=1.2, gt=0)
    """`bsl`: the temperature of the positive side, as a multiple of `temperature`."""


# --- [training], [evaluation], [index] --------------------------------------------------------


class TrainingConfig(Section):
    """`[training]`: the loop."""

    epochs: int = Field(default=100, ge=1)
    """At most; early stopping usually ends training sooner."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Queries a step: users with their targets, or single pairs where the loss or a context
    feature asks for pairs. `auto`: about a sixteenth of the users, from 64 to 1024, or 2048
    pairs."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Of Adam, for embedding tables."""
    layer_learning_rate: float = Field(default=0.001, gt=0)
    """Of Adam, for the layers of the towers and the like."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled, of all weights but biases and temperatures; of an embedding row when it is
    used."""
    patience: int = Field(default=5, ge=1)
    """Validations without a better ndcg@k before training stops."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations."""
    refit: Literal["none", "train", "all"] = "none"
    """Train again for the chosen number of epochs: on training and validation rows (`train`), or
    on all rows (`all`). What is deployed has then seen the newest data."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on GPUs that have it, else fp32."""
    seed: int = Field(default=0, ge=0)
    """Of initial weights, batches, dropout and negatives."""


class EvaluationConfig(Section):
    """`[evaluation]`: how the model is measured."""

    k: int = Field(default=20, ge=1)
    """Cut-off of the metrics; ndcg@k on validation decides when training stops."""
    mask_seen: bool = True
    """Leave out of a user's ranking what the user has already interacted with."""
    candidates: Literal["all", "cold"] = "all"
    """`cold` ranks among the items that are in the test part and not in training."""


class IndexConfig(Section):
    """`[index]`: the nearest-neighbour index over the item vectors."""

    kind: Literal["auto", "exact", "flat", "hnsw", "ivfpq"] = "auto"
    """`auto`: exact up to `max_exact` items, HNSW beyond."""
    max_exact: int = Field(default=100_000, ge=1)
    """See `kind`."""
    hnsw_m: int = Field(default=32, ge=2)
    """Neighbours of a node."""
    ef_construction: int = Field(default=200, ge=1)
    """`hnsw`: candidates kept while building."""
    ef_search: int = Field(default=64, ge=1)
    """`hnsw`: candidates kept while searching; more is slower and better."""
    num_lists: int | None = Field(default=None, ge=1)
    """`ivfpq`: left out, about 4 sqrt(N)."""
    num_probes: int = Field(default=16, ge=1)
    """`ivfpq`: lists that a search looks into."""
    pq_bytes: int = Field(default=32, ge=1)
    """`ivfpq`: bytes a vector; must divide embedding_dim."""


class Config(Section):
    """A whole `twotower.toml`."""

    data: DataConfig
    features: FeaturesConfig = Field(default_factory=lambda: FeaturesConfig.model_validate({}))
    retriever: RetrieverConfig = RetrieverConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()


# --- reading ----------------------------------------------------------------------------------


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file; `overrides` are `section.key=value` with TOML values.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value is not allowed.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            explain("no such config file", file=path, fix="`twotower init` writes one")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(explain(f"cannot be read: {error}", file=path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(explain(f"is not valid TOML: {error}", file=path)) from None
    for override in overrides:
        apply_override(document, override)
    config = parse_config(document, file=path)
    return config.model_copy(update={"data": absolute_paths(config.data, path.resolve().parent)})


def apply_override(document: dict[str, Any], override: str) -> None:
    """Put `section.key=value` into a document; a value that is not TOML is taken as text."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            explain(
                "--set takes section.key=value",
                value=override,
                fix="for example --set training.epochs=20",
            )
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    table = document
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(explain(f"--set {key}: {section!r} is a value, not a section"))
    table[last] = value


def parse_config(document: Mapping[str, Any], *, file: str | Path | None = None) -> Config:
    """A checked config from a parsed document.

    Raises:
        ConfigError: lists every problem, an unknown key with the nearest known one.
    """
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        problems = [_word(problem) for problem in error.errors()]
        raise ConfigError("\n".join(explain(text, file=file) for text in problems)) from None


def absolute_paths(data: DataConfig, base: Path) -> DataConfig:
    """The same section with its relative paths taken from `base`."""

    def absolute(source: str | None) -> str | None:
        if source is None:
            return source
        scheme, has_scheme, rest = source.partition(":///")
        if has_scheme and scheme == "sqlite":
            return f"sqlite:///{base / rest}"
        return source if "://" in source else str(base / source)

    split = data.split.model_copy(
        update={"test": absolute(data.split.test), "validation": absolute(data.split.validation)}
    )
    return data.model_copy(
        update={
            "interactions": absolute(data.interactions),
            "users": absolute(data.users),
            "items": absolute(data.items),
            "split": split,
        }
    )


def _word(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    if location[0:1] == ["features"] and len(location) > _TAG_PLACE:
        del location[_TAG_PLACE]  # pydantic names the branch of the union, the file does not
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(location[-1], _siblings(problem['loc']))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "union_tag_not_found":
        return f"{key} needs a 'type': {', '.join(sorted(_FEATURE_MODELS.keys() - {'id'}))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message} (found {problem['input']!r})" if key else message


def _siblings(location: Sequence[Any]) -> list[str]:
    """The keys that the section at `location[:-1]` knows."""
    if location[0] == "features" and len(location) > _TAG_PLACE:
        return list(_FEATURE_MODELS[location[_TAG_PLACE]].model_fields)
    model: type[BaseModel] = Config
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


_TAG_PLACE = 3
"""Where pydantic puts the union's tag: features, side, name, tag."""

_FEATURE_MODELS: dict[str, type[Section]] = {
    "id": IdFeatureConfig,
    "category": CategoryConfig,
    "categories": CategoriesConfig,
    "number": NumberConfig,
    "timestamp": TimestampConfig,
}
