"""The sections of a `twotower.toml` but for `[features]`, and the whole of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from twotower.config.compare import CompareConfig
from twotower.config.features import FeaturesConfig, TimeUnit
from twotower.config.ranker import RankerConfig
from twotower.config.section import Section

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
    users_key: str | None = None
    """The column of ids in the users file, where its name differs from `user_id`."""
    items_key: str | None = None
    """The column of ids in the items file, where its name differs from `item_id`."""

    @property
    def interactions(self) -> dict[str, str | None]:
        """Our columns of the interactions -> their names there."""
        return self.model_dump(exclude={"users_key", "items_key"})

    def entity_key(self, table: Literal["users", "items"]) -> str:
        """The name of the column of ids in the users or the items file."""
        if table == "users":
            return self.users_key or self.user_id
        return self.items_key or self.item_id


class PositiveConfig(Section):
    """`[data.positive]`: which rows count as "this user likes this item". Rows with a weight of 0
    or below are dislikes and are never positives."""

    min_weight: float | None = Field(default=None, gt=0)
    """Rows with a smaller weight are not positives. Default: every row with a weight above 0 is."""
    event_types: tuple[str, ...] | None = None
    """Only rows of these event types are positives. Default: all types."""
    event_weights: dict[str, float] = Field(default_factory=dict)
    """The weight of a row by its event type, such as `{click = 1, cart = 3, buy = 5}`; it takes
    the place of the weight column. A type with a weight of 0 or below is a dislike. Types that are
    not listed have the weight 1."""
    dislikes: Literal["leave_out", "negatives"] = "leave_out"
    """Rows that are not positives because of their weight, those below `min_weight` included:
    `leave_out` ignores them; `negatives` gives them to the ranker as explicit negatives."""


TableName = Literal["interactions", "users", "items", "test", "validation"]


class FormatConfig(Section):
    """`[data.format.TABLE]`: how a text file is written, where TABLE is `interactions`, `users`,
    `items`, `test` or `validation`. Keys that are not set are recognised from the beginning of the
    file."""

    kind: Literal["csv", "jsonl", "parquet"] | None = None
    """Default: from the content, then from the ending of the file's name."""
    separator: str | None = Field(default=None, pattern=r'^[^"\r\n]{1,8}$')
    """Between the cells of a CSV file, such as `","`, `"\\t"` or `"::"`; `" "` is any run of
    blanks."""
    encoding: str | None = None
    """Such as `utf-8`, `latin-1` or `utf-16`."""
    header: bool | None = None
    """Whether the first line names the columns."""
    column_names: tuple[str, ...] | None = None
    """The names of the columns, in order, for a file without a header, or in place of its own."""
    skip_lines: int | None = Field(default=None, ge=0)
    """Lines before the table, which are not read."""
    quotes: bool | None = None
    """Whether `"` encloses a cell; false reads it as a character of the text."""

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
    """`[data.format]`: a section for each text file that is not written as usual."""

    interactions: FormatConfig = FormatConfig()
    """Of `data.interactions`."""
    users: FormatConfig = FormatConfig()
    """Of `data.users`."""
    items: FormatConfig = FormatConfig()
    """Of `data.items`."""
    test: FormatConfig = FormatConfig()
    """Of `data.split.test`. Default: as the interactions."""
    validation: FormatConfig = FormatConfig()
    """Of `data.split.validation`. Default: as the interactions."""


SplitMethod = Literal["global_time", "last_out", "random", "given"]


