"""The command that writes the course and the lessons as notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from twotower.cli.shared import JsonOption, app, out, print_json


@app.command()
def notebooks(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write the notebooks to.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write the course and the lessons as Jupyter notebooks, which need only this package.

    Example: twotower notebooks learning
    """
    from twotower.course.notebooks import write_course
    from twotower.lessons.notebooks import write_notebooks

    files = [*write_course(folder / "course"), *write_notebooks(folder / "lessons")]
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    out.print(f"Wrote {len(files)} notebooks to {escape(str(folder))}.", highlight=False)
