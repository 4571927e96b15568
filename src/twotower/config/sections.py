"""The sections of a `twotower.toml` that have no file of their own, and the whole config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from twotower.config.compare import CompareConfig
from twotower.config.features import FeaturesConfig, TimeUnit
from twotower.config.index import IndexConfig
from twotower.config.presets import PRESETS, fill_retriever
from twotower.config.ranker import RankerConfig
from twotower.config.registries import LossName, TowerName
from twotower.config.renamed import rename
from twotower.config.section import Section
from twotower.config.tune import TuneConfig
from twotower.errors import unknown

# --- [data] ---------------------------------------------------------------------------------


class ColumnsConfig(Section):
    """`[data.columns]`: our name = your column's name, only where the two differ. A name applies to
    every table that has the column."""

    user_id: str = "user_id"
    """Column of user ids in the interactions and in the users file."""
    item_id: str = "item_id"
    """Column of item ids in the interactions and in the items file."""
    timestamp: str | None = None
    """Column of times in the interactions. Default: `timestamp`, if the column exists."""
    weight: str | None = None
    """Column of weights (ratings, quantities, play counts) in the interactions. Default: `weight`,
    if the column exists. Models learn from a weight w above 10 as from 10 (1 + ln(w / 10))."""
    event_type: str | None = None
    """Column of event types in the interactions. Default: `event_type`, if the column exists."""
    users_key: str | None = None
    """Id column of the users file. Default: the same as `user_id`."""
    items_key: str | None = None
    """Id column of the items file. Default: the same as `item_id`."""

    @property
    def interactions(self) -> dict[str, str | None]:
        """Our names of the columns of the interactions -> their names in the table."""
        return self.model_dump(exclude={"users_key", "items_key"})

    def entity_key(self, table: Literal["users", "items"]) -> str:
        """The id column of the users or the items file."""
        if table == "users":
            return self.users_key or self.user_id
        return self.items_key or self.item_id


class PositiveConfig(Section):
    """`[data.positive]`: which interactions are positives. Rows with a weight of 0 or below are
    dislikes and never positives."""

    min_weight: float | None = Field(default=None, gt=0)
    """Smallest weight of a positive, such as 4 for ratings up to 5. Default: any weight above 0."""
    event_types: tuple[str, ...] | None = None
    """Event types that are positives. Default: all types."""
    event_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each event type, such as `{click = 1, cart = 3, buy = 5}`. It replaces the weight
    column. A type with a weight of 0 or below is a dislike; types that are not listed weigh 1."""
    negative_event_types: tuple[str, ...] = ()
    """Event types that are dislikes whatever their weight, such as `["dislike", "hide"]`. They need
    not occur in the interactions. The service does not recommend items that the user disliked."""
    dislikes: Literal["leave_out", "negatives"] = "leave_out"
    """How to use rows whose weight is too low for a positive, including those below `min_weight`:
    `leave_out` ignores them, `negatives` trains the ranker on them as explicit negatives."""

    @model_validator(mode="after")
    def _dislikes_are_not_positives(self) -> PositiveConfig:
        for name in self.negative_event_types:
            if name in (self.event_types or ()) or self.event_weights.get(name, 0) > 0:
                raise ValueError(
                    f"the event type {name!r} is in negative_event_types, and it is a positive "
                    "according to event_types or event_weights"
                )
        return self


TableName = Literal["interactions", "users", "items", "test", "validation"]


