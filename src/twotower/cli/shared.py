"""What the verbs share: the application, options, printing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from twotower._version import __version__
from twotower.training.monitor import open_console

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
out = open_console()
err = open_console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle that `train` wrote.")]
ConfigArgument = Annotated[Path, typer.Argument(help="A twotower.toml.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the config."),
]
KOption = Annotated[int, typer.Option("--k", min=1, help="How many items.")]


def print_json(document: Any) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle what stands before the verb."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
