"""The verbs of the live service and of what it logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from twotower.cli.shared import JsonOption, app, err, out, print_json

keys_app = typer.Typer(
    no_args_is_help=True, help="Bearer keys of the service: create, list, revoke."
)
app.add_typer(keys_app, name="keys")
EventsArgument = Annotated[
    str,
    typer.Argument(
        metavar="EVENTS", help="The event store: a file, or postgresql://USER:PASSWORD@HOST/DB."
    ),
]


@app.command()
def serve(
    source: Annotated[Path, typer.Argument(help="A bundle, or a folder of bundles.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port.")] = 8000,
    events: Annotated[
        str | None,
        typer.Option("--events", metavar="URI", help="SQLite file or postgresql:// of the store."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Requests a second of each key; 0: no limit.")
    ] = 0.0,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Bytes.")] = 2_000_000,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for an answer.")] = 10.0,
    gate_drop: Annotated[
        float,
        typer.Option("--gate-drop", min=0, max=1, help="How much worse a new version may be."),
    ] = 0.05,
    impressions: Annotated[
        bool, typer.Option("--impressions/--no-impressions", help="Keep the answers given.")
    ] = True,
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Serve recommendations over HTTP, with the studio page on the same port.

    Example: twotower serve shop/bundle --port 8000
    """
    from pydantic import ValidationError

    from twotower.web.serve import beside
    from twotower.web.serve import serve as run
    from twotower.web.settings import ServeSettings

    try:
        settings = ServeSettings.model_validate(
            {
                "source": source,
                "events": beside(source) if events is None else events,
                "host": host,
                "port": port,
                "workers": workers,
                "rate": rate,
                "max_body": max_body,
                "timeout": timeout,
                "gate_drop": gate_drop,
                "impressions": impressions,
                "log_level": log_level,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        option = str(problem["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"--{option}: {problem['msg']}") from None
    run(settings)


@app.command("export-events")
def export_events(
    events: EventsArgument,
    file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A .parquet, .csv or .jsonl. Default: the folder of the config's data.exported.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Write what training reads by this twotower.toml."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="Beside the ids, these alone."),
    ] = None,
    forgotten: Annotated[
        Path | None,
        typer.Option("--forgotten", metavar="FILE", help="For data.exclude_users."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the logged events as tables that `train` reads, without those of forgotten users.

    With data.exported in the config, items put at run time and the list of forgotten users are
    written, too, and the next `train` reads it all.

    Example: twotower export-events events.db --config shop/twotower.toml
    """
    from contextlib import closing
    from dataclasses import asdict

    from twotower.config import load_config
    from twotower.serving.store.opening import open_store
    from twotower.workflow.events.export_events import export_events as run
    from twotower.workflow.events.export_events import export_folder

    loaded = None if config is None else load_config(config)
    if file is None and (loaded is None or columns or forgotten):
        raise typer.BadParameter("give --out FILE, or --config alone, which names the folder")
    items: dict[str, int] = {}
    with closing(open_store(events, create=False)) as store:
        if file is None:
            assert loaded is not None
            file, exported, put = export_folder(store, loaded)
            items = asdict(put)
        else:
            exported = run(
                store,
                file,
                config=loaded,
                columns=columns.split(",") if columns else (),
                forgotten=forgotten,
            )
    if as_json:
        print_json({"file": str(file), **asdict(exported), **({"items": items} if items else {})})
        return
    for note in exported.notes(loaded):
        err.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False)
    out.print(
        f"Wrote {exported.rows:,} events to {escape(str(file))}; {exported.left_out:,} of "
        "forgotten users were not exported.",
        highlight=False,
    )
    if items:
        out.print(
            f"Wrote {items['items']:,} items that were put at run time; {items['removed']:,} were "
            "removed.",
            highlight=False,
        )


@app.command("ab-report")
def ab_report(
    events: EventsArgument,
    experiment: Annotated[
        str | None, typer.Option("--experiment", metavar="NAME", help="Left out: the last one.")
    ] = None,
    event_types: Annotated[
        list[str] | None,
        typer.Option("--event-type", metavar="TYPE", help="Count these; left out, every event."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the variants of an experiment, with intervals over users.

    Example: twotower ab-report events.db --experiment layout --event-type buy
    """
    from contextlib import closing

    from twotower.serving.store.opening import open_store
    from twotower.workflow.events.ab_report import render_experiment, report_experiment

    with closing(open_store(events, create=False)) as store:
        report = report_experiment(store, experiment, event_types)
    if as_json:
        print_json(report.to_json())
    else:
        out.print(render_experiment(report))


@keys_app.command("create")
def create_key(
    events: EventsArgument,
    name: Annotated[str, typer.Option("--name", help="Whose it is; for the list.")],
    scopes: Annotated[
        list[str], typer.Option("--scope", metavar="SCOPE", help="read, write or admin.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: the store keeps a digest alone.

    Example: twotower keys create events.db --name shop --scope read --scope write
    """
    from contextlib import closing

    from twotower.serving.store.keys import create_key as run
    from twotower.serving.store.opening import open_store

    with closing(open_store(events)) as store:
        key = run(store, name, scopes)
    if as_json:
        print_json({"name": name, "scopes": sorted(set(scopes)), "key": key})
        return
    err.print("Keep it now; it is not shown again.")
    typer.echo(key)


@keys_app.command("list")
def list_keys(events: EventsArgument, as_json: JsonOption = False) -> None:
    """List all keys, without the keys themselves.

    Example: twotower keys list events.db
    """
    from contextlib import closing

    from twotower.serving.store.keys import key_json
    from twotower.serving.store.opening import open_store

    with closing(open_store(events, create=False)) as store:
        rows = list(map(key_json, store.keys()))
    if as_json:
        print_json({"keys": rows})
        return
    table = Table()
    for name in ("name", "scopes", "created", "revoked"):
        table.add_column(name)
    for row in rows:
        scopes = ", ".join(row["scopes"])
        table.add_row(escape(row["name"]), scopes, row["created"], row["revoked"] or "")
    out.print(table)


@keys_app.command("revoke")
def revoke_key(
    events: EventsArgument,
    name: Annotated[str, typer.Option("--name", help="The key's name.")],
) -> None:
    """Revoke a key: requests with it are refused from now on.

    Example: twotower keys revoke events.db --name shop
    """
    from contextlib import closing

    from twotower.serving.store.keys import revoke_key as run
    from twotower.serving.store.opening import open_store

    with closing(open_store(events, create=False)) as store:
        run(store, name)
    out.print(f"Revoked {escape(name)}.", highlight=False)
