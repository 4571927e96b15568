"""The operations of the service and the types of their bodies.

Written by `clients/python/build.py` from the OpenAPI document; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, Unpack

from twotower_client.transport import Transport


class ActivateAnswer(TypedDict):
    """Result of an activation or a rollback."""

    request_id: str
    active: str
    previous: str | None
    gate: Gate | None
    """Null for a rollback, and if the version was already active."""
    unread_items: int
    """Number of items put at run time with a value that the version cannot read."""
    warnings: list[RequestWarning]
    """The first of these values."""


class ActivateRequest(TypedDict):
    """Options of an activation."""

    force: NotRequired[bool]
    """Activate even if the gate rejects the version."""


class Alive(TypedDict):
    """Response of the liveness probe."""

    status: Literal["ok"]


class AnsweredItem(TypedDict):
    """A recommended item."""

    item_id: str | int
    score: float
    """Items are ordered by it, before diversity."""
    scores: dict[str, float]
    """Stage -> the score that it gave."""
    reason: str
    """Why, in a sentence; empty if `reasons` is false."""
    reason_code: str
    """Why, for programs; `docs/service.md` lists the codes. Empty if `reasons` is false."""
    reason_parameters: dict[str, Any]
    """What the sentence is made of."""
    columns: dict[str, Any]
    """The columns of the items file."""


class BatchAnswer(TypedDict):
    """The answers to a batch, in its order, all of one version."""

    request_id: str
    answers: list[Recommendations]


class BatchRequest(TypedDict):
    """Several requests, answered together by one version of the model."""

    requests: list[RecommendationRequest]


class CatalogueItem(TypedDict):
    """An item of the catalogue."""

    item_id: str | int
    columns: dict[str, Any]
    taken: int
    """Training rows of it."""
    added: bool
    """Whether it came by `PUT /v1/items`, after the bundle was made."""
    hidden: bool
    """Whether it is not recommended until it is shown again."""
    has_vector: bool
    """Without one only popularity answers it."""


class ColumnInfo(TypedDict):
    """An item column that can be filtered on."""

    name: str
    type: Literal["text", "number", "time", "boolean", "list"]


class ErrorAnswer(TypedDict):
    """The body of every error response."""

    error: Problem


class Event(TypedDict):
    """An interaction of a user with an item."""

    event_id: NotRequired[str | None]
    """Idempotency key: posting an event with the same id again has no effect. Default: a random
    id.
    """
    user_id: str | int
    item_id: str | int
    event_type: NotRequired[str | None]
    timestamp: NotRequired[int | str | None]
    """Seconds since 1970, UTC, or ISO 8601 text. Default: now."""
    weight: NotRequired[float | int | None]
    """Weight, as in the `weight` column of the interactions table."""
    request_id: NotRequired[str | None]
    """Id of the recommendation request that led to the event."""
    context: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None]
    ]
    """Context features at the time of the event, stored for the next training."""


class Events(TypedDict):
    """Several events, all or none."""

    events: list[Event]


class EventsAnswer(TypedDict):
    """Result of logging events; they have been stored durably."""

    request_id: str
    accepted: int
    """Number of new events."""
    duplicates: int
    """Number of events that were already stored."""
    forgotten: int
    """Number of events that were not stored because their user was forgotten at or after their
    timestamp.
    """
    event_ids: list[str]
    """Event ids in the order of the request."""
    warnings: list[RequestWarning]
    """Unknown items and event types, and odd times, at most 20."""


class Experiment(TypedDict):
    """An A/B experiment. A stable hash of its name and the user id assigns the variant."""

    name: str
    variants: list[Variant]


class ExperimentAnswer(TypedDict):
    """The running experiment."""

    request_id: str
    experiment: Experiment | None


class FeatureInfo(TypedDict):
    """A feature that a request can provide."""

    name: str
    column: str
    """Key in `user`, `context` or an item's `columns`."""
    type: str
    values: list[Any] | None
    """Some values of a category feature, e.g. for a form."""


