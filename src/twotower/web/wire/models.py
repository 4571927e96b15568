"""Versions of the model, and experiments between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from twotower.web.wire.base import Name, Token, Wire, example


class FeatureInfo(Wire):
    """A feature that a request can give."""

    name: str
    column: str
    """The key in `user`, `context` or an item's `columns`."""
    type: str
    values: list[Any] | None
    """Some values of a category, for forms."""


class ColumnInfo(Wire):
    """A column that a filter can name."""

    name: str
    type: Literal["text", "number", "time", "boolean", "list"]


class Variant(Wire):
    """A part of the users, answered by a version of its own."""

    name: Name
    version: Name
    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Of the users; a multiple of 0.0001, and all shares add up to 1."""


class Experiment(Wire):
    """An A/B experiment: a stable hash of its name and the user's id picks the variant."""

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
    """The version that answers now."""

    version: str
    twotower: str
    """The release that wrote the bundle."""
    created: str
    """When, in ISO 8601."""
    data: str
    """Hash of what it was trained on."""
    num_users: int
    num_items: int
    """Of the catalogue, with those added and without those removed since."""
    items_added: int
    items_removed: int
    index: dict[str, Any]
    """`kind`, `recall` against exact search when it was built, `size`."""
    embedding_dim: int
    stages: list[str]
    live: bool
    """Whether events change what the query tower reads."""
    user_features: list[FeatureInfo]
    item_features: list[FeatureInfo]
    context_features: list[FeatureInfo]
    item_columns: list[ColumnInfo]
    event_types: list[str] | None
    """Those that the history tells apart."""
    metrics: dict[str, Any]
    """Measured on held-out rows when it was trained."""
    experiment: Experiment | None
    """The one that runs."""


class ModelSummary(Wire):
    """A version that can be activated."""

    version: str
    active: bool
    created: str
    num_users: int
    num_items: int
    metrics: dict[str, float]
    """On its own held-out rows."""


class ModelsAnswer(Wire):
    """All versions, newest first."""

    active: str
    previous: str | None
    """What a rollback would activate."""
    models: list[ModelSummary]


class ActivateRequest(Wire):
    """How to activate."""

    model_config = example(force=False)

    force: StrictBool = False
    """Activate though the gate refuses."""


class Gate(Wire):
    """Both versions measured on the same held-out rows."""

    metric: str
    active: float | None
    candidate: float | None
    """Null where there is nothing to measure on."""
    allowed_drop: float
    """The share of the active one's figure by which the candidate may be worse."""
    passed: bool


class ActivateAnswer(Wire):
    """Which version answers from now on."""

    request_id: Token
    active: str
    previous: str | None
    gate: Gate | None
    """Null for a rollback, and where the version was active already."""


class ExperimentAnswer(Wire):
    """What runs."""

    request_id: Token
    experiment: Experiment | None
