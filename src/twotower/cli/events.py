"""The commands that keep an event store in order: `twotower events prune` and `backup`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from twotower.cli.service import EventsArgument
from twotower.cli.shared import JsonOption, app, out, print_json

events_app = typer.Typer(
    no_args_is_help=True, help="Maintain an event store: remove old events, write backups."
)
app.add_typer(events_app, name="events")

_SECONDS = {"d": 86_400, "w": 7 * 86_400}


def seconds_of(age: str) -> int:
    """The seconds of an age such as 90d (days) or 12w (weeks); at least a day.

    Raises:
        BadParameter: it is not an age.
    """
    found = re.fullmatch(r"([1-9]\d{0,4})([dw])", age.strip(), re.ASCII)
    if found is None:
        raise typer.BadParameter(f"{age!r} is not an age: write days as 90d, weeks as 12w")
    return int(found[1]) * _SECONDS[found[2]]


@events_app.command("prune")
def prune(
    events: EventsArgument,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Such as 90d (days) or 12w (weeks).")
    ],
    as_json: JsonOption = False,
) -> None:
    """Remove old events and impressions, while the service runs.

    Export them first if later trainings are to learn from them. The list of forgotten users, items,
    versions and keys stay.

    Example: twotower events prune shop/events.sqlite --older-than 90d
    """
    import time
    from contextlib import closing

    from twotower.serving.store.opening import open_store

    before = int(time.time()) - seconds_of(older_than)
    with closing(open_store(events, create=False)) as store:
        removed = store.prune(before)
    if as_json:
        print_json({"before": before, **removed._asdict()})
        return
    out.print(
        f"Removed {removed.events:,} events and {removed.impressions:,} impressions.",
        highlight=False,
    )


@events_app.command("backup")
def backup(
    events: EventsArgument,
    file: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file.")],
    as_json: JsonOption = False,
) -> None:
    """Copy an SQLite event store while the service runs; for PostgreSQL use pg_dump.

    To restore it, stop the service and put the copy in the place of the store.

    Example: twotower events backup shop/events.sqlite --out backup.sqlite
    """
    from contextlib import closing

    from twotower.errors import StoreError, explain
    from twotower.serving.store.opening import open_store
    from twotower.serving.store.sqlite import SqliteEventStore

    with closing(open_store(events, create=False)) as store:
        if not isinstance(store, SqliteEventStore):
            raise StoreError(
                explain(
                    "only event stores in SQLite files are copied by this command",
                    fix="use pg_dump: the tables of the store are named twotower_*",
                )
            )
        store.back_up(file)
    if as_json:
        print_json({"file": str(file), "bytes": file.stat().st_size})
        return
    out.print(f"Wrote {escape(str(file))}.", highlight=False)
