"""Which of a table's columns are ours, by `[data.columns]`."""

from __future__ import annotations

from collections.abc import Container, Sequence

from twotower.config import ColumnsConfig, DataConfig
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.errors import DataError, Problems, explain, unknown


def find_columns(
    source: str,
    there: list[str],
    columns: ColumnsConfig,
    context: Sequence[str],
    problems: Problems,
) -> dict[str, str]:
    """The columns to read, ours -> theirs: those mapped, those that have our names, and those of
    context features (under their own names). What is wrong goes into `problems`."""
    mapped = columns.interactions
    with problems.collected():
        refuse_double_claims(source, mapped)
    names = {}
    for ours, theirs in mapped.items():
        with problems.collected():
            found = find_column(source, there, ours, theirs, mapped)
            if found is not None:
                names[ours] = found
    for name in context:
        if name in there or name in names:
            names.setdefault(name, name)
        else:
            fix = "correct the name of the column in the config"
            problems.add(missing_column(source, there, name, fix))
    return names


def find_missing(names: Container[str], config: DataConfig, source: str) -> list[str]:
    """Problems with keys of the config that need a column of ours, which is neither mapped nor
    among `names`."""
    positive, problems = config.positive, []
    for key, is_set, ours, what in (
        ("positive.event_types", positive.event_types is not None, EVENT_TYPE, "event types"),
        ("positive.event_weights", bool(positive.event_weights), EVENT_TYPE, "event types"),
        (
            "positive.min_weight",
            positive.min_weight is not None and not positive.event_weights,
            WEIGHT,
            "a weight",
        ),
        ('duplicates = "last"', config.duplicates == "last", TIMESTAMP, "times"),
    ):
        if is_set and ours not in names and config.columns.interactions[ours] is None:
            fix = f"set data.columns.{ours} to the name that this table uses"
            problem = f"data.{key} needs {what}, and there is no such column"
            problems.append(explain(problem, file=source, fix=fix))
    return problems


def find_column(
    source: str,
    there: list[str],
    ours: str,
    theirs: str | None,
    mapped: dict[str, str | None],
    *,
    setting: str | None = None,
) -> str | None:
    """The name that one of our columns has in a table; None where it is optional and not there.

    A name in `[data.columns]` is taken even where a column has our own name, too. In the users and
    items files, whose other columns are kept, that is an error.

    `setting` is the key of `[data.columns]` of such a file. Default: the interactions' own, `ours`.
    """
    free = ours in there and ours not in [name for name in mapped.values() if name != theirs]
    if theirs is None:
        return ours if free else None
    if theirs in there:
        if free and theirs != ours and setting is not None:
            raise DataError(
                explain(
                    f"has both {theirs!r}, which [data.columns] maps to {ours}, and a column "
                    f"{ours!r}",
                    file=source,
                    fix=f"set data.columns.{setting} to {ours!r}, or rename one of the columns",
                )
            )
        return theirs
    if free and ours in (USER_ID, ITEM_ID):
        return ours  # [data.columns] may name another table's column
    fix = f"set data.columns.{setting or ours} to the name that this table uses"
    raise DataError(missing_column(source, there, theirs, fix))


def refuse_double_claims(source: str, mapped: dict[str, str | None]) -> None:
    """Two of our columns that are mapped to one of theirs."""
    claimed: dict[str, str] = {}
    for ours, theirs in mapped.items():
        if theirs in claimed:
            raise DataError(
                explain(
                    f"[data.columns] maps it to both {claimed[theirs]} and {ours}",
                    file=source,
                    column=theirs,
                    fix="map each name to a different column",
                )
            )
        if theirs is not None:
            claimed[theirs] = ours


def missing_column(source: str, there: list[str], name: str, fix: str) -> str:
    """The error text for a missing column."""
    return explain(
        unknown("no such column", name, there),
        file=source,
        column=name,
        fix=fix,
    )
