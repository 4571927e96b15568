"""Bodies for model versions and A/B experiments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from twotower.web.wire.base import Name, RequestWarning, Token, Wire, example


class FeatureInfo(Wire):
    """A feature that a request can provide."""

    name: str
    column: str
    """Key in `user`, `context` or an item's `columns`."""
    type: str
    values: list[Any] | None
    """Some values of a category feature, e.g. for a form."""


class ColumnInfo(Wire):
    """An item column that can be filtered on."""

    name: str
    type: Literal["text", "number", "time", "boolean", "list"]


class Variant(Wire):
    """A variant of an A/B experiment: a version served to a share of the users."""

    name: Name
    version: Name
    share: Annotated[float, Field(strict=True, ge=0.0001, le=1, allow_inf_nan=False)]
    """Share of the users; a multiple of 0.0001. All shares add up to 1."""


class Experiment(Wire):
    """An A/B experiment. A stable hash of its name and the user id assigns the variant."""

    model_config = example(
        name="new-towers",
        variants=[
            {"name": "control", "version": "2024-05-01", "share": 0.9},
            {"name": "new", "version": "2024-06-01", "share": 0.1},
        ],
    )

    name: Name
    variants: Annotated[list[Variant], Field(min_length=1, max_length=16)]


class ModelAnswer(Wire):
    """The active version."""

    version: str
    twotower: str
    """The twotower release that wrote the bundle."""
    created: str
    """Creation time, ISO 8601."""
    data: str
    """Hash of the training data."""
    num_users: int
    num_items: int
    """Items in the catalogue, including those added and excluding those removed at run time."""
    items_added: int
    items_removed: int
    index: dict[str, Any]
    """`kind`, `recall` against exact search when it was built, and `size`."""
    embedding_dim: int
    stages: list[str]
    live: bool
    """Whether new events affect recommendations through the query tower."""
    user_features: list[FeatureInfo]
    item_features: list[FeatureInfo]
    context_features: list[FeatureInfo]
    item_columns: list[ColumnInfo]
    event_types: list[str] | None
    """Event types that the history feature distinguishes."""
    metrics: dict[str, Any]
    """Metrics on held-out rows at training time."""
    forgotten_users: int
    """Number of users in `metrics` who were forgotten since; `twotower evaluate` measures without
    them."""
    experiment: Experiment | None
    """The running experiment."""


class ModelSummary(Wire):
    """A version that can be activated."""

    version: str
    active: bool
    created: str
    num_users: int
    num_items: int
    metrics: dict[str, float]
    """Metrics on its own held-out rows at training time."""
    forgotten_users: int
    """Number of users in `metrics` who were forgotten since."""
    unread_items: int | None
    """Number of items put at run time with a value that this version cannot read; they are served
    by their other values. Null for a version that is not loaded."""


class ModelsAnswer(Wire):
    """All versions, newest first."""

    active: str
    previous: str | None
    """The version that a rollback would activate."""
    models: list[ModelSummary]


class ActivateRequest(Wire):
    """Options of an activation."""

    model_config = example(force=False)

    force: StrictBool = False
    """Activate even if the gate rejects the version."""


class Gate(Wire):
    """The gate's comparison of both versions on the same held-out rows."""

    metric: str
    active: float | None
    candidate: float | None
    """`active` and `candidate` are null if the version could not be measured."""
    allowed_drop: float
    """Maximum relative loss of the candidate."""
    reason: str | None
    """Why the versions cannot be compared; null if they were."""
    passed: bool
    """Whether the version may be activated without `force`."""


class ActivateAnswer(Wire):
    """Result of an activation or a rollback."""

    request_id: Token
    active: str
    previous: str | None
    gate: Gate | None
    """Null for a rollback, and if the version was already active."""
    unread_items: int
    """Number of items put at run time with a value that the version cannot read."""
    warnings: list[RequestWarning]
    """The first of these values."""


class ExperimentAnswer(Wire):
    """The running experiment."""

    request_id: Token
    experiment: Experiment | None