class FormatConfig(Section):
    """`[data.format.TABLE]`: the format of a text file, where TABLE is `interactions`, `users`,
    `items`, `test` or `validation`. Every key that is not set is detected from the beginning of the
    file."""

    kind: Literal["csv", "jsonl", "parquet"] | None = None
    """File format. Default: detected from the content, then from the file name."""
    separator: str | None = Field(default=None, pattern=r'^[^"\r\n]{1,8}$')
    """Separator of a CSV file, such as `","`, `"\\t"` or `"::"`; `" "` means any run of blanks.
    Default: detected."""
    encoding: str | None = None
    """Text encoding, such as `utf-8`, `latin-1` or `utf-16`. Default: detected."""
    header: bool | None = None
    """Whether the first line holds the column names. Default: true; a file that seems to have no
    header is refused."""
    column_names: tuple[str, ...] | None = None
    """Column names in order, for a file without a header or to override its header."""
    skip_lines: int | None = Field(default=None, ge=0)
    """Number of lines to skip before the table. Default: detected."""
    quotes: bool | None = None
    """Whether `"` encloses cells; false reads it as an ordinary character. Default: detected."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str | None) -> str | None:
        try:
            "a".encode(encoding or "utf-8")
        except LookupError:
            raise ValueError(
                "must be an encoding that Python knows, such as 'utf-8', 'latin-1' or 'shift_jis'"
            ) from None
        return encoding


class FormatsConfig(Section):
    """`[data.format]`: one section per text file whose format is not detected correctly."""

    interactions: FormatConfig = FormatConfig()
    """Format of `data.interactions`."""
    users: FormatConfig = FormatConfig()
    """Format of `data.users`."""
    items: FormatConfig = FormatConfig()
    """Format of `data.items`."""
    test: FormatConfig = FormatConfig()
    """Format of `data.split.test`. Default: the same as the interactions."""
    validation: FormatConfig = FormatConfig()
    """Format of `data.split.validation`. Default: the same as the interactions."""


SplitMethod = Literal["global_time", "last_out", "random", "given"]


class SplitConfig(Section):
    """`[data.split]`: how the interactions are split into training, validation and test parts."""

    method: SplitMethod | None = None
    """`global_time` tests on the newest rows, `last_out` on all rows at each user's last timestamp
    (and validates on those at the timestamp before), `random` on a random part of each user's rows,
    `given` on files of your own. Default: `given` if `test` is set, else `global_time` if there are
    timestamps, else `random`."""
    test: str | None = None
    """`given`: the file of the test part."""
    validation: str | None = None
    """`given`: the file of the validation part. Default: split off from the training part."""
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of all rows (`global_time`) or of each user's rows (`random`) in the test part."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the remaining rows in the validation part; 0 for none. Without a validation part
    there is no early stopping."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the split."""

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
    """`[data]`: where the tables are and how to read them."""

    interactions: str
    """The interactions: a CSV, TSV, JSON Lines or Parquet file (also gzip or zstd), a folder of
    such files (subfolders named `day=2024-05-01` add a column), a folder that is a Delta or Iceberg
    table, or `sqlite:///file#table`, `postgresql://host/db#table`, `delta:///folder#version`,
    `iceberg://catalog/namespace.table`."""
    users: str | None = None
    """Table with one row per user. Default: none."""
    items: str | None = None
    """Table with one row per item. Default: none."""
    users_from_interactions: tuple[str, ...] = ()
    """Columns of the interactions that describe the user, such as `["age", "country"]`, for user
    features without a users file. Each user gets the earliest value."""
    items_from_interactions: tuple[str, ...] = ()
    """Columns of the interactions that describe the item, such as `["title", "category"]`, for item
    features without an items file. The catalogue then consists of the items in the training
    part."""
    exported: str | None = None
    """Folder that `twotower export-events` writes to: events, items added or changed at run time,
    and forgotten users. Training adds the events to the interactions, lets exported items replace
    rows of the items file and exported changes replace single values, and removes forgotten users.
    The folder may not exist yet."""
    exclude_users: str | None = None
    """Table with a column `user_id` (may be empty): all data of these users is removed before
    training. For example `sqlite:///events.db#twotower_forgotten`, the users whom the service was
    asked to forget. Default: none."""
    separator: str | None = Field(default=None, pattern=r'^[^"\r\n]{1,8}$')
    """Separator of all CSV files that have none in `[data.format.TABLE]`. Default: detected."""
    time_format: str | None = None
    """Format of the timestamps as a strptime pattern, such as `"%d/%m/%Y"` for text or `"%Y"` for
    years. Set it when day and month are ambiguous. Default: detected if exactly one reading fits
    every row."""
    time_unit: TimeUnit | None = None
    """Unit of numeric timestamps: `s`, `ms`, `us` or `ns` since 1970, or `excel` for spreadsheet
    day numbers. Default: detected, one unit for the whole column."""
    missing_ids: Literal["refuse", "leave_out"] = "refuse"
    """Interactions without a user or an item: `refuse` reports an error, `leave_out` skips them
    with a note."""
    duplicates: Literal["max", "sum", "count", "last"] = "max"
    """How to merge rows with the same user, item and time (without timestamps: the same user and
    item). The merged weight is the largest (`max`), the sum (`sum`) or the number of rows
    (`count`), and decides whether the row is a positive. `last` keeps only the newest row of each
    user and item and needs timestamps. Event type and context come from the row with the largest
    weight."""
    max_rows_in_memory: int = Field(default=20_000_000, ge=0)
    """`train` reads a log with more rows than this in pieces, and keeps it in mapped files in the
    run's folder until the log changes. In memory, 20 million rows take about 4 GB."""
    format: FormatsConfig = FormatsConfig()
    """Subsection, see below."""
    columns: ColumnsConfig = ColumnsConfig()
    """Subsection, see below."""
    positive: PositiveConfig = PositiveConfig()
    """Subsection, see below."""
    split: SplitConfig = SplitConfig()
    """Subsection, see below."""

    @model_validator(mode="after")
    def _one_source_of_entities(self) -> DataConfig:
        for table in ("users", "items"):
            if getattr(self, table) is not None and getattr(self, f"{table}_from_interactions"):
                raise ValueError(
                    f"'{table}_from_interactions' takes the place of '{table}': set one of them"
                )
        return self

    def format_of(self, table: TableName) -> FormatConfig:
        """The format of a table's text file; `separator` fills in where it has none of its own."""
        declared: FormatConfig = getattr(self.format, table)
        if table in ("test", "validation") and declared == FormatConfig():
            declared = self.format.interactions
        if declared.separator is not None or self.separator is None:
            return declared
        return declared.model_copy(update={"separator": self.separator})


