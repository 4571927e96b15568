"""The command line: one verb a workflow.

Results go to standard output (with `--json` one JSON object and nothing else), progress and logs to
standard error. Exit codes: 0 done, 1 the data or the result is not right, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import twotower
from twotower.errors import TwoTowerError

if TYPE_CHECKING:
    from twotower.serving.answers import Recommendation

# The heavy rooms (torch, polars, faiss) are imported inside the verbs, so that `--help` is quick.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Two-tower retrieval: from a table of interactions to measured recommendations.\n\n"
    "Start with [bold]twotower demo[/bold], or with your own files: "
    "[bold]twotower init shop --interactions clicks.csv[/bold].",
)
out = Console()
err = Console(stderr=True)

LONGEST_CELL = 60
"""Characters of a value that a table shows."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle that `train` wrote.")]
ConfigArgument = Annotated[Path, typer.Argument(help="A twotower.toml.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the config."),
]
KOption = Annotated[int, typer.Option("--k", min=1, help="How many items.")]


def main() -> None:
    """Run the command line; errors of input are printed without a traceback."""
    try:
        app()
    except TwoTowerError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)
        sys.exit(1)


def print_json(document: Any) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle what stands before the verb."""
    if version:
        typer.echo(twotower.__version__)
        raise typer.Exit


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where to put it all.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the synthetic shop.")] = 0,
) -> None:
    """A synthetic shop: train, compare, bundle, recommend, in about a minute.

    Example: twotower demo --out demo
    """
    from twotower.workflow.demo import run_demo

    run_demo(folder, console=out, progress=err, seed=seed)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets the twotower.toml.")],
    interactions: Annotated[str, typer.Option("--interactions", help="File, folder or SQL URI.")],
    users: Annotated[str | None, typer.Option("--users", help="Optional users table.")] = None,
    items: Annotated[str | None, typer.Option("--items", help="Optional items table.")] = None,
) -> None:
    """Look at the files and write a twotower.toml with its guesses commented.

    Example: twotower init shop --interactions clicks.csv --items products.csv
    """
    from twotower.workflow.init import write_config

    write_config(folder, interactions, users, items)
    path = folder / "twotower.toml"
    out.print(f"Wrote {escape(str(path))}. Read its comments, then:")
    out.print(f"  twotower check {escape(str(path))}", highlight=False)
    out.print(
        f"  twotower train {escape(str(path))} --out {escape(str(folder / 'bundle'))}",
        highlight=False,
    )


@app.command()
def check(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Name every problem of a config and its files; exit 1 if there is one.

    Example: twotower check shop/twotower.toml
    """
    from twotower.workflow.check import check as run_check
    from twotower.workflow.check import render_check

    report = run_check(config, overrides or ())
    out.print(render_check(report))
    if report.problems:
        raise typer.Exit(1)


@app.command()
def train(
    config: ConfigArgument,
    bundle: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The bundle to write.")],
    overrides: SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")
    ] = False,
) -> None:
    """Train the towers, measure them on held-out data, write a bundle.

    Ctrl-C stops training and goes on with the best weights so far.

    Example: twotower train shop/twotower.toml --out shop/bundle --set training.epochs=20
    """
    from twotower.config import load_config
    from twotower.workflow.evaluate import render
    from twotower.workflow.train import train_bundle

    outcome = train_bundle(load_config(config, overrides or ()), bundle, resume=resume, console=err)
    for note in outcome.notes:
        err.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False)
    if outcome.evaluation is not None:
        out.print(render(outcome.evaluation))
    out.print(f"Wrote {escape(str(bundle))}. Next:")
    out.print(
        f"  twotower recommend {escape(str(bundle))} --user {escape(outcome.example_user)}",
        highlight=False,
    )


