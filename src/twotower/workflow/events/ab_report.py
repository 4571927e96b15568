"""`twotower ab-report`: the variants of an experiment, compared from what the service logged."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from twotower.errors import DataError, explain, unknown
from twotower.evaluation.ab_test import (
    Estimate,
    VariantComparison,
    VariantResult,
    compare_variants,
    sample_ratio_p_value,
)
from twotower.serving.store.experiments import ABExperiment
from twotower.serving.store.protocol import Deployment, EventStore, Impression

ROWS_AT_ONCE = 20_000
MISMATCH = 0.001
"""Sample ratios less likely than this are no chance."""


@dataclass
class Exposure:
    """What a user was given.

    Attributes:
        variant: its name; None where the user was answered by several.
        since: time of the first answer.
        answers: how many.
        events: of the kind that counts, since then.
    """

    variant: str | None
    since: int
    answers: int = 0
    events: int = 0


@dataclass(frozen=True)
class Period:
    """When an experiment ran.

    Attributes:
        experiment: as it was last.
        earlier: as it was before, where its shares were changed.
        start, end: seconds since 1970 UTC; `end` is None while it runs.
    """

    experiment: ABExperiment
    earlier: tuple[ABExperiment, ...]
    start: int
    end: int | None

    def holds(self, timestamp: int) -> bool:
        """Whether it ran then."""
        return self.start <= timestamp and (self.end is None or timestamp <= self.end)

    def assigns(self, user_id: str | int, variant: str) -> bool:
        """Whether it gives a user this variant, or did."""
        return any(
            experiment.assign(user_id).name == variant
            for experiment in (self.experiment, *self.earlier)
        )


@dataclass(frozen=True)
class ExperimentReport:
    """A comparison.

    Attributes:
        period: the experiment and when it ran.
        event_types: those that count, or None: all.
        results: of each variant in its order.
        mixed: users who were answered by several variants, and are left out.
        chosen: answers whose variant the request chose, not the hash, which are left out.
        sample_ratio_p_value: of the numbers of users against the shares; None where the shares
            were changed on the way.
    """

    period: Period
    event_types: tuple[str, ...] | None
    results: tuple[VariantResult, ...]
    mixed: int
    chosen: int
    sample_ratio_p_value: float | None

    @property
    def notes(self) -> list[str]:
        """What a reader must know before believing it."""
        notes = []
        if self.sample_ratio_p_value is not None and self.sample_ratio_p_value < MISMATCH:
            notes.append(
                "the numbers of users do not fit the shares (p = "
                f"{self.sample_ratio_p_value:.1g}): answers or events of a variant are missing"
                "do not decide on this comparison before you know why"
            )
        if self.sample_ratio_p_value is None:
            notes.append("the shares were changed while it ran; users who moved are left out")
        if self.mixed:
            notes.append(f"{self.mixed:,} users were answered by several variants: left out")
        if self.chosen:
            notes.append(f"{self.chosen:,} answers of a variant that the request chose: left out")
        return notes

    def to_json(self) -> dict[str, Any]:
        """One JSON object; values that do not exist are null."""
        period = self.period
        variants = [
            {"name": arm.name, "version": arm.version, "share": arm.share, **asdict(result)}
            for arm, result in zip(period.experiment.variants, self.results, strict=True)
        ]
        document: dict[str, Any] = finite(
            {
                "experiment": period.experiment.name,
                "start": period.start,
                "end": period.end,
                "event_types": self.event_types,
                "unit": "user",
                "variants": variants,
                "mixed_users": self.mixed,
                "chosen_answers": self.chosen,
                "sample_ratio_p_value": self.sample_ratio_p_value,
                "notes": self.notes,
            }
        )
        return document


def report_experiment(
    store: EventStore, name: str | None = None, event_types: Collection[str] | None = None
) -> ExperimentReport:
    """Compare the variants of an experiment: of each user whom it assigned, the events after the
    first answer and before its end.

    Memory grows with the users who were answered, not with answers or events.

    Args:
        store: read once.
        name: of the experiment; left out, the running or the last one.
        event_types: those that count, such as "buy"; left out, every event.

    Raises:
        DataError: there is no such experiment.
    """
    period = find_period(store.deployments(), name)
    users, chosen = exposures(store, period)
    count_events(store, period, users, event_types)
    names = [variant.name for variant in period.experiment.variants]
    counted = [exposure for exposure in users.values() if exposure.variant in names]
    results = compare_variants(
        np.array([names.index(str(one.variant)) for one in counted], dtype=np.int64),
        np.array([one.answers for one in counted], dtype=np.int64),
        np.array([one.events for one in counted], dtype=np.int64),
        len(names),
    )
    shares = [variant.share for variant in period.experiment.variants]
    return ExperimentReport(
        period,
        None if event_types is None else tuple(event_types),
        tuple(results),
        mixed=sum(exposure.variant is None for exposure in users.values()),
        chosen=chosen,
        sample_ratio_p_value=None
        if period.earlier
        else sample_ratio_p_value([result.users for result in results], shares),
    )


def find_period(deployments: list[Deployment], name: str | None) -> Period:
    """When an experiment ran last, from when to when.

    Raises:
        DataError: there was none, or none of this name.
    """
    there = [one.experiment for one in deployments if one.experiment is not None]
    if not there:
        raise DataError(explain("no experiment was run yet", fix="start one on the service"))
    wanted = there[-1].name if name is None else name
    running = [one.experiment is not None and one.experiment.name == wanted for one in deployments]
    if not any(running):
        names = dict.fromkeys(experiment.name for experiment in there)
        raise DataError(explain(unknown(f"no experiment {wanted!r} was run", wanted, names)))
    last = max(place for place, runs in enumerate(running) if runs)
    first = last
    while first and running[first - 1]:
        first -= 1
    experiments = [one.experiment for one in deployments[first : last + 1] if one.experiment]
    return Period(
        experiments[-1],
        tuple(one for one in dict.fromkeys(experiments) if one != experiments[-1]),
        deployments[first].changed,
        deployments[last + 1].changed if last + 1 < len(deployments) else None,
    )


def exposures(store: EventStore, period: Period) -> tuple[dict[str, Exposure], int]:
    """Who was given what, by the text of the user's id, and how many answers' variant was chosen
    by the request."""
    users: dict[str, Exposure] = {}
    chosen = 0
    for impression in impressions(store):
        if impression.user_id is None or impression.variant is None:
            continue
        if not period.holds(impression.timestamp):
            continue
        if not period.assigns(impression.user_id, impression.variant):
            chosen += 1
            continue
        given = Exposure(impression.variant, impression.timestamp)
        exposure = users.setdefault(str(impression.user_id), given)
        exposure.answers += 1
        exposure.since = min(exposure.since, impression.timestamp)
        if exposure.variant != impression.variant:
            exposure.variant = None
    return users, chosen


def impressions(store: EventStore) -> Iterator[Impression]:
    """All impressions, some thousand at a time."""
    sequence = 0
    while page := store.impressions_after(sequence, ROWS_AT_ONCE):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page)


def count_events(
    store: EventStore,
    period: Period,
    users: dict[str, Exposure],
    event_types: Collection[str] | None,
) -> None:
    """Count into each exposure the user's events that come after it."""
    sequence = 0
    while page := store.events_after(sequence, ROWS_AT_ONCE):
        sequence = page[-1].sequence
        for _, event in page:
            exposure = users.get(str(event.user_id))
            if exposure is None or (
                event_types is not None and event.event_type not in event_types
            ):
                continue
            if event.timestamp >= exposure.since and period.holds(event.timestamp):
                exposure.events += 1


