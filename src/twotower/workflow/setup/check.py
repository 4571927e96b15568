"""`twotower check`: all problems of a config and of each of its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import polars as pl
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from twotower.config import (
    Config,
    FeatureConfig,
    FeaturesConfig,
    TableName,
    load_config,
)
from twotower.config.presets import resolved
from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.workspace import Workspace
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.dataset.dataset import Dataset, context_columns, declared_columns, vector_files
from twotower.data.dataset.pinned_sources import with_versions
from twotower.data.dataset.splits import split_interactions
from twotower.data.features.schema import SIDES, Side, check_side
from twotower.data.readers.read_table import read_table
from twotower.data.tables.derived_entities import derived_entities, entity_columns
from twotower.data.tables.entity_rows import read_entities
from twotower.data.tables.interaction_rows import read_interactions
from twotower.data.tables.tables import read_tables
from twotower.data.values.ids import agree
from twotower.data.values.unix_times import ORDER_BELOW
from twotower.errors import TwoTowerError
from twotower.evaluation.reachability import Reachability
from twotower.serving.answer.user_paths import UserPaths
from twotower.workflow.evaluate import among, reach_of
from twotower.workflow.training.recipe import recipe_sentence
from twotower.workflow.training.train import known_events

Read = TypeVar("Read")
SIDE_TABLES: dict[Side, tuple[TableName, ...]] = {
    "user": ("users",),
    "item": ("items",),
    "context": ("interactions", "test", "validation"),
}


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        problems: what must be fixed before training.
        notes: what is unusual but allowed.
        facts: name -> description of the data.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    facts: dict[str, str]


class _Findings:
    """Collects problems: if one step fails, the next ones still run."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.facts: dict[str, str] = {}
        self.work: Workspace | None = None

    def attempt(self, step: Callable[[], Read]) -> Read | None:
        """The result of a step; None if it fails, with its problems recorded."""
        try:
            return step()
        except TwoTowerError as error:
            self.problems += str(error).split("\n")
            return None

    def report(self) -> CheckReport:
        """The report, without duplicate sentences."""
        problems, notes = dict.fromkeys(self.problems), dict.fromkeys(self.notes)
        return CheckReport(tuple(problems), tuple(notes), self.facts)


def check(config_path: Path, overrides: Sequence[str] = ()) -> CheckReport:
    """Check a config, each table, each feature and the split.

    Args:
        config_path: path to a twotower.toml. If it is invalid, only its own problems are reported,
            since its tables are not known.
        overrides: `section.key=value`, as in `load_config`.
    """
    findings = _Findings()
    loaded = findings.attempt(lambda: load_config(config_path, overrides))
    if loaded is not None:
        config = findings.attempt(lambda: with_versions(loaded)) or loaded
        describe_preset(config, findings)
        # Of logs that are larger than memory; its files are mapped until here.
        with TemporaryDirectory(prefix="twotower-check-", ignore_cleanup_errors=True) as folder:
            findings.work = Workspace(Path(folder), max_rows=config.data.max_rows_in_memory)
            tables = check_tables(config, findings)
            describe_tables(tables, findings)
            check_features(config, tables | columns_in_file(config, tables), findings)
            check_split(config, tables, findings)
    return findings.report()


# --- tables -------------------------------------------------------------------------------------


def sources(config: Config) -> dict[TableName, str]:
    """Table -> source, for the tables in a config."""
    data = config.data
    named: dict[TableName, str | None] = {
        "interactions": data.interactions,
        "test": data.split.test,
        "validation": data.split.validation,
        "users": data.users,
        "items": data.items,
    }
    return {table: source for table, source in named.items() if source is not None}


def check_tables(config: Config, findings: _Findings) -> dict[str, pl.DataFrame]:
    """Read all valid tables, with ids of the same type."""
    tables: dict[str, pl.DataFrame] = {}
    for name, source in sources(config).items():
        frame = check_table(name, source, config, findings)
        if frame is not None:
            tables[name] = frame
    for key in (USER_ID, ITEM_ID):
        tables = agree(tables, key, findings.work)
    if "interactions" in tables:
        for entities in ("users", "items"):
            derived = derived_entities(tables["interactions"], entities, config.data, [])
            if derived is not None:
                tables[entities] = derived
    return tables