Filter = TypedDict(
    "Filter",
    {
        "column": "NotRequired[str]",
        "equals": "NotRequired[bool | int | float | str | None]",
        "in": "NotRequired[list[bool | int | float | str | None]]",
        "range": "NotRequired[Range]",
        "and": "NotRequired[list[Filter]]",
        "or": "NotRequired[list[Filter]]",
        "not": "NotRequired[Filter]",
    },
)
"""Which items may be recommended: a condition on an item column, or several combined.

    A condition has a `column` and one of `equals`, `in`, `range`. On a list column, `equals`
    and `in` test whether the list contains the value. A missing value only matches `equals:
    null`.
    """


class Gate(TypedDict):
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


class HistoryEvent(TypedDict):
    """An item that the user interacted with."""

    item_id: str | int
    event_type: NotRequired[str | None]
    timestamp: NotRequired[int | str | None]
    """Seconds since 1970, UTC, or ISO 8601 text."""


class ItemPage(TypedDict):
    """A page of the catalogue."""

    items: list[CatalogueItem]
    total: int
    """Items that the search found."""
    offset: int
    next_offset: int | None
    """Null on the last page."""
    model_version: str


class ModelAnswer(TypedDict):
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
    """Number of users in `metrics` who were forgotten since; `twotower evaluate` measures
    without them.
    """
    experiment: Experiment | None
    """The running experiment."""


class ModelSummary(TypedDict):
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
    """Number of items put at run time with a value that this version cannot read; they are
    served by their other values. Null for a version that is not loaded.
    """


class ModelsAnswer(TypedDict):
    """All versions, newest first."""

    active: str
    previous: str | None
    """The version that a rollback would activate."""
    models: list[ModelSummary]


class PatchItem(TypedDict):
    """What changes in an item."""

    item_id: str | int
    columns: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None]
    ]
    """The columns that change; null makes one a missing value, the others stay as they are."""
    hidden: NotRequired[bool | None]
    """True: do not recommend it; false: show it again. Default: as it is."""


class PatchItems(TypedDict):
    """Items to change in part, all or none."""

    items: list[PatchItem]
    strict: NotRequired[bool]
    """As in `PUT /v1/items`."""


class PatchItemsAnswer(TypedDict):
    """Result of changing items in part."""

    request_id: str
    changed: int
    """Number of items."""
    without_vector: list[str | int]
    """As in the answer to `PUT /v1/items`."""
    warnings: list[RequestWarning]
    """As in the answer to `PUT /v1/items`."""


class Problem(TypedDict):
    """An error."""

    code: str
    """Machine-readable code; see `docs/service.md` for the list."""
    message: str
    """Human-readable description."""
    fix: str
    """How to fix it."""
    request_id: str


class PutItem(TypedDict):
    """An item to add or update."""

    item_id: str | int
    columns: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None]
    ]
    """Columns of the items table, from which the item features are computed. Others are kept,
    shown and can be filtered on.
    """
    hidden: NotRequired[bool | None]
    """True: do not recommend it. Default: as it is, and a new item is shown."""


class PutItems(TypedDict):
    """Items to add or update, all or none."""

    items: list[PutItem]
    strict: NotRequired[bool]
    """Refuse columns that the active version does not know. By default they are kept and named
    in `warnings`.
    """


class PutItemsAnswer(TypedDict):
    """Result of adding or updating items."""

    request_id: str
    added: int
    """Number of new items."""
    changed: int
    """Number of existing items that were updated."""
    without_vector: list[str | int]
    """Items without any known feature: they are stored, but have no item vector."""
    warnings: list[RequestWarning]
    """Columns that no version in use knows, and values that one of them cannot read."""


class Range(TypedDict):
    """Inclusive bounds; at least one is required."""

    min: NotRequired[int | float | str | None]
    max: NotRequired[int | float | str | None]


class RankAnswer(TypedDict):
    """Given items with their scores, best first."""

    request_id: str
    user_id: str | int | None
    path: Literal["known", "history", "features", "popular"]
    items: list[AnsweredItem]
    unknown: list[str | int]
    """Those without a score: not in the catalogue, removed, hidden, or of no known feature."""
    model_version: str
    variant: str | None
    warnings: list[RequestWarning]
    timings_ms: dict[str, float]


