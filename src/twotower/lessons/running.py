"""Runs the snippets of a lesson, and stores what they print and draw in its file."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.atomic import write_text
from twotower.lessons.texts import SNIPPET, Lesson


@dataclass(frozen=True)
class Output:
    """What a snippet made.

    Attributes:
        printed: to standard output.
        plots: figures that it drew, as SVG.
    """

    printed: str
    plots: tuple[str, ...] = ()


def run(lesson: Lesson) -> list[Output]:
    """The output of each snippet. Snippets share their names, as in a notebook."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only lessons draw
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for place, found in enumerate(SNIPPET.finditer(lesson.text), start=1):
        # So that a traceback shows the line of the lesson.
        code = "\n" * lesson.text.count("\n", 0, found.start("code")) + found["code"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
            exec(compile(code, f"{lesson.slug}.md, snippet {place}", "exec"), names)
        outputs.append(Output(printed.getvalue(), tuple(map(as_svg, plt.get_fignums()))))
        plt.close("all")
    return outputs


def as_svg(number: int) -> str:
    """An open figure as SVG that depends only on what it shows."""
    from matplotlib import pyplot as plt  # noqa: PLC0415

    written = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "twotower"}):
        plt.figure(number).savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def written(text: str, outputs: list[Output]) -> str:
    """The text of a lesson with the printed output below each snippet."""
    left = iter(outputs)

    def block(found: re.Match[str]) -> str:
        printed = next(left).printed
        parts = [f"```python\n{found['code']}```\n"]
        if printed:
            parts.append(f"```text\n{printed}```\n")
        if found["image"]:
            parts.append(f"{found['image']}\n")
        return "\n".join(parts)

    return SNIPPET.sub(block, text)


def store(lesson: Lesson, outputs: list[Output], folder: Path) -> None:
    """Write a lesson with its output to a folder, and its plots to `plots/` in there.

    Raises:
        ValueError: a snippet draws other than the one plot that is shown below it.
    """
    for found, output in zip(SNIPPET.finditer(lesson.text), outputs, strict=True):
        if len(output.plots) != bool(found["plot"]):
            shown = found["plot"] or "no plot"
            raise ValueError(f"{lesson.slug}: {len(output.plots)} plots drawn, {shown} shown")
        for plot in output.plots:
            (folder / "plots").mkdir(exist_ok=True)
            write_text(folder / "plots" / found["plot"], plot)
    write_text(folder / f"{lesson.slug}.md", written(lesson.text, outputs))
