"""Shared by all commands: the Typer application, common options and printing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twotower._version import __version__
from twotower.training.monitor import open_console

if TYPE_CHECKING:
    from twotower.serving.store.protocol import EventStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Two-tower recommender systems: train, evaluate, compare and serve.\n\n"
    "Start with [bold]twotower demo[/bold], or with your own files: "
    "[bold]twotower init shop --interactions clicks.csv[/bold].",
)
out = open_console()
err = open_console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BundleArgument = Annotated[Path, typer.Argument(help="Bundle written by `train`.")]
ConfigArgument = Annotated[Path, typer.Argument(help="Path to twotower.toml.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a config key."),
]
EventsOption = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URI",
        help="Event store of the service. Default: the file that `serve` uses, if there is one.",
    ),
]
VerifyKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--verify-key",
        metavar="FILE",
        envvar="TWOTOWER_VERIFY_KEY",
        help="Public key: accept only bundles that `twotower sign` signed with its private key.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Run on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for a new one here.",
    ),
]
KOption = Annotated[int, typer.Option("--k", min=1, help="Number of items.")]


@contextmanager
def store_of(bundle: Path, events: str | None) -> Iterator[EventStore | None]:
    """The event store of a bundle's service: the one that is named, or the file that `serve` uses
    by default; None where there is neither."""
    beside = bundle.resolve().parent / "events.sqlite"
    if events is None and not beside.exists():
        yield None
        return
    from contextlib import closing

    from twotower.serving.store.opening import open_store

    with closing(open_store(events or beside, create=False)) as store:
        yield store


def print_json(document: Any) -> None:
    """Print one JSON object to standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle options that come before the command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