# --- how it is shown ------------------------------------------------------------------------------


def render_experiment(report: ExperimentReport) -> RenderableType:
    """A table a metric with a row a variant, then the notes."""
    types = "any event" if report.event_types is None else ", ".join(report.event_types)
    metrics = {
        "conversion": [(one.conversion, one.conversion_gain) for one in report.results],
        "events per answer": [
            (one.events_per_answer, one.events_per_answer_gain) for one in report.results
        ],
    }
    lines = [f"[yellow]note: {escape(note)}.[/yellow]" for note in report.notes]
    return Group(
        f"Experiment [bold]{escape(report.period.experiment.name)}[/bold] ({escape(types)})",
        *(metric_table(report, title, values) for title, values in metrics.items()),
        *lines,
    )


def metric_table(
    report: ExperimentReport,
    title: str,
    values: Sequence[tuple[Estimate, VariantComparison | None]],
) -> Table:
    """A row a variant: its value, and what it gains over the first."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    table.add_column("variant")
    for heading in ("users", "value", "95 % interval", "gain", "95 % interval", "p"):
        table.add_column(heading, justify="right")
    variants = report.period.experiment.variants
    for arm, result, (estimate, comparison) in zip(variants, report.results, values, strict=True):
        gain = Estimate(math.nan, math.nan, math.nan)
        p_value = ""
        if comparison is not None:
            gain, p_value = comparison.difference, f"{comparison.p_value:.3g}"
        table.add_row(
            escape(arm.name), f"{result.users:,}", *cells(estimate), *cells(gain, "+"), p_value
        )
    return table


def cells(estimate: Estimate, sign: str = "") -> tuple[str, str]:
    """A value and its interval; nothing where there is no value."""
    if math.isnan(estimate.value):
        return "", ""
    low, high = f"{estimate.low:{sign}.4f}", f"{estimate.high:{sign}.4f}"
    return f"{estimate.value:{sign}.4f}", f"{low} to {high}"


def finite(value: Any) -> Any:
    """The same document with null for what is not a number."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
