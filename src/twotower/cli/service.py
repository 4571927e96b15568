"""The commands of the HTTP service and of its event store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from twotower.cli.shared import JsonOption, VerifyKeyOption, app, err, out, print_json

keys_app = typer.Typer(
    no_args_is_help=True, help="Manage the API keys of the service: create, list, revoke."
)
app.add_typer(keys_app, name="keys")
EventsArgument = Annotated[
    str,
    typer.Argument(
        metavar="EVENTS",
        help="Event store: an SQLite file or postgresql://USER:PASSWORD@HOST/DB.",
    ),
]


@app.command(context_settings={"auto_envvar_prefix": "TWOTOWER_SERVE"})
def serve(
    source: Annotated[Path, typer.Argument(help="A bundle, or a folder of bundles.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port.")] = 8000,
    events: Annotated[
        str | None,
        typer.Option("--events", metavar="URI", help="Event store: SQLite file or postgresql://."),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host", metavar="NAME", help="Host name to serve without keys; repeatable."
        ),
    ] = None,
    cors_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin", metavar="ORIGIN", help="Origin whose pages may ask; repeatable."
        ),
    ] = None,
    proxies: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help="Proxy or network whose X-Forwarded-For and -Prefix are believed; repeatable.",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option("--root-path", help="Path prefix at the proxy, such as /recs.")
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            envvar="TWOTOWER_ADMIN_KEY_FILE",
            help="File with an admin key to accept, such as a container's secret.",
        ),
    ] = None,
    verify_key: VerifyKeyOption = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")] = 1,
    rate: Annotated[
        float,
        typer.Option("--rate", min=0, help="Requests per second per key or address; 0: no limit."),
    ] = 0.0,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, help="Maximum request body in bytes.")
    ] = 2_000_000,
    timeout: Annotated[float, typer.Option("--timeout", help="Request timeout in seconds.")] = 10.0,
    receive_timeout: Annotated[
        float,
        typer.Option(
            "--receive-timeout", help="Seconds in which a request has to arrive completely."
        ),
    ] = 30.0,
    stale_seconds: Annotated[
        float,
        typer.Option(
            "--stale-seconds",
            min=0,
            help="How long to answer from memory while the event store is away.",
        ),
    ] = 300.0,
    drain: Annotated[
        float,
        typer.Option(
            "--drain", min=0, help="Seconds of answering after SIGTERM; /readyz says 503 at once."
        ),
    ] = 0.0,
    gate_drop: Annotated[
        float,
        typer.Option(
            "--gate-drop", min=0, max=1, help="Maximum relative ndcg@k loss of a new version."
        ),
    ] = 0.05,
    impressions: Annotated[
        bool,
        typer.Option("--impressions/--no-impressions", help="Log the recommendations served."),
    ] = True,
    reasons: Annotated[
        Path | None,
        typer.Option(
            "--reasons", metavar="FILE.toml", help="Sentences of reasons. Default: English."
        ),
    ] = None,
    learn: Annotated[
        bool | None,
        typer.Option(
            "--learn/--no-learn",
            help="Train small models for the studio's course. Default: only without keys.",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Serve recommendations over HTTP, with the studio page on the same port.

    Each option can be set by an environment variable, too: TWOTOWER_SERVE_PORT for --port.

    Example: twotower serve shop/bundle --port 8000
    """
    from pydantic import ValidationError

    from twotower.web.serve import default_event_store
    from twotower.web.serve import serve as run
    from twotower.web.settings import ServeSettings

    try:
        settings = ServeSettings.model_validate(
            {
                "source": source,
                "events": default_event_store(source) if events is None else events,
                "host": host,
                "port": port,
                "allowed_hosts": tuple(allowed_hosts or ()),
                "cors_origins": tuple(cors_origins or ()),
                "proxies": tuple(proxies or ()),
                "root_path": root_path.rstrip("/"),
                "key_file": key_file,
                "verify_key": verify_key,
                "workers": workers,
                "rate": rate,
                "max_body": max_body,
                "timeout": timeout,
                "receive_timeout": receive_timeout,
                "stale_seconds": stale_seconds,
                "drain": drain,
                "gate_drop": gate_drop,
                "impressions": impressions,
                "reasons": reasons,
                "learn": learn,
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
            help="A .parquet, .csv or .jsonl file. Default: the folder in the config's "
            "data.exported.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Write the format that this twotower.toml reads."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="Columns to write besides the ids."),
    ] = None,
    forgotten: Annotated[
        Path | None,
        typer.Option(
            "--forgotten",
            metavar="FILE",
            help="Also write the ids of forgotten users, for data.exclude_users.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export logged events as tables that `train` reads; events of forgotten users are excluded.

    If the config sets data.exported, items added at run time and the list of forgotten users are
    exported too, and the next `train` reads them all.

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
        raise typer.BadParameter("give --out FILE, or only --config with data.exported set")
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
        f"Wrote {exported.rows:,} events to {escape(str(file))}; excluded {exported.left_out:,} "
        "events of forgotten users.",
        highlight=False,
    )
    if items:
        out.print(
            f"Wrote {items['items']:,} items added and {items['changed']:,} items changed at run "
            f"time; {items['removed']:,} items were removed.",
            highlight=False,
        )


@app.command("ab-report")
def ab_report(
    events: EventsArgument,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="NAME", help="Default: the latest experiment."),
    ] = None,
    event_types: Annotated[
        list[str] | None,
        typer.Option(
            "--event-type", metavar="TYPE", help="Event types to count. Default: all types."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the variants of an A/B experiment, with confidence intervals over users.

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
    name: Annotated[str, typer.Option("--name", help="Name of the key.")],
    scopes: Annotated[
        list[str], typer.Option("--scope", metavar="SCOPE", help="read, write or admin.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it once; the store keeps only its hash.

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
    err.print("Save this key now; it is not shown again.")
    typer.echo(key)


@keys_app.command("list")
def list_keys(events: EventsArgument, as_json: JsonOption = False) -> None:
    """List the names, scopes and dates of all keys, not the keys themselves.

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
    name: Annotated[str, typer.Option("--name", help="Name of the key.")],
) -> None:
    """Revoke a key: requests that use it are rejected from now on.

    Example: twotower keys revoke events.db --name shop
    """
    from contextlib import closing

    from twotower.serving.store.keys import revoke_key as run
    from twotower.serving.store.opening import open_store

    with closing(open_store(events, create=False)) as store:
        run(store, name)
    out.print(f"Revoked {escape(name)}.", highlight=False)
