"""`twotower notebooks` as a person uses it: a real process, real files."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from tests.processes import twotower
from twotower.course.contents import steps
from twotower.lessons.texts import lessons


def test_notebooks_are_written_and_named(tmp_path: Path) -> None:
    done = twotower("notebooks", tmp_path / "new")
    number = len(steps()) + len(lessons())
    assert done.stdout == f"Wrote {number} notebooks to {tmp_path}/new.\n"
    assert done.stderr == ""
    again = twotower("notebooks", tmp_path / "new", "--json")
    files = [Path(file) for file in json.loads(again.stdout)["files"]]
    assert [str(file.relative_to(tmp_path / "new").with_suffix("")) for file in files] == [
        *(f"course/{place}-{step.slug}" for place, step in enumerate(steps(), start=1)),
        *(f"lessons/{lesson.slug}" for lesson in lessons()),
    ]
    for file in files:
        found = nbformat.read(file, as_version=4)
        nbformat.validate(found)
        assert found.cells[0].source.startswith("# ")