# --- [retriever] ----------------------------------------------------------------------------


class RetrieverConfig(Section):
    """`[retriever]`: the two towers and the loss that trains them.

    >>> tt.RetrieverConfig(embedding_dim=32, hidden=(64,)).dropout
    0.1
    """

    preset: str | None = None
    """Named set of values for this and other sections, see "Presets". It fills in the keys that the
    config file does not set. Default: none, which is the same as `two_tower`."""
    embedding_dim: int = Field(default=64, ge=1)
    """D: dimension of the id embeddings and of the query and item vectors. Larger values can fit
    more data, but cost memory and time."""
    table_precision: Literal["fp32", "bf16"] = "fp32"
    """Numeric precision in which the id embeddings are kept, in memory and in files. `bf16` takes
    half the memory, and so does Adam's state of them; steps are rounded at random, so that small
    ones are not lost. docs/experiments.md compares the quality."""
    query_tower: TowerName = "mlp"
    """The tower of users, histories and context: `mlp`, or one that a plug-in registers."""
    item_tower: TowerName = "mlp"
    """The tower of items, chosen in the same way."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | Literal["auto"] = "auto"
    """Widths of the hidden layers of each tower; an empty list makes the towers linear. `auto`: no
    hidden layer in a tower that reads an id only, else one layer of width 2 D."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "gelu"
    """Activation after each hidden layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate of the hidden layers. Increase it if validation ndcg falls early."""
    normalize: bool = True
    """L2-normalise the vectors, so that scores are cosines. false: plain inner products, which need
    a higher temperature."""
    item_bias: bool | Literal["auto"] = "auto"
    """Use the last of the D coordinates as an item bias: it is 1 in every query vector, so the
    item's value is added to the score. It is learned by the id embedding only. `auto`: on if the
    item tower reads ids only."""
    cold_tower: bool = True
    """Encode items that were not in the training part with a separate tower that reads features
    only. It applies if the item tower reads an id and other features, and does not affect the
    training of the other towers. false: such items go through the item tower with the OOV row as
    their id."""
    cold_offset: float | Literal["auto"] = "auto"
    """Added to the scores of items encoded by the cold tower: a higher offset recommends more new
    items. `auto`: the largest within `cold_cost`, of a blend one for each kind of users; for this a
    tenth of the items is not learned by the cold tower. 0 without a validation part."""
    cold_cost: float = Field(default=0.02, ge=0, lt=1)
    """Maximum relative loss of ndcg@k on warm items that is accepted for recommending new items.
    Raise it to show more new items. It holds for as many new items as the catalogue has, at least a
    tenth of the warm ones."""
    blend: bool = True
    """Blend the scores of the towers with those of item neighbours (item-kNN or EASE) and with
    popularity, all-time or recent. Validation chooses the weights, so that the result is no worse
    there than any of them alone. It needs a validation part. false: the towers alone."""
    temperature: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Scores are divided by the temperature before the loss. Lower values emphasise the hardest
    negatives, higher ones keep a model of few rows closer to the popular items; try 0.05 to 0.4.
    `auto`: 0.1 for 600,000 training rows and more, 0.2 for 37,000, 0.3 for 7,400, and in between
    in proportion to the fourth root; at most 0.4."""
    learn_temperature: bool = False
    """Learn the temperature during training."""
    smoothing_layers: int = Field(default=2, ge=0)
    """Number of graph layers (as in LightGCN) that smooth the id embeddings over the user-item
    graph during training, folded into the embedding tables afterwards. It applies if both towers
    read ids and there is no history. 0: none."""
    smoothing_every: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of steps between two smoothings, each of which reads all interactions. 1: each step
    learns through smoothed embeddings; beyond, what the steps have changed is smoothed. `auto`: 1
    up to 48 steps per epoch, else a sixteenth of an epoch."""
    loss: LossName = "softmax"
    """Training loss: `softmax`, `sampled_softmax`, `in_batch_softmax`, `bsl`, `bpr`, `bce`, or one
    that a plug-in registers. `softmax` runs over the whole catalogue up to `max_full_softmax` items
    and falls back to `sampled_softmax` beyond."""
    negative_weight: Annotated[float, Field(ge=1)] | Literal["auto"] = "auto"
    """Softmax losses: weight of the negatives relative to the positive; 1 is the plain softmax.
    `auto`: 1.15 if a query has all items of its user as targets, 1 if it has a single target
    (histories, context features, in-batch negatives)."""
    max_full_softmax: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Largest number of items for the exact `softmax`. Lower it if a training step is too slow.
    `auto`: 100,000, or 10,000 with a history, where each event is a query of its own; without
    history and context features also fewer, where the exact softmax would compute more than 5,000
    scores for each training row, as it does with many items and few rows of each user."""
    num_negatives: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """`sampled_softmax`, `bsl`, mixed negatives: number of sampled items shared by a batch. `auto`:
    4096, or 1024 with a history; where `softmax` falls back to sampling, at most an eighth of the
    items."""
    negatives_per_pair: int = Field(default=4, ge=1)
    """`bpr`, `bce`: number of negatives per positive."""
    negative_sampler: Literal["uniform", "popularity"] = "uniform"
    """Distribution of the sampled negatives."""
    mixed_negatives: bool = False
    """`in_batch_softmax`: add `num_negatives` sampled items to those of the batch. Recommended for
    small batches."""
    logq_correction: bool = True
    """Subtract log q from the score of each sampled candidate, where q is its expected count in the
    sample. Without it, popular items are ranked too low."""
    positive_temperature: float = Field(default=1.2, gt=0)
    """`bsl`: temperature of the positive side as a multiple of `temperature`."""

    @model_validator(mode="before")
    @classmethod
    def _takes_values_of_preset(cls, data: Any) -> Any:
        return fill_retriever(data) if isinstance(data, Mapping) else data

    @field_validator("preset")
    @classmethod
    def _preset_exists(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(unknown(f"there is no preset {preset!r}", preset, PRESETS))
        return preset


# --- [training], [evaluation], [index] --------------------------------------------------------


class TrainingConfig(Section):
    """`[training]`: the training loop.

    >>> tt.TrainingConfig(epochs=5, patience=2).patience
    2
    """

    epochs: int = Field(default=100, ge=1)
    """Maximum number of epochs. Early stopping usually ends training sooner."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Queries per step: users with all their targets, or single pairs if the loss or a context
    feature requires pairs. `auto`: about a sixteenth of the users, from 64 to 1024, or 2048 pairs;
    if ids are smoothed, up to 24,576 users where that keeps an epoch to 48 steps."""
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Learning rate of the embedding tables. `auto`: 0.01, with `rowwise_adagrad` 0.1; if the
    towers read ids only and there are fewer than 600,000 training rows, higher as
    `retriever.temperature` is, at most three times as high."""
    table_optimizer: Literal["adam", "rowwise_adagrad"] = "adam"
    """Optimiser of the embedding tables. `adam` keeps two numbers for each weight, so that a table
    takes three times its size; `rowwise_adagrad` keeps one for each row: for tables that hardly fit
    into memory. Its quality is in docs/experiments.md."""
    layer_learning_rate: float = Field(default=0.001, gt=0)
    """Learning rate of all other weights (Adam)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of all weights except biases and temperatures. Embedding rows decay
    only when they are used."""
    average_steps: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Evaluate and keep a running mean of the weights over about this many steps, at the cost of
    one pass over all tables per step; 0: the weights of the last step. `auto`: 200 for towers that
    read a history and learn from sampled items, else 0."""
    patience: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of validations without an improvement of ndcg@k before training stops. `auto`: 5; of
    towers with fewer than 100,000 training rows, 3."""
    validate_every: int = Field(default=1, ge=1)
    """Number of epochs between validations."""
    refit: Literal["auto", "none", "train", "all"] = "auto"
    """Train again for the number of epochs chosen on validation: on training and validation rows
    (`train`) or on all rows (`all`), so that the deployed model includes the newest data. `auto`:
    `train` where the validation part is so much of what is known of users that a model without it
    is stale (an eighth of the training rows, as the last item of short sequences is) and there are
    at most a million training rows, else `none`."""
    device: str = "auto"
    """Device to train on: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numeric precision. `auto`: bf16 on GPUs that support it, else fp32."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the initial weights, batches, dropout and negatives."""


