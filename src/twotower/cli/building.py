"""The commands from input files to an evaluated model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from twotower.cli.shared import (
    BundleArgument,
    ConfigArgument,
    EventsOption,
    JsonOption,
    RayOption,
    SetOption,
    VerifyKeyOption,
    app,
    err,
    out,
    print_json,
    store_of,
)

if TYPE_CHECKING:
    from twotower.workflow.training.train import Outcome


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Random seed of the synthetic shop.")] = 0,
) -> None:
    """Generate a synthetic shop, then train, compare and recommend; takes about a minute.

    Example: twotower demo --out demo
    """
    from twotower.workflow.setup.demo import run_demo

    run_demo(folder, console=out, progress=err, seed=seed)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write twotower.toml to.")
    ],
    interactions: Annotated[
        str, typer.Option("--interactions", help="Interactions table: file, folder or SQL URI.")
    ],
    users: Annotated[str | None, typer.Option("--users", help="Users table (optional).")] = None,
    items: Annotated[str | None, typer.Option("--items", help="Items table (optional).")] = None,
) -> None:
    """Inspect the files and write a twotower.toml that explains each guess in a comment.

    Example: twotower init shop --interactions clicks.csv --items products.csv
    """
    from twotower.workflow.setup.init import write_config

    written = write_config(folder, interactions, users, items)
    path = written.path
    for note in written.notes:
        out.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False)
    out.print(f"Wrote {escape(str(path))}. Review its comments, then run:")
    out.print(f"  twotower check {escape(str(path))}", highlight=False)
    out.print(
        f"  twotower train {escape(str(path))} --out {escape(str(folder / 'bundle'))}",
        highlight=False,
    )


@app.command()
def check(config: ConfigArgument, overrides: SetOption = None) -> None:
    """List every problem in a config and its files; exit 1 if there are any.

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
    bundle: Annotated[
        Path, typer.Option("--out", metavar="BUNDLE", help="Bundle folder to write.")
    ],
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    number: Annotated[
        int,
        typer.Option(
            "--processes", metavar="N", min=1, help="Processes on this machine that train together."
        ),
    ] = 1,
    ray: RayOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="With --ray: processes that train together. Default: one on each node.",
        ),
    ] = None,
) -> None:
    """Train the model, evaluate it on held-out data and write a bundle.

    Ctrl-C stops training and keeps the best weights so far. `torchrun -m twotower train ...` trains
    by processes on several machines; so does --ray, on those of a cluster, which have to share the
    data and the folder of BUNDLE.

    Example: twotower train shop/twotower.toml --out shop/bundle --set training.epochs=20
    """
    from twotower.config import load_config
    from twotower.parallel.processes import processes_of_environment
    from twotower.parallel.started import are_started, end_with_the_command, restarts
    from twotower.workflow.training.join_training import join_training
    from twotower.workflow.training.train import train_bundle

    end_with_the_command()
    if ray is None and workers is not None:
        raise typer.BadParameter("--workers is for --ray; --processes starts some on this machine")
    if ray is not None and number > 1:
        raise typer.BadParameter("--processes is without --ray; --workers is the number of them")
    settings = load_config(config, overrides or ())
    if ray is not None:
        from twotower.workflow.cluster.training import train_on_cluster

        how: dict[str, Any] = {"address": ray, "workers": workers, "resume": resume}
        tell(train_on_cluster(settings, bundle, **how, console=err), bundle)
        return
    if number > 1 and not are_started():
        from twotower.parallel.launch import launch

        code = launch(sys.argv[1:], number, console=err)
        if code:
            raise typer.Exit(code)
        return
    with processes_of_environment(settings.training.device) as processes:
        resume = resume or restarts() > 0
        if processes.is_first:
            outcome = train_bundle(
                settings, bundle, resume=resume, console=err, processes=processes
            )
            tell(outcome, bundle)
        else:
            join_training(bundle, resume=resume, processes=processes)


def tell(outcome: Outcome, bundle: Path) -> None:
    """Print the evaluation and what to do next."""
    from twotower.workflow.evaluate import render

    for part, notes in outcome.notes.items():
        if notes:
            err.print(f"[yellow]Notes on {part}:[/yellow]", highlight=False)
        for note in dict.fromkeys(notes):
            err.print(f"  - {escape(note)}", highlight=False)
    if outcome.evaluation is not None:
        out.print(render(outcome.evaluation))
    if outcome.interrupted:
        err.print(
            f"[yellow]note:[/yellow] Interrupted; kept the weights of epoch "
            f"{outcome.result.best_epoch}. Run the same command with --resume to continue.",
            highlight=False,
        )
    replaced = " (replaced the existing bundle)" if outcome.replaced else ""
    out.print(f"Wrote {escape(str(bundle))}{replaced}. Next:")
    out.print(
        f"  twotower recommend {escape(str(bundle))} --user {escape(outcome.example_user)}",
        highlight=False,
    )


