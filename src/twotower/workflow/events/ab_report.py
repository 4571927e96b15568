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

PAGE_ROWS = 20_000
"""Rows read from the store at a time."""
MISMATCH = 0.001
"""A p-value below this is reported as a sample ratio mismatch."""


@dataclass
class Exposure:
    """The answers that one user got.

    Attributes:
        variant: that answered the user; None if several did.
        since: time of the first answer.
        answers: number of answers.
        events: counted events since the first answer.
    """

    variant: str | None
    since: int
    answers: int = 0
    events: int = 0


@dataclass(frozen=True)
class Period:
    """The period in which an experiment ran.

    Attributes:
        experiment: its last state.
        earlier: its previous states, if its shares were changed.
        start, end: seconds since 1970 UTC; `end` is None while it runs.
    """

    experiment: ABExperiment
    earlier: tuple[ABExperiment, ...]
    start: int
    end: int | None

    def holds(self, timestamp: int) -> bool:
        """Whether the experiment was running at a time."""
        return self.start <= timestamp and (self.end is None or timestamp <= self.end)

    def assigns(self, user_id: str | int, variant: str) -> bool:
        """Whether the experiment assigns or assigned this variant to a user."""
        return any(
            experiment.assign(user_id).name == variant
            for experiment in (self.experiment, *self.earlier)
        )


@dataclass(frozen=True)
class ExperimentReport:
    """The comparison of the variants of an experiment.

    Attributes:
        period: the experiment and the period in which it ran.
        event_types: the types of events that count; None for all.
        results: one for each variant, in the order of the experiment.
        mixed: users who got answers of several variants; they are excluded.
        chosen: answers whose variant was set by the request and not by the hash; they are
            excluded.
        sample_ratio_p_value: of the test of the numbers of users against the shares; None if the
            shares were changed during the experiment.
    """

    period: Period
    event_types: tuple[str, ...] | None
    results: tuple[VariantResult, ...]
    mixed: int
    chosen: int
    sample_ratio_p_value: float | None

    @property
    def notes(self) -> list[str]:
        """Reasons to doubt the result, a sentence each."""
        notes = []
        if self.sample_ratio_p_value is not None and self.sample_ratio_p_value < MISMATCH:
            notes.append(
                "the numbers of users do not match the shares (p = "
                f"{self.sample_ratio_p_value:.1g}): answers or events of a variant are missing; "
                "find the cause before you rely on this comparison"
            )
        if self.sample_ratio_p_value is None:
            notes.append("the shares were changed; users who moved to another variant are excluded")
        if self.mixed:
            notes.append(f"{self.mixed:,} users got answers of several variants and are excluded")
        if self.chosen:
            notes.append(f"{self.chosen:,} answers are excluded: the request set their variant")
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
    """Compare the variants of an experiment by the events of each assigned user between the first
    answer and the end of the experiment.

    Memory grows with the number of users, not with the number of answers or events.

    Args:
        store: read once.
        name: of the experiment; default: the running one, or else the last one.
        event_types: the types of events that count, such as "buy"; default: every event.

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
    """The last period in which an experiment ran.

    Raises:
        DataError: there was no experiment, or none of this name.
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
    """The exposure of each user, by the id as text, and the number of answers whose variant was set
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
    """All impressions, read in pages."""
    sequence = 0
    while page := store.impressions_after(sequence, PAGE_ROWS):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page)


def count_events(
    store: EventStore,
    period: Period,
    users: dict[str, Exposure],
    event_types: Collection[str] | None,
) -> None:
    """Add the events after each user's first answer to the exposures."""
    sequence = 0
    while page := store.events_after(sequence, PAGE_ROWS):
        sequence = page[-1].sequence
        for _, event in page:
            exposure = users.get(str(event.user_id))
            if exposure is None or (
                event_types is not None and event.event_type not in event_types
            ):
                continue
            if event.timestamp >= exposure.since and period.holds(event.timestamp):
                exposure.events += 1


# --- output ---------------------------------------------------------------------------------------


def render_experiment(report: ExperimentReport) -> RenderableType:
    """One table per metric with one row per variant, then the notes."""
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
    """One row per variant: its value, and its difference from the control."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    table.add_column("variant")
    for heading in ("users", "value", "95% interval", "gain", "95% interval", "p"):
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
    """A value and its interval; empty without a value."""
    if math.isnan(estimate.value):
        return "", ""
    low, high = f"{estimate.low:{sign}.4f}", f"{estimate.high:{sign}.4f}"
    return f"{estimate.value:{sign}.4f}", f"{low} to {high}"


def finite(value: Any) -> Any:
    """The same document with null in place of NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
