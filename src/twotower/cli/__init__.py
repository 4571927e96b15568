"""The command line: one verb a workflow.

Results go to standard output (with `--json` one JSON object and nothing else), progress and logs to
standard error. Exit codes: 0 done, 1 the data or the result is not right, 2 wrong usage, 130 a
comparison was interrupted.

The heavy rooms (torch, polars, faiss) are imported inside the verbs, so that `--help` is quick.
"""

from __future__ import annotations

import sys

from rich.markup import escape

from twotower.cli import building, bundles, service
from twotower.cli.shared import app, err
from twotower.errors import TwoTowerError

__all__ = ["app", "building", "bundles", "main", "service"]


def main() -> None:
    """Run the command line; errors of input are printed without a traceback."""
    try:
        app()
    except TwoTowerError as error:
        # Soft: a log or a pipe gets a whole line, and a path can be copied.
        told = f"[bold red]error:[/bold red] {escape(str(error))}"
        err.print(told, highlight=False, soft_wrap=True)
        sys.exit(1)
