"""The steps of the course as Jupyter notebooks, and what their cells call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from twotower.atomic import write_text
from twotower.course.contents import (
    CourseStep,
    NumberField,
    OptionField,
    Question,
    step,
    steps,
    unlinked,
)
from twotower.course.run import run_step
from twotower.lessons.notebooks import notebook


def compile_step(slug: str, **choices: object) -> None:
    """Run the experiment of a step, print what came of it, and draw its curves and figures.

    Args:
        slug: name of the step.
        choices: the learner's choices; the defaults where there are none.

    Raises:
        DataError: there is no such step, or a choice is wrong.
    """
    curve: list[dict[str, Any]] = []

    def report(progress: dict[str, Any]) -> None:
        curve.append(progress)
        told = f"{progress['stage']}: {progress['epoch']} of {progress['epochs']}"
        _say(f"\r{told:60}", end="")

    outcome = run_step(slug, choices, report)
    _say("\r" + " " * 60 + "\r", end="")
    if outcome["error"]:
        _say(outcome["error"], end="\n\n")
    goal = unlinked(step(slug).goal)
    reached = f"It works. The goal is reached: {goal}."
    _say(unlinked(outcome["text"]))
    _say(reached if outcome["works"] else f"Not yet. The goal is {goal}.")
    if outcome["node"]:
        _say("\n" + ", ".join(f"{name} {shape}" for name, shape in outcome["node"]["shapes"]))
        _say(f"{outcome['node']['params']:,} parameters ({outcome['node']['counted']})")
    _draw(curve, outcome["figures"])


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)  # noqa: T201 - what a cell of a notebook shows


def _draw(curve: list[dict[str, Any]], figures: list[dict[str, Any]]) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - slow to import

    lines = {
        name: [(at["epoch"], at[name]) for at in curve if at[name] is not None]
        for name in ("loss", "validation_loss", "ndcg")
    }
    losses = [name for name in ("loss", "validation_loss") if lines[name]]
    plots = [names for names in (losses, ["ndcg"] if lines["ndcg"] else []) if names]
    number = len(plots) + len(figures)
    if not number:
        return
    _, axes = plt.subplots(
        1, number, figsize=(4.5 * number, 3), squeeze=False, layout="constrained"
    )
    for axis, names in zip(axes[0], plots, strict=False):
        for name in names:
            axis.plot(*zip(*lines[name], strict=True), "o-", markersize=3, label=name)
        axis.set(xlabel="epoch")
        axis.legend()
    for axis, figure in zip(axes[0][len(plots) :], figures, strict=True):
        axis.barh([name for name, _ in figure["bars"]], [value for _, value in figure["bars"]])
        axis.invert_yaxis()
        axis.set(title=figure["title"])
    plt.show()


def markdown(one: CourseStep, number: int) -> str:
    """A step as a page whose program runs it."""
    given = "".join(f", {name}={json.dumps(value)}" for name, value in one.read({}).items())
    call = f'compile_step("{one.slug}"{given})'
    parts = [
        f"# Step {number}. {one.title}",
        unlinked(one.text),
        "## Your choice",
        unlinked(one.task),
        f"Goal: {unlinked(one.goal)}.",
        "\n".join(map(_choice, one.fields)),
        _code(f"from twotower.course.notebooks import compile_step\n\n{call}"),
        "Change a choice in the cell above and run it again.",
        "## Questions",
        *(_question(place, asked) for place, asked in enumerate(one.questions, start=1)),
        "## Programs",
    ]
    for snippet in one.snippets:
        parts += [f"### {snippet.title}", _code(snippet.filled({}).strip("\n"), may_fail=True)]
        parts += [f"**What you see.** {snippet.see}", f"**Change the numbers.** {snippet.change}"]
    return "\n\n".join(parts) + "\n"


def _choice(field: OptionField | NumberField) -> str:
    if isinstance(field, NumberField):
        return f"- `{field.name}`: {field.label}, from {field.minimum:g} to {field.maximum:g}"
    options = ", ".join(f'`"{option.value}"` ({option.label})' for option in field.options)
    return f"- `{field.name}`: {field.label}: {options}"


def _question(place: int, question: Question) -> str:
    answers = "\n".join(f"- {answer.text}" for answer in question.answers)
    reasons = "\n".join(
        f"- {'**' if answer.right else ''}{answer.text}{'**' if answer.right else ''} "
        f"{unlinked(answer.why)}"
        for answer in question.answers
    )
    return (
        f"### Question {place}\n\n{question.text}\n\n{answers}\n\n"
        f"<details>\n<summary>Solution</summary>\n\n{reasons}\n\n</details>"
    )


def _code(text: str, *, may_fail: bool = False) -> str:
    # An error is what some programs are about; the cells after it run nevertheless.
    tags = ' tags=["raises-exception"]' if may_fail else ""
    return f"```python{tags}\n{text}\n```"


@cache
def step_notebook(slug: str) -> str:
    """The notebook of a step.

    Raises:
        KeyError: there is no such step.
    """
    numbers: Mapping[str, int] = {one.slug: n for n, one in enumerate(steps(), start=1)}
    number = numbers[slug]
    return notebook(markdown(steps()[number - 1], number))


def write_course(folder: Path) -> list[Path]:
    """Write the notebooks of all steps to a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, one in enumerate(steps(), start=1):
        files.append(folder / f"{number}-{one.slug}.ipynb")
        write_text(files[-1], step_notebook(one.slug))
    return files