def check_table(
    name: TableName, source: str, config: Config, findings: _Findings
) -> pl.DataFrame | None:
    """Read one table; None if it is invalid."""
    if name in ("users", "items"):
        key = USER_ID if name == "users" else ITEM_ID
        vectors, declared = vector_files(config)[name], declared_columns(config)[name]
        return findings.attempt(
            lambda: read_entities(source, key, config.data, findings.notes, vectors, declared)
        )

    context = context_columns(config)
    if name == "interactions":
        context = (*context, *entity_columns(config.data))

    def read(*context: str) -> pl.DataFrame:
        return read_interactions(
            source,
            config.data,
            table=name,
            context=context,
            notes=findings.notes,
            work=findings.work,
        )

    frame = findings.attempt(lambda: read(*context))
    if frame is None and context:
        with suppress(TwoTowerError):
            return read()  # only the feature columns are invalid
    return frame


def columns_in_file(config: Config, checked: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The invalid tables as they are in their files, so that features can still be checked against
    their columns; without tables that cannot be read at all."""
    frames: dict[str, pl.DataFrame] = {}
    for name, source in sources(config).items():
        columns = context_columns(config) if name not in ("users", "items") else ()
        if name not in checked or not set(columns) <= set(checked[name].columns):
            with suppress(TwoTowerError):
                frames[name] = read_table(source, format=config.data.format_of(name))
    return frames


def describe_preset(config: Config, findings: _Findings) -> None:
    """The preset and what its keys are set to, which may be values of the config file."""
    name = config.retriever.preset
    if name is not None:
        keys = [f"{key} = {json.dumps(value)}" for key, value in resolved(name, config).items()]
        findings.facts["preset"] = f"{name}: {', '.join(keys)}" if keys else name


def describe_tables(tables: dict[str, pl.DataFrame], findings: _Findings) -> None:
    """Record rows, users, items, density and dates of the valid tables."""
    for name in ("test", "validation"):
        if name in tables:
            findings.facts[f"{name} file"] = f"{len(tables[name]):,} positive rows"
    rows = tables.get("interactions")
    if rows is None:
        return
    users, items = rows[USER_ID].n_unique(), rows[ITEM_ID].n_unique()
    share = rows.select(USER_ID, ITEM_ID).n_unique() / (users * items)
    findings.facts |= {
        "interactions": f"{len(rows):,} positive rows",
        "users": known(rows, tables.get("users"), USER_ID),
        "items": known(rows, tables.get("items"), ITEM_ID),
        "density": f"{100 * share:.3g}% of all user-item pairs",
    }
    latest = rows[TIMESTAMP].max() if TIMESTAMP in rows.columns else None
    if isinstance(latest, int) and latest >= ORDER_BELOW:
        edges = pl.Series([rows[TIMESTAMP].min(), latest], dtype=pl.Int64)
        first, last = pl.from_epoch(edges, time_unit="s").dt.strftime("%Y-%m-%d")
        findings.facts["dates"] = f"{first} to {last}"


def known(rows: pl.DataFrame, table: pl.DataFrame | None, key: str) -> str:
    """The number of users or items, and how many of them are in their table."""
    there = rows[key].unique()
    if table is None:
        return f"{len(there):,}"
    in_file = int(there.is_in(table[key].implode()).sum())
    return f"{len(there):,}, of which {in_file:,} are in the file with {len(table):,} rows"


# --- features -----------------------------------------------------------------------------------


def check_features(config: Config, tables: dict[str, pl.DataFrame], findings: _Findings) -> None:
    """Check each feature against its column."""
    derived = {
        table: config.data.interactions
        for table in ("users", "items")
        if getattr(config.data, f"{table}_from_interactions")
    }
    named = sources(config) | derived
    vectors = vector_files(config)
    for side in SIDES:
        for name, feature in config.features.columns(side).items():
            alone = FeaturesConfig.model_validate({side: {name: feature.model_dump()}})
            column = feature.column or name
            in_vectors = side != "context" and column in vectors[SIDE_TABLES[side][0]]
            named_already = side == "context" or in_vectors
            for table in SIDE_TABLES[side]:
                frame, source = tables.get(table), named.get(table)
                if frame is None and (source is not None or side == "context"):
                    continue  # the table's own problem has been reported, or it is optional
                if frame is not None and column not in frame.columns and named_already:
                    continue  # reported with the table
                good = findings.attempt(
                    step(
                        alone, side, frame, source, rows=side != "context" and table not in derived
                    )
                )
                if good and frame is not None and table == SIDE_TABLES[side][0]:
                    findings.facts[f"{side}.{name}"] = describe_column(frame[column], feature)
                if good and frame is not None:
                    unusable = feature.unusable(frame[column], file=source)
                    findings.notes += [] if unusable is None else [unusable]


def step(
    alone: FeaturesConfig, side: Side, frame: pl.DataFrame | None, source: str | None, *, rows: bool
) -> Callable[[], bool]:
    """A function that checks one feature on a table and returns True."""

    def run() -> bool:
        check_side(alone, side, frame, file=source, rows=rows)
        return True

    return run


def describe_column(column: pl.Series, feature: FeatureConfig) -> str:
    """Type, share of rows with a value, and number of distinct values."""
    there, distinct = feature.count(column)
    share = there / max(len(column), 1)
    return f"{feature.type}, {share:.1%} of {len(column):,} rows, {distinct:,} distinct values"


# --- the split ----------------------------------------------------------------------------------


def check_split(config: Config, checked: Container[str], findings: _Findings) -> None:
    """Split the interactions as in training if their tables are valid; if there are no other
    problems, encode the parts as well."""
    wrong = [table for table in sources(config) if table not in checked]
    if not set(wrong) <= {"users", "items"}:
        return
    data = config.data.model_copy(update=dict.fromkeys(wrong))
    context = () if findings.problems else context_columns(config)
    tables = findings.attempt(
        lambda: read_tables(
            data,
            context=context,
            vectors=vector_files(config),
            declared=declared_columns(config),
            work=findings.work,
        )
    )
    if tables is None:
        return
    findings.notes += tables.notes
    parts = findings.attempt(lambda: split_interactions(tables, config.data.split, findings.work))
    if parts is None:
        return
    findings.notes.append(parts.leak)
    findings.facts["split"] = (
        f"{parts.method}: {len(parts.train):,} training, {len(parts.validation):,} validation, "
        f"{len(parts.test):,} test rows"
    )
    if findings.problems:
        return
    dataset = findings.attempt(
        lambda: Dataset.from_parts(config, tables, parts, work=findings.work)
    )
    if dataset is None:
        return
    findings.notes += dataset.notes
    findings.facts["recipe"] = recipe_sentence(dataset.train, config)
    reach = findings.attempt(lambda: reach_before_training(dataset))
    if reach is not None:
        findings.notes += reach.notes(parts.method)


def reach_before_training(dataset: Dataset) -> Reachability | None:
    """What of the test part can be found, and whom of it training will know; None without one.

    Raises:
        DataError: no row can be measured on.
    """
    if not len(dataset.test):
        return None
    settings, seen = dataset.config.evaluation, known_events(dataset).items
    warm_items = dataset.train.item_counts() > 0
    part, _ = among(settings.candidates, dataset.test, warm_items)
    return reach_of(
        part,
        UserPaths(dataset.users, seen).answer_path(distinct_values(part.user_num)),
        seen=seen,
        warm_items=warm_items,
        k=settings.k,
        mask_seen=settings.mask_seen,
    )


# --- rendering ----------------------------------------------------------------------------------


def render_check(report: CheckReport) -> RenderableType:
    """Facts as a table, then notes, then problems and their number."""
    table = Table(show_header=False, box=None)
    for name, fact in report.facts.items():
        table.add_row(f"[bold]{escape(name)}[/bold]", escape(fact))
    lines = [f"[yellow]note: {escape(note)}[/yellow]" for note in report.notes]
    lines += [f"[red]problem: {escape(problem)}[/red]" for problem in report.problems]
    number = len(report.problems)
    if number:
        lines.append(f"[bold red]{number:,} problem{'s' if number > 1 else ''}.[/bold red]")
    else:
        lines.append("[green]No problems found.[/green]")
    return Group(*([table] if report.facts else []), *lines)