class EvaluationConfig(Section):
    """`[evaluation]`: how the model is evaluated.

    >>> tt.EvaluationConfig(k=10).mask_seen
    True
    """

    k: int = Field(default=20, ge=1)
    """Cut-off of the metrics. Early stopping watches ndcg@k on the validation part."""
    mask_seen: bool = True
    """Exclude the items that a user has already interacted with. Set it to false if users come back
    to the same items."""
    candidates: Literal["all", "cold", "warm"] = "all"
    """Items that are ranked: `all`, `cold` (in the test part but not in training) or `warm` (in
    training)."""


class Config(Section):
    """A whole `twotower.toml`, with its preset resolved: `parse_config` fills in a preset's values.
    Keys of the previous version are accepted, so that its bundles load.

    >>> config = tt.Config.model_validate(
    ...     {"data": {"interactions": "interactions.parquet"}, "training": {"epochs": 5}}
    ... )
    >>> config.training.epochs, config.evaluation.k
    (5, 20)
    """

    plugins: tuple[str, ...] = ()
    """Modules that register parts of your own, such as feature types: imported before the rest is
    checked. Python must find them: install their package, or put their folder on PYTHONPATH."""
    data: DataConfig
    features: FeaturesConfig = Field(default_factory=lambda: FeaturesConfig.model_validate({}))
    retriever: RetrieverConfig = RetrieverConfig()
    ranker: RankerConfig | None = None
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    compare: CompareConfig = CompareConfig()
    tune: TuneConfig = TuneConfig()

    @model_validator(mode="before")
    @classmethod
    def _accepts_old_keys(cls, data: Any) -> Any:
        return rename(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        history, dim = self.features.history, self.retriever.embedding_dim
        has_heads = history is not None and history.encoder in ("attention", "transformer")
        if history is not None and has_heads and dim % history.num_heads:
            raise ValueError(
                f"features.user.history.num_heads = {history.num_heads} must divide "
                f"retriever.embedding_dim = {dim}"
            )
        return self
