"""What a feature type is: how a feature is declared, what it becomes once fitted, and the registry
that names all types.

A type is a subclass of `FeatureConfig`, registered with `register_feature`; its `fit` makes a
`Feature`. The rest of the package knows features by these two classes alone. Ours are the modules
of `twotower.features`, one a type; docs/extending.md shows how to add one.

Shapes: R rows, W width of an encoder, M terms of the longest row, T terms of all rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar, get_args

from twotower.config.section import Section
from twotower.registry import Registry, registering

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from numpy.typing import NDArray

Side = Literal["user", "item", "context"]
SIDES: tuple[Side, ...] = ("user", "item", "context")


class FeatureConfig(Section, ABC):
    """Base of `[features.SIDE.NAME]`: the keys of a feature type, and what can be done before it is
    fitted. A subclass narrows `type` to the type's name, `type: Literal["geo"]`.

    Only `fit` and `load` must be written. `twotower.register_feature` has an example.

    >>> declared = data.config.features.columns("item")["price"]
    >>> isinstance(declared, tt.FeatureConfig)
    True
    >>> declared.type, declared.log
    ('number', True)
    """

    column: str | None = None
    """Column of the table. Default: the name of the feature."""
    type: str

    meaning: ClassVar[str] = ""
    """What its encoder computes, in a sentence; shown in the studio."""
    suggestion: ClassVar[tuple[str, str] | None] = None
    """Why an item tower without such a feature could use one, and the TOML that adds it."""
    precedence: ClassVar[int] = 9
    """Where several features read one column, the one with the lowest decides how tables keep it
    and how values of requests are read."""

    @abstractmethod
    def fit(self, name: str, column: pl.Series) -> Feature:
        """Fit on the training part.

        Args:
            name: of the feature.
            column: (R,) the values of training; null where a value is missing, also for users and
                items without a row in their table.

        Raises:
            DataError: a value is not of this type.
        """

    @abstractmethod
    def load(self, name: str, saved: SavedFeature) -> Feature:
        """The feature that returned `saved` from its `save`."""

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        """Check that all values of a column are of this type.

        Args:
            column: the values.
            file: where they are from, for messages.
            rows: whether the column's rows are the file's, so that messages may name them.
            keys: what the names of the feature's keys begin with, for messages.

        Returns:
            The declaration, with what was recognised in the column, such as the unit of times.

        Raises:
            DataError: names file, row, column, the first wrong value and the fix.
        """
        return self

    def check_side(self, side: Side) -> None:
        """Check that the declaration is possible on a side.

        Raises:
            ValueError: it is not.
        """

    def with_paths(self, base: Path, folder: Path) -> Self:
        """The declaration with absolute paths.

        Args:
            base: folder of the config file.
            folder: that of the side's table.
        """
        return self

    @property
    def array_file(self) -> str | None:
        """The .npy file that holds the column, if it is not in the table."""
        return None

    @property
    def image_folder(self) -> Path | None:
        """Where relative paths start in a column of images; None for other columns."""
        return None

    def kept(self, column: pl.Series, *, file: str | None = None) -> pl.Series | None:
        """A column of single values as tables keep it; None: as it is.

        Raises:
            DataError: a value is not of this type.
        """
        return None

    def kept_as(
        self, column: pl.Series, dtype: pl.DataType, *, file: str | None = None
    ) -> pl.Series | None:
        """A column of a later file in the type of the kept column; None: as `kept`."""
        return None

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series | None:
        """Values of requests as the column `name`; None: in the type that Polars finds.

        Raises:
            DataError: a value is not of this type.
        """
        return None

    def to_cell(self, value: Any) -> Any:
        """A value of a request as the side's file has it."""
        return value

    def count(self, column: pl.Series) -> tuple[int, int]:
        """Rows of a column that have a value, and its distinct values."""
        there = column.drop_nulls()
        return len(there), there.n_unique()

    def notes(self, where: str, column: pl.Series) -> list[str]:
        """Sentences on a declaration that reads less of a column than it seems to.

        Args:
            where: the feature's section, such as `features.item.genres`.
            column: the whole column of the side's table.
        """
        return []

    def unusable(self, column: pl.Series, *, file: str | None = None) -> str | None:
        """A sentence on content that is not used, such as image files that cannot be read or the
        ends of long texts; slow, for `twotower check`."""
        return None

    @classmethod
    def guess(cls, column: pl.Series) -> tuple[FeatureConfig, str] | None:
        """What `twotower init` writes for a column of this type, and why; None for other columns.

        Asked of types from plug-ins. Ours compete for a column: `workflow/setup/init` decides.
        """
        return None


