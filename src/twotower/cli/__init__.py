"""The command line: one command per workflow.

Results go to standard output (with `--json` one JSON object and nothing else), progress and logs to
standard error. Exit codes: 0 success, 1 a problem with the data or the result, 2 wrong usage, 130
an interrupted comparison.

Heavy packages (torch, polars, faiss) are imported inside the commands, so that `--help` is fast.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

from rich.markup import escape

from twotower.cli import building, bundles, events, service
from twotower.cli.shared import app, err
from twotower.errors import TwoTowerError, explain

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FIX_DISK = "make room, or name a folder on another disk; what was complete before is unchanged"

__all__ = ["app", "building", "bundles", "events", "main", "service"]


def main() -> None:
    """Run the command line; input errors are printed without a traceback."""
    try:
        app()
    except TwoTowerError as error:
        fail(str(error))
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        fail(problem)


def fail(problem: str) -> NoReturn:
    """Print an error and exit with status 1."""
    # Soft wrapping keeps the message on one line in a log or a pipe, so paths can be copied.
    message = f"[bold red]error:[/bold red] {escape(problem)}"
    err.print(message, highlight=False, soft_wrap=True)
    sys.exit(1)


def disk_problem(error: BaseException | None) -> str | None:
    """What to tell of a disk that is full or cannot be written; None for other errors. Libraries
    wrap the system's error in errors of their own, of which only the text tells."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            file = error.filename2 or error.filename
            return explain(os.strerror(error.errno), file=file, fix=FIX_DISK)
        for number in DISK_ERRORS:
            if os.strerror(number) in str(error):
                return explain(os.strerror(number), fix=FIX_DISK)
        error = error.__cause__ or error.__context__
    return None