class SplitConfig(Section):
    """`[data.split]`: how the test and the validation part are cut from the interactions."""

    method: SplitMethod | None = None
    """Default: `given` where `test` is set, else `global_time` where there are times, else
    `random`. `last_out` tests all rows of each user's last time, and validates on those of the time
    before it."""
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
    """CSV, TSV, JSON Lines or Parquet, also packed by gzip or zstd, a folder of such files (folders
    in it named `day=2024-05-01` give a column), or `sqlite:///file#table`,
    `postgresql://host/db#table`."""
    users: str | None = None
    """A table with a row a user; optional."""
    items: str | None = None
    """A table with a row an item; optional."""
    users_from_interactions: tuple[str, ...] = ()
    """Columns of the interactions that describe the user, such as `["age", "country"]`, in place of
    a users file: user features read them. A user's value is the first one in the order of time."""
    items_from_interactions: tuple[str, ...] = ()
    """Columns of the interactions that describe the item, such as `["title", "category"]`, in place
    of an items file: item features read them. The catalogue is then the items of the training
    rows."""
    exported: str | None = None
    """The folder that `twotower export-events` fills: events, items put at run time, and forgotten
    users. Its rows are added to those of the tables above, an item's take the place of the items
    file's, and forgotten users are left out. It does not exist before the first export."""
    exclude_users: str | None = None
    """A table with a column `user_id`, may be without rows: whatever the other tables have of these
    users is left out before anything is learned. Such as `sqlite:///events.db#twotower_forgotten`,
    the users whom the service was asked to forget."""
    separator: str | None = Field(default=None, pattern=r'^[^"\r\n]{1,8}$')
    """Separator of all CSV files whose `[data.format.TABLE]` has none. Default: recognised."""
    time_format: str | None = None
    """How the times of the interactions are written, in strptime's codes, such as `"%d/%m/%Y"` for
    text or `"%Y"` for years. Default: ISO 8601, numbers and numbers such as 20240501 are
    recognised, and so are other dates where one reading fits all rows."""
    time_unit: TimeUnit | None = None
    """Unit of times that are numbers: `s`, `ms`, `us` and `ns` since 1970, or `excel`, days as
    spreadsheets count them. Default: recognised, one for the whole column."""
    missing_ids: Literal["refuse", "leave_out"] = "refuse"
    """Rows of the interactions without a user or without an item: an error, or left out with a
    note."""
    duplicates: Literal["max", "sum", "count", "last"] = "max"
    """Rows of the same user, item and time (without times: of the same user and item) become one,
    whatever their order in the file. Its weight is the largest (`max`), the sum (`sum`) or the
    number of rows (`count`), and decides whether the row is a positive. `last` keeps only the
    newest row of each user and item, and needs times. Event type and context are those of the row
    with the largest weight."""
    format: FormatsConfig = FormatsConfig()
    """A section of its own, below; so are the next three."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which column is which."""
    positive: PositiveConfig = PositiveConfig()
    """Which rows are learned from."""
    split: SplitConfig = SplitConfig()
    """How the parts are cut."""

    @model_validator(mode="after")
    def _one_source_of_entities(self) -> DataConfig:
        for table in ("users", "items"):
            if getattr(self, table) is not None and getattr(self, f"{table}_from_interactions"):
                raise ValueError(
                    f"'{table}_from_interactions' takes the place of '{table}': set one of them"
                )
        return self

    def format_of(self, table: TableName) -> FormatConfig:
        """How the text file of a table is written, with `separator` where its own has none."""
        declared: FormatConfig = getattr(self.format, table)
        if table in ("test", "validation") and declared == FormatConfig():
            declared = self.format.interactions
        if declared.separator is not None or self.separator is None:
            return declared
        return declared.model_copy(update={"separator": self.separator})


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
    item_bias: bool | Literal["auto"] = "auto"
    """Make the last of the D coordinates the item's bias: it is 1 in every query vector, and the id
    embedding's is added to the score. The other coordinates tell taste. `auto`: where the
    item tower reads ids alone."""
    cold_tower: bool = True
    """Give items whose id training never saw a tower of their own, over features alone, where the
    item tower reads an id and other features. It is trained beside the towers, and they learn
    nothing from it. False: the id of such items is the OOV row, which id dropout trains."""
    cold_offset: float | Literal["auto"] = "auto"
    """Added to the scores of items with a vector from `cold_tower`: more shows more of them beside
    the others. `auto`: a tenth of the items is kept from the cold tower, and the offset is the
    largest one that costs at most `cold_cost`; 0 without a validation part."""
    cold_cost: float = Field(default=0.02, ge=0, lt=1)
    """By what share ndcg@k of the items that training saw may fall for showing new ones beside
    them: the slots of a list are shared."""
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
    negative_weight: Annotated[float, Field(ge=1)] | Literal["auto"] = "auto"
    """Softmax losses: how much the negative side weighs against the positive; 1 is the plain
    softmax. `auto`: 1.15 where a query has all of its user's items as targets, 1 where it has a
    single one: beside a history or a context feature, and in the batch."""
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
    average_steps: int = Field(default=0, ge=0)
    """The weights that are measured and kept are a running mean over about so many steps, which
    costs a pass over all tables at each; 0: those of the last step."""
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
    candidates: Literal["all", "cold", "warm"] = "all"
    """`cold` ranks among the items that are in the test part and not in training, `warm` among
    those that training saw."""


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
    """A whole `twotower.toml`.

    >>> config = tt.Config.model_validate(
    ...     {"data": {"interactions": "interactions.parquet"}, "training": {"epochs": 5}}
    ... )
    >>> config.training.epochs, config.evaluation.k
    (5, 20)
    """

    data: DataConfig
    features: FeaturesConfig = Field(default_factory=lambda: FeaturesConfig.model_validate({}))
    retriever: RetrieverConfig = RetrieverConfig()
    ranker: RankerConfig | None = None
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    compare: CompareConfig = CompareConfig()

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        history, dim = self.features.history, self.retriever.embedding_dim
        if history is not None and history.encoder != "mean" and dim % history.num_heads:
            raise ValueError(
                f"features.user.history.num_heads = {history.num_heads} must divide "
                f"retriever.embedding_dim = {dim}"
            )
        return self
