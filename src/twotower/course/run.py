"""Run a step's experiment, or a snippet, and say what came of it as JSON objects."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from typing import Any, Final

from twotower.course.contents import step
from twotower.course.experiments import EXPERIMENTS
from twotower.course.results import ProgressEvent, Watch

MAX_OUTPUT: Final = 20_000
"""Characters of a snippet's output that are kept."""
Json = dict[str, Any]


def run_step(
    slug: str,
    values: Mapping[str, object],
    report: Callable[[Json], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Json:
    """Run the experiment of a step.

    Args:
        slug: name of the step.
        values: the learner's choices; the defaults where there are none.
        report: called with each progress as a JSON object.
        check: called between the steps of training; may raise `CancelledError`.

    Returns:
        `works`, `text`, `node`, `ndcg`, `also`, `figures`, `error`, `choices`, `seconds`.

    Raises:
        DataError: there is no such step, or a choice is wrong.
    """
    one = step(slug)
    choices = one.read(values)

    def passed_on(progress: ProgressEvent) -> None:
        check()
        report({"event": "progress", **asdict(progress)})

    start = time.perf_counter()
    outcome = EXPERIMENTS[slug](choices, Watch(passed_on, check))
    return {
        "verdict": outcome.verdict,
        "works": one.verdicts[outcome.verdict].works,
        "text": one.told(outcome.verdict, outcome.values),
        "node": None if outcome.node is None else asdict(outcome.node),
        "ndcg": outcome.ndcg,
        "also": outcome.also,
        "figures": [asdict(figure) for figure in outcome.figures],
        "error": outcome.error,
        "choices": dict(choices),
        "seconds": round(time.perf_counter() - start, 2),
    }


def run_snippet(slug: str, number: int, values: Mapping[str, object]) -> str:
    """The output of a step's program with the learner's numbers; of an error, its last lines.

    The code is ours, and only checked numbers enter it.

    Args:
        slug: name of the step.
        number: of the snippet, from 0.
        values: the learner's numbers; the defaults where there are none.

    Raises:
        DataError: there is no such program, or a number is wrong.
    """
    code = step(slug).snippet(number).filled(values)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})
        except Exception as error:
            printed.write("".join(traceback.format_exception_only(error)))
    return printed.getvalue()[:MAX_OUTPUT]