@app.command()
def evaluate(
    bundle: BundleArgument,
    test: Annotated[
        str | None, typer.Option("--test", help="Other test rows than the bundle's own.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Cut-off of the metrics.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on held-out interactions, ranked over the full catalogue.

    Example: twotower evaluate shop/bundle --k 10
    """
    from twotower.workflow.evaluate import evaluate_bundle, render

    evaluation = evaluate_bundle(bundle, test, k)
    if as_json:
        print_json(evaluation.to_json())
    else:
        out.print(render(evaluation))


@app.command()
def compare(
    config: ConfigArgument,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B,C", help="Which models; left out: all that fit."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder; left out: `comparison` beside it."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put models beside each other: tuned alike, measured alike, with tests and costs.

    Writes report.html and comparison.json. What an interrupted comparison finished is kept, and the
    same command goes on.

    Models: popularity, recent_popularity, item_knn, ease, ials, bpr_mf, logistic_mf, svd,
    two_tower_ids, factorization_machine, two_tower_linear, two_tower, ncf, pipeline.

    Example: twotower compare shop/twotower.toml --models popularity,ials,two_tower
    """
    from twotower.config import load_config
    from twotower.workflow.compare import compare as run_compare
    from twotower.workflow.compare import render_comparison

    found = run_compare(
        load_config(config, overrides or ()),
        folder or config.parent / "comparison",
        models=[name.strip() for name in (models or "").split(",") if name.strip()],
        console=err,
    )
    if as_json:
        print_json(found.document)
    else:
        out.print(render_comparison(found, out.width))
        out.print(f"Wrote {escape(str(found.report))}.", highlight=False)
    if found.interrupted or found.document["failed"]:
        raise typer.Exit(1)


@app.command()
def recommend(
    bundle: BundleArgument,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="One user.")] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Every user, into the file of --out.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="For --all-users.")
    ] = None,
    k: KOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to one user, or to all users into a Parquet file.

    Example: twotower recommend shop/bundle --user u42 --k 5
    """
    from twotower.serving.recommender import Recommender

    if all_users == (user is not None):
        raise typer.BadParameter("give either --user ID or --all-users")
    if all_users != (file is not None):
        raise typer.BadParameter("--all-users and --out FILE.parquet go together")
    recommender = Recommender.load(bundle)
    if file is not None:
        from twotower.workflow.recommend_all import write_recommendations

        rows = write_recommendations(recommender, file, k=k, progress=err)
        if as_json:
            print_json({"file": str(file), "rows": rows})
        else:
            out.print(f"Wrote {rows:,} rows to {escape(str(file))}.")
        return
    assert user is not None
    answer = recommender.recommend(user_ids=[user], k=k)[0]
    if as_json:
        print_json(recommendation_json(answer))
    else:
        out.print(items_table(answer.items, f"For user {answer.user_id} (path: {answer.path})"))


@app.command()
def similar(
    bundle: BundleArgument,
    item: Annotated[str, typer.Option("--item", metavar="ID", help="The item.")],
    k: KOption = 10,
    as_json: JsonOption = False,
) -> None:
    """The items whose vectors are nearest to an item's.

    Example: twotower similar shop/bundle --item i7
    """
    from twotower.serving.recommender import Recommender

    items = Recommender.load(bundle).similar(item, k)
    if as_json:
        print_json({"item_id": item, "items": [item_json(entry) for entry in items]})
    else:
        out.print(items_table(items, f"Similar to {item}"))


@app.command("add-items")
def add_items(
    bundle: BundleArgument,
    file: Annotated[str, typer.Argument(help="New items: a file, a folder or a database URI.")],
    as_json: JsonOption = False,
) -> None:
    """Encode new items and put them into a bundle, without training.

    Example: twotower add-items shop/bundle new.csv
    """
    from twotower.workflow.add_items import add_items as run

    added = run(bundle, file)
    if as_json:
        print_json({"items": added.items, "vectors": added.vectors, "catalogue": added.catalogue})
        return
    for note in added.notes:
        err.print(escape(note), highlight=False)
    out.print(
        f"{added.items:,} new items, {added.vectors:,} of them with a vector; the catalogue has "
        f"{added.catalogue:,} items.",
        highlight=False,
    )


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


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, device, threads, optional extras.

    Example: twotower doctor
    """
    from twotower.workflow.doctor import diagnose

    facts = diagnose()
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/bold]", escape(str(value)))
    out.print(table)


def recommendation_json(answer: Recommendation) -> dict[str, Any]:
    """A recommendation as the design's JSON."""
    return {
        "user_id": answer.user_id,
        "path": answer.path,
        "live": answer.live,
        "items": [item_json(entry) for entry in answer.items],
    }


def item_json(entry: Any) -> dict[str, Any]:
    """One recommended item as JSON."""
    return {"item_id": entry.item_id, "score": entry.score, "reason": entry.reason}


def cell_text(value: object) -> str:
    """A value in a table's cell: a plot is cut, and the bytes of a picture are not shown."""
    text = f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def items_table(items: Any, title: str) -> Table:
    """Recommended items as a table, with up to three columns of the items file."""
    table = Table(title=escape(title), title_justify="left")
    shown = list(items[0].columns)[:3] if items else []
    for name in ("", "item", *shown, "score", "reason"):
        table.add_column(escape(name), justify="right" if name in ("", "score") else "left")
    for place, entry in enumerate(items, start=1):
        columns = [escape(cell_text(entry.columns.get(name, ""))) for name in shown]
        table.add_row(
            str(place),
            escape(str(entry.item_id)),
            *columns,
            f"{entry.score:.3f}",
            escape(entry.reason),
        )
    return table


# --- the event store ----------------------------------------------------------------------------

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


@app.command("export-events")
def export_events(
    events: EventsArgument,
    file: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="The table.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Write the column names that this twotower.toml reads."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="Beside the ids, these alone."),
    ] = None,
    forgotten: Annotated[
        Path | None,
        typer.Option("--forgotten", metavar="FILE.parquet", help="For data.exclude_users."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the logged events as a table that `train` reads; forgotten users are left out.

    Example: twotower export-events events.db --out log/events.parquet --config twotower.toml
    """
    from contextlib import closing
    from dataclasses import asdict

    from twotower.config import load_config
    from twotower.serving.events.opening import open_store
    from twotower.workflow.export_events import DEFAULT_WEIGHT
    from twotower.workflow.export_events import export_events as run

    with closing(open_store(events, create=False)) as store:
        told = run(
            store,
            file,
            config=None if config is None else load_config(config),
            columns=columns.split(",") if columns else (),
            forgotten=forgotten,
        )
    if as_json:
        print_json({"file": str(file), **asdict(told)})
        return
    if told.unweighted:
        err.print(f"{told.unweighted:,} events without a weight got {DEFAULT_WEIGHT:g}.")
    if told.empty:
        err.print(f"No event has a value of: {escape(', '.join(told.empty))}.", highlight=False)
    out.print(
        f"Wrote {told.rows:,} events to {escape(str(file))}; {told.left_out:,} of forgotten users "
        "were left out.",
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

    from twotower.serving.events.opening import open_store
    from twotower.workflow.experiment import render_experiment, report_experiment

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

    from twotower.serving.events.opening import open_store
    from twotower.serving.keys import create_key as run

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

    from twotower.serving.events.opening import open_store
    from twotower.serving.keys import key_json

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

    from twotower.serving.events.opening import open_store
    from twotower.serving.keys import revoke_key as run

    with closing(open_store(events, create=False)) as store:
        run(store, name)
    out.print(f"Revoked {escape(name)}.", highlight=False)