class RankRequest(TypedDict):
    """A request for the scores of given items."""

    user_id: NotRequired[str | int | None]
    """A known or an unknown user; an unknown one is answered, too."""
    user: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None] | None
    ]
    """Features of an invented user; not together with `user_id`."""
    history: NotRequired[list[str | int | HistoryEvent] | None]
    """Items that the user interacted with, oldest first. Together with a `user_id` they follow
    the events that the service knows, for this answer alone. Unknown items are ignored.
    """
    context: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None]
    ]
    """Context features of the request."""
    strict: NotRequired[bool]
    """Refuse columns that the version which answers does not know. By default they are ignored
    and named in `warnings`: versions may differ in what they read.
    """
    items: list[str | int]
    """What to score, each once."""
    variant: NotRequired[str | None]
    """As in a request for recommendations."""


class Ready(TypedDict):
    """Response of the readiness probe."""

    status: Literal["ready"]
    version: str
    """The active version."""
    problems: list[str]
    """What an operator should look at, although requests are answered."""


class RecommendationRequest(TypedDict):
    """A request for the k best items."""

    user_id: NotRequired[str | int | None]
    """A known or an unknown user; an unknown one is answered, too."""
    user: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None] | None
    ]
    """Features of an invented user; not together with `user_id`."""
    history: NotRequired[list[str | int | HistoryEvent] | None]
    """Items that the user interacted with, oldest first. Together with a `user_id` they follow
    the events that the service knows, for this answer alone. Unknown items are ignored.
    """
    context: NotRequired[
        dict[str, bool | int | float | str | list[bool | int | float | str | None] | None]
    ]
    """Context features of the request."""
    strict: NotRequired[bool]
    """Refuse columns that the version which answers does not know. By default they are ignored
    and named in `warnings`: versions may differ in what they read.
    """
    k: NotRequired[int]
    """How many items; fewer come back only where fewer exist."""
    filter: NotRequired[Filter | None]
    """Which items may be recommended; applied before the k best are chosen."""
    exclude: NotRequired[list[str | int]]
    """Items that are not to be recommended."""
    mask_seen: NotRequired[bool]
    """Leave out items that the user has interacted with."""
    diversity: NotRequired[float]
    """0: the best scores; towards 1, items that are more unlike each other."""
    reasons: NotRequired[bool]
    """Explain why each item was chosen."""
    variant: NotRequired[str | None]
    """Answer as this variant of the running experiment; default: a hash of the user picks it."""


class Recommendations(TypedDict):
    """The answer to one request."""

    request_id: str
    """Name it in the events that this answer leads to."""
    user_id: str | int | None
    path: Literal["known", "history", "features", "popular"]
    """The step of the fallback chain that answered."""
    live: bool
    """Whether an event posted now can change this user's next answer beyond the mask of seen
    items.
    """
    items: list[AnsweredItem]
    """Best first."""
    model_version: str
    variant: str | None
    """Of the running experiment, null without one."""
    warnings: list[RequestWarning]
    """What of the request was ignored."""
    timings_ms: dict[str, float]


class RemovedItem(TypedDict):
    """An item that was removed."""

    request_id: str
    item_id: str | int


class RemovedUser(TypedDict):
    """Result of forgetting a user."""

    request_id: str
    user_id: str | int
    impressions: int
    """Number of logged recommendations that were deleted."""
    events: int
    """Number of events that were deleted. The model is unchanged until the next training, but
    the user is treated as an unknown user.
    """


class RequestWarning(TypedDict):
    """Something of a request that was not used, although the request succeeded."""

    code: Literal[
        "unknown_column",
        "unreadable_value",
        "unknown_item",
        "unknown_event_type",
        "odd_time",
        "store_away",
    ]
    """`unknown_column`: the version that answers has no such column. `unreadable_value`: a
    version cannot read the value of an item. `store_away`: the answer was made from memory,
    as the event store cannot be read. Of events, which are stored all the same:
    `unknown_item`: the item is not in the catalogue. `unknown_event_type`: training did not
    see the type, and the config does not name it. `odd_time`: more than a day ahead, or
    before 2000.
    """
    field: str
    """Where it is in the request, such as `context.device`, `filter.price`, `items.i7.price`;
    empty if it is not about a field.
    """
    message: str