@app.command()
def evaluate(
    bundle: BundleArgument,
    test: Annotated[
        str | None, typer.Option("--test", help="Test interactions. Default: those in the bundle.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="Cut-off of the metrics, e.g. recall@K.")
    ] = None,
    events: EventsOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a bundle on held-out interactions, ranking the full catalogue.

    With an event store, rows of users who asked to be forgotten are left out.

    Example: twotower evaluate shop/bundle --k 10
    """
    from twotower.evaluation.report import render
    from twotower.serving.live.recent_events import forgotten_users
    from twotower.workflow.evaluate_bundle import evaluate_bundle

    with store_of(bundle, events) as store:
        forgotten = frozenset() if store is None else forgotten_users(store)
    evaluation = evaluate_bundle(bundle, test, k, forgotten=forgotten, verify_key=verify_key)
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
            help="Models to compare. Default: all that apply, except logistic_mf, svd, gmf, mlp "
            "and neumf.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Output folder. Default: `comparison` next to the config."
        ),
    ] = None,
    ray: RayOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models under one tuning budget and one protocol, with significance tests and costs.

    Writes report.html and comparison.json. An interrupted comparison keeps its finished models; run
    the same command again to continue.

    Models: popularity, recent_popularity, item_knn, ease, ials, bpr_mf, logistic_mf, svd, gmf, mlp,
    neumf, two_tower_ids, factorization_machine, two_tower_linear, two_tower, ncf, pipeline.

    Example: twotower compare shop/twotower.toml --models popularity,ials,two_tower
    """
    from twotower.config import load_config
    from twotower.training.interrupt import INTERRUPTED
    from twotower.workflow.comparison.compare import compare as run_compare
    from twotower.workflow.comparison.report.terminal import render_comparison

    comparison = run_compare(
        load_config(config, overrides or ()),
        folder or config.parent / "comparison",
        models=[name.strip() for name in (models or "").split(",") if name.strip()],
        console=err,
        ray=ray,
    )
    if as_json:
        print_json(comparison.document)
    else:
        out.print(render_comparison(comparison.document, out.width))
        out.print(f"Wrote {escape(str(comparison.report))}.", highlight=False)
    if comparison.interrupted:
        raise typer.Exit(INTERRUPTED)
    if comparison.document["failed"]:
        raise typer.Exit(1)


@app.command()
def tune(
    config: ConfigArgument,
    best: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Config to write. Default: `best.toml` next to CONFIG."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, help="Number of trials. Default: 30 without --minutes."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Minutes of training. Default: no limit.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Trials at the same time, in processes.")
    ] = 1,
    ray: RayOption = None,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a search.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the keys to search and the budget, and stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search for better config values on validation data, and write the config with them.

    The first trial is the config as it is; values that are not better beyond noise are not taken.
    Trials that fall behind are pruned. The test part is not used. Ctrl-C keeps the trials and
    writes the best so far; --resume continues.

    Example: twotower tune shop/twotower.toml --minutes 30 --jobs 2 --out shop/best.toml
    """
    from twotower.training.interrupt import INTERRUPTED
    from twotower.workflow.tuning.report import render_tuning
    from twotower.workflow.tuning.tune import tune as run_tuning

    if dry_run:
        show_plan(config, overrides or (), trials, minutes, jobs, as_json=as_json)
        return
    try:
        tuning = run_tuning(
            config,
            best or config.parent / "best.toml",
            trials=trials,
            minutes=minutes,
            jobs=jobs,
            resume=resume,
            overrides=overrides or (),
            console=err,
            ray=ray,
        )
    except KeyboardInterrupt:
        err.print("Interrupted before the first trial was finished.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(tuning.document)
    else:
        out.print(render_tuning(tuning.document))
        out.print(f"Wrote {escape(str(tuning.out))}. Next:")
        bundle = tuning.out.with_name("bundle")
        out.print(
            f"  twotower train {escape(str(tuning.out))} --out {escape(str(bundle))}",
            highlight=False,
        )
    if tuning.interrupted:
        err.print("Interrupted: run the same command with --resume to continue.", highlight=False)
        raise typer.Exit(INTERRUPTED)


def show_plan(
    config: Path,
    overrides: Sequence[str],
    trials: int | None,
    minutes: float | None,
    jobs: int,
    *,
    as_json: bool,
) -> None:
    """Print what `tune` would search."""
    from twotower.config import load_config
    from twotower.workflow.tuning.report import render_space, space_document
    from twotower.workflow.tuning.tune import budget_of, describe_budget, plan

    loaded = load_config(config, overrides)
    budget = describe_budget(budget_of(loaded, trials, minutes, jobs), jobs)
    space = plan(loaded)[1]
    if as_json:
        print_json({"budget": budget, "space": space_document(space)})
    else:
        out.print(render_space(space, budget))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Show versions, device, threads and optional extras.

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
