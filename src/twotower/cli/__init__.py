"""The command line: one command per workflow.

Results go to standard output (with `--json` one JSON object and nothing else), progress and logs to
standard error. Exit codes: 0 success, 1 a problem with the data or the result, 2 wrong usage, 130
an interrupted comparison.

Heavy packages (torch, polars, faiss) are imported inside the commands, so that `--help` is fast.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.markup import escape

from twotower.atomic import disk_error
from twotower.cli import building, bundles, events, lessons, service
from twotower.cli.shared import app, err
from twotower.errors import TwoTowerError, explain
from twotower.parallel.started import are_started, is_lost_connection, note_end

FIX_DISK = "make room, or name a folder on another disk; what was complete before is unchanged"

__all__ = ["app", "building", "bundles", "events", "lessons", "main", "service"]


def main() -> None:
    """Run the command line; input errors are printed without a traceback."""
    try:
        app()
    except TwoTowerError as error:
        fail(str(error))
    except RuntimeError as error:
        if not are_started() or not is_lost_connection(error):
            raise
        # The process that has ended prints why, or who started it says that it has died.
        from twotower.parallel.speaking import listen

        listen()
        sys.exit(1)
    except Exception as error:
        problem = disk_error(error)
        if problem is None or problem.errno is None:
            raise
        file = problem.filename2 or problem.filename
        fail(explain(os.strerror(problem.errno), file=file, fix=FIX_DISK))


def fail(problem: str) -> NoReturn:
    """Print an error and exit with status 1. Of several processes that train together, one speaks
    for all."""
    if are_started():
        from twotower.parallel.speaking import say_once

        note_end(1)
        say_once(problem, say)
    else:
        say(problem)
    sys.exit(1)


def say(problem: str) -> None:
    """Print an error."""
    # Soft wrapping keeps the message on one line in a log or a pipe, so paths can be copied.
    message = f"[bold red]error:[/bold red] {escape(problem)}"
    err.print(message, highlight=False, soft_wrap=True)