class SimilarAnswer(TypedDict):
    """The items whose vectors are nearest to one's."""

    request_id: str
    item_id: str | int
    items: list[AnsweredItem]
    model_version: str


class UserAnswer(TypedDict):
    """What the service knows of a user, and what the query tower makes of it."""

    user_id: str | int
    in_training: bool
    path: Literal["known", "history", "features", "popular"]
    """The path that a request without context would be answered by."""
    columns: dict[str, Any]
    """What the users file says."""
    history: list[UserEvent]
    """Oldest first, the newest thousand."""
    events_read: int
    """So many of the newest events the query tower reads; 0 without a history feature."""
    vector: list[float] | None
    """The query vector without context; null on the path `popular`."""
    model_version: str


class UserEvent(TypedDict):
    """An event of a user's history."""

    item_id: str | int | None
    """Null for an item that is not in the catalogue."""
    event_type: str | None
    timestamp: int | None
    live: bool
    """Whether it came by `POST /v1/events`."""
    columns: dict[str, Any]
    """What the items file says of the item."""


class UserPage(TypedDict):
    """A page of the users that the bundle knows."""

    users: list[UserSummary]
    total: int
    offset: int
    next_offset: int | None


class UserSummary(TypedDict):
    """A user of a list."""

    user_id: str | int
    path: Literal["known", "history", "features", "popular"]
    events: int
    """Items known of the user, from training and live."""


class Variant(TypedDict):
    """A variant of an A/B experiment: a version served to a share of the users."""

    name: str
    version: str
    share: float
    """Share of the users; a multiple of 0.0001. All shares add up to 1."""


