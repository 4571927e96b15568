"""The verbs from files to a measured model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from twotower.cli.shared import (
    BundleArgument,
    ConfigArgument,
    JsonOption,
    SetOption,
    app,
    err,
    out,
    print_json,
)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where to put it all.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the synthetic shop.")] = 0,
) -> None:
    """A synthetic shop: train, compare, bundle, recommend, in about a minute.

    Example: twotower demo --out demo
    """
    from twotower.workflow.setup.demo import run_demo

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
    from twotower.workflow.setup.init import write_config

    written = write_config(folder, interactions, users, items)
    path = written.path
    for note in written.notes:
        out.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False)
    out.print(f"Wrote {escape(str(path))}. Read its comments, then:")
    out.print(f"  twotower check {escape(str(path))}", highlight=False)
    out.print(
        f"  twotower train {escape(str(path))} --out {escape(str(folder / 'bundle'))}",
        highlight=False,
    )


@app.command()
def check(config: ConfigArgument, overrides: SetOption = None) -> None:
    """List all problems of a config and of each of its files; exit 1 if there is one.

    Example: twotower check shop/twotower.toml
    """
    from twotower.workflow.setup.check import check as run_check
    from twotower.workflow.setup.check import render_check

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
    from twotower.workflow.training.train import train_bundle

    outcome = train_bundle(load_config(config, overrides or ()), bundle, resume=resume, console=err)
    for part, notes in outcome.notes.items():
        if notes:
            err.print(f"[yellow]Notes on {part}:[/yellow]", highlight=False)
        for note in dict.fromkeys(notes):
            err.print(f"  - {escape(note)}", highlight=False)
    if outcome.evaluation is not None:
        out.print(render(outcome.evaluation))
    if outcome.interrupted:
        err.print(
            f"[yellow]note:[/yellow] Interrupted; the weights of epoch {outcome.result.best_epoch} "
            "are kept. The same command with --resume goes on.",
            highlight=False,
        )
    before = ", in place of the bundle that was there" if outcome.replaced else ""
    out.print(f"Wrote {escape(str(bundle))}{before}. Next:")
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
    from twotower.evaluation.report import render
    from twotower.workflow.evaluate_bundle import evaluate_bundle

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
        typer.Option(
            "--models",
            metavar="A,B,C",
            help="Which models; left out: all that fit, without logistic_mf, svd, gmf, mlp, neumf.",
        ),
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

    Models: popularity, recent_popularity, item_knn, ease, ials, bpr_mf, logistic_mf, svd, gmf, mlp,
    neumf, two_tower_ids, factorization_machine, two_tower_linear, two_tower, ncf, pipeline.

    Example: twotower compare shop/twotower.toml --models popularity,ials,two_tower
    """
    from twotower.config import load_config
    from twotower.workflow.comparison.compare import compare as run_compare
    from twotower.workflow.comparison.report.terminal import render_comparison
    from twotower.workflow.comparison.run_contender import INTERRUPTED

    found = run_compare(
        load_config(config, overrides or ()),
        folder or config.parent / "comparison",
        models=[name.strip() for name in (models or "").split(",") if name.strip()],
        console=err,
    )
    if as_json:
        print_json(found.document)
    else:
        out.print(render_comparison(found.document, out.width))
        out.print(f"Wrote {escape(str(found.report))}.", highlight=False)
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)
    if found.document["failed"]:
        raise typer.Exit(1)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, device, threads, optional extras.

    Example: twotower doctor
    """
    from twotower.workflow.setup.doctor import diagnose

    facts = diagnose()
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/bold]", escape(str(value)))
    out.print(table)
