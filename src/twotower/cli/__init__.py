"""The command line: one command per workflow.

Results go to standard output (with `--json` one JSON object and nothing else), progress and logs to
standard error. Exit codes: 0 success, 1 a problem with the data or the result, 2 wrong usage, 130
an interrupted comparison.

Heavy packages (torch, polars, faiss) are imported inside the commands, so that `--help` is fast.
"""

from __future__ import annotations

import sys

from rich.markup import escape

from twotower.cli import building, bundles, events, service
from twotower.cli.shared import app, err
from twotower.errors import TwoTowerError

__all__ = ["app", "building", "bundles", "events", "main", "service"]


def main() -> None:
    """Run the command line; input errors are printed without a traceback."""
    try:
        app()
    except TwoTowerError as error:
        # Soft wrapping keeps the message on one line in a log or a pipe, so paths can be copied.
        message = f"[bold red]error:[/bold red] {escape(str(error))}"
        err.print(message, highlight=False, soft_wrap=True)
        sys.exit(1)