class Client(Transport):
    """All operations of the service."""

    def check_health(self) -> Alive:
        """Succeeds if the process responds at all."""
        answer: Alive = self.request("GET", "/healthz")
        return answer

    def check_readiness(self) -> Ready:
        """Succeeds if the model is loaded and the event store is available; route no requests to
        a worker that is not ready.
        """
        answer: Ready = self.request("GET", "/readyz")
        return answer

    def get_metrics(self) -> str:
        """Metrics of all workers on this machine. Requires no API key and contains no user data."""
        answer: str = self.request("GET", "/metrics")
        return answer

    def recommend(self, **body: Unpack[RecommendationRequest]) -> Recommendations:
        """Answer a known user, an invented one, or nobody in particular.

        Filters, exclusions and the mask of seen items are applied before the best k are
        taken, so that k items come back wherever k exist.
        """
        answer: Recommendations = self.request("POST", "/v1/recommendations", body=dict(body))
        return answer

    def recommend_batch(self, **body: Unpack[BatchRequest]) -> BatchAnswer:
        """Answer several requests at once; one that is wrong refuses all."""
        answer: BatchAnswer = self.request("POST", "/v1/recommendations:batch", body=dict(body))
        return answer

    def rank_items(self, **body: Unpack[RankRequest]) -> RankAnswer:
        """Order the items that the request names for a user."""
        answer: RankAnswer = self.request("POST", "/v1/rank", body=dict(body))
        return answer

    def find_similar_items(self, item_id: str | int, *, k: int = 10) -> SimilarAnswer:
        """The items whose vectors are nearest."""
        answer: SimilarAnswer = self.request(
            "GET", "/v1/items/{item_id}/similar", path={"item_id": item_id}, query={"k": k}
        )
        return answer

    def post_events(self, body: Event | Events) -> EventsAnswer:
        """Store one or several events durably; they affect the user's next recommendations."""
        answer: EventsAnswer = self.request("POST", "/v1/events", body=body)
        return answer

    def list_items(self, *, q: str = "", offset: int = 0, limit: int = 50) -> ItemPage:
        """List items in catalogue order; `q` searches ids and text columns."""
        answer: ItemPage = self.request(
            "GET", "/v1/items", query={"q": q, "offset": offset, "limit": limit}
        )
        return answer

    def put_items(self, **body: Unpack[PutItems]) -> PutItemsAnswer:
        """Encode items with the item tower: they can be recommended immediately and survive a
        restart.

        An update replaces all columns of an item: columns that are not sent become missing
        values. `PATCH /v1/items` changes single ones.
        """
        answer: PutItemsAnswer = self.request("PUT", "/v1/items", body=dict(body))
        return answer

    def patch_items(self, **body: Unpack[PatchItems]) -> PatchItemsAnswer:
        """Change single columns of items, hide items, show them again; all else stays as it is,
        for each version as its bundle has it. An item that is not in the catalogue refuses
        all.
        """
        answer: PatchItemsAnswer = self.request("PATCH", "/v1/items", body=dict(body))
        return answer

    def get_item(self, item_id: str | int) -> CatalogueItem:
        """Get the columns and the state of an item."""
        answer: CatalogueItem = self.request(
            "GET", "/v1/items/{item_id}", path={"item_id": item_id}
        )
        return answer

    def remove_item(self, item_id: str | int) -> RemovedItem:
        """Take an item out of the catalogue; `PUT /v1/items` adds it again. `PATCH /v1/items`
        hides one for a while.
        """
        answer: RemovedItem = self.request(
            "DELETE", "/v1/items/{item_id}", path={"item_id": item_id}
        )
        return answer

    def list_users(self, *, q: str = "", offset: int = 0, limit: int = 50) -> UserPage:
        """List the users in the bundle, in its order; `q` searches for a part of an id."""
        answer: UserPage = self.request(
            "GET", "/v1/users", query={"q": q, "offset": offset, "limit": limit}
        )
        return answer

    def get_user(self, user_id: str | int) -> UserAnswer:
        """Get the history and the query vector of a user; an unknown user has neither."""
        answer: UserAnswer = self.request("GET", "/v1/users/{user_id}", path={"user_id": user_id})
        return answer

    def forget_user(self, user_id: str | int) -> RemovedUser:
        """Delete all stored events and impressions of a user, who is an unknown user from now
        on.
        """
        answer: RemovedUser = self.request(
            "DELETE", "/v1/users/{user_id}", path={"user_id": user_id}
        )
        return answer

    def get_model(self) -> ModelAnswer:
        """Describe the active version: training data, features, metrics."""
        answer: ModelAnswer = self.request("GET", "/v1/model")
        return answer

    def list_models(self) -> ModelsAnswer:
        """List the versions that can be activated, newest first."""
        answer: ModelsAnswer = self.request("GET", "/v1/models")
        return answer

    def activate_model(self, version: str | int, **body: Unpack[ActivateRequest]) -> ActivateAnswer:
        """Compare the version with the active one on the same held-out rows, then swap model and
        index together; requests in flight finish on the old version.
        """
        answer: ActivateAnswer = self.request(
            "POST", "/v1/models/{version}:activate", path={"version": version}, body=dict(body)
        )
        return answer

    def roll_back_model(self) -> ActivateAnswer:
        """Activate the version that was active before, without the gate; again, the one before
        that.
        """
        answer: ActivateAnswer = self.request("POST", "/v1/models:rollback")
        return answer

    def get_experiment(self) -> ExperimentAnswer:
        """Get the variants of the running experiment; null if none is running."""
        answer: ExperimentAnswer = self.request("GET", "/v1/experiment")
        return answer

    def start_experiment(self, **body: Unpack[Experiment]) -> ExperimentAnswer:
        """Serve each version to a share of the users."""
        answer: ExperimentAnswer = self.request("PUT", "/v1/experiment", body=dict(body))
        return answer

    def end_experiment(self) -> ExperimentAnswer:
        """Serve the active version to all users."""
        answer: ExperimentAnswer = self.request("DELETE", "/v1/experiment")
        return answer