@dataclass(frozen=True)
class SavedFeature:
    """What is kept of a fitted feature on disk.

    Attributes:
        state: JSON values.
        arrays: by an identifier, which becomes part of the file's name.
        values: of a vocabulary, integers or text.

    >>> list(data.schema.columns("item")["price"].save().state)
    ['mean', 'deviation', 'edges', 'has_missing']
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: pl.Series | None = None


@dataclass(frozen=True)
class FeatureDescription:
    """What forms and pages show of a fitted feature.

    Attributes:
        values: known values, which a form offers.
        usual_range: a low, a middle and a high number.
        facts: further rows of a table: name -> value.

    >>> data.schema.columns("user")["region"].describe().facts["OOV rows"]
    1
    """

    values: pl.Series | None = None
    usual_range: tuple[float, float, float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Lists(Protocol):
    """Term nums of R rows of any length, one row after the other, as
    `twotower.data.arrays.ragged.Ragged` holds them."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(R + 1,) where each row starts in `values`."""
        ...

    @property
    def values(self) -> NDArray[np.int32]:
        """(T,)."""
        ...


@dataclass(frozen=True)
class Feature(ABC):
    """A feature as fitted on the training part: it turns a column into an array, the same way in
    training and in serving.

    `encode` never fails on a value that training did not see. It fails on a value that is not of
    the declared type, and names row and value.

    A subclass is a frozen data class, too. It must have `encode` and `make_encoder`.

    Attributes:
        name: of the feature.
        config: its declaration.

    >>> price = data.schema.columns("item")["price"]
    >>> price.encode(items["price"]).shape == (len(items), 2)
    True
    """

    name: str
    config: FeatureConfig

    @property
    def column(self) -> str:
        """The column it reads."""
        return self.config.column or self.name

    @property
    def type(self) -> str:
        """The name of its type."""
        return self.config.type

    @property
    def meaning(self) -> str:
        """What its encoder computes, in a sentence."""
        return self.config.meaning

    @abstractmethod
    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[Any] | Lists:
        """A column (R,) to an array whose first dimension is R, or to lists of R rows; a null is a
        missing value.

        Args:
            column: the values.
            file: where they are from, for messages.

        Raises:
            DataError: a value is not of the feature's type.
        """

    @abstractmethod
    def make_encoder(
        self, embedding_dim: int, generator: torch.Generator | None
    ) -> torch.nn.Module:
        """A `FeatureEncoder`: what `encode` gives, as a tensor (R, ...) or as `RaggedTensor`, to
        vectors (R, W).

        Args:
            embedding_dim: of the model; the width of its id embeddings.
            generator: draws the initial weights.
        """

    def save(self) -> SavedFeature:
        """What was fitted."""
        return SavedFeature()

    def describe(self) -> FeatureDescription:
        """What forms and pages show of it."""
        return FeatureDescription()

    def notes(self, where: str) -> list[str]:
        """Sentences on a fitted feature that reads less than it seems to; `where` names its
        section."""
        return []

    @property
    def num_terms(self) -> int:
        """How many terms it has, padding included, for towers that read features as sets of terms;
        0 where it has none."""
        return 0

    def terms(self, encoded: Any) -> Any:
        """What the encoder reads of R rows as term nums: a tensor (R, M), padded with 0, or
        `RaggedTensor`."""
        raise NotImplementedError(f"features of type {self.type!r} have no terms")


FEATURE_TYPES: Registry[type[FeatureConfig]] = Registry(
    "feature type",
    {
        name: f"twotower.features.{name}"
        for name in (
            "category",
            "categories",
            "number",
            "timestamp",
            "text",
            "image",
            "vector",
        )
    },
)

C = TypeVar("C", bound=FeatureConfig)


def register_feature(config: type[C]) -> type[C]:
    """Register a feature type under the name that its `type` is narrowed to: a class decorator.

    A module that does so is a plug-in: `plugins = ["my_shop.features"]` in a config imports it.
    Here, texts are read as their number of words, without an encoder that learns anything:

    >>> from dataclasses import dataclass
    >>> from typing import Literal
    >>> class Unchanged(tt.FeatureEncoder):
    ...     width = 1
    ...     def forward(self, values):
    ...         return values
    >>> @dataclass(frozen=True)
    ... class NumWords(tt.Feature):
    ...     def encode(self, column, *, file=None):
    ...         words = column.fill_null("").str.split(" ").list.len()
    ...         return words.to_numpy().astype("float32")[:, None]
    ...     def make_encoder(self, embedding_dim, generator):
    ...         return Unchanged()
    >>> @tt.register_feature
    ... class NumWordsConfig(tt.FeatureConfig):
    ...     type: Literal["num_words"]
    ...     def fit(self, name, column):
    ...         return NumWords(name, self)
    ...     def load(self, name, saved):
    ...         return NumWords(name, self)
    >>> features = {"item": {"title": {"type": "num_words"}}}
    >>> config = tt.Config.model_validate(
    ...     {"data": {"interactions": "interactions.parquet"}, "features": features}
    ... )
    >>> config.features.item["title"]
    NumWordsConfig(column=None, type='num_words')

    Raises:
        TypeError: `type` is not narrowed to one name.
        ConfigError: another module has registered a type of this name.
    """
    names = get_args(config.model_fields["type"].annotation)
    if len(names) != 1 or not isinstance(names[0], str):
        raise TypeError(f'{config.__name__} needs a line such as: type: Literal["geo"]')
    registering(FEATURE_TYPES, names[0])(config)
    return config
