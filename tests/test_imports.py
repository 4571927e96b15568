"""Imports go one way: a file imports from floors below it, or from its own folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "twotower"

FLOORS = {
    "errors": 0,
    "atomic": 0,
    "config": 0,
    "data": 1,
    "models": 2,
    "evaluation": 2,
    "index": 2,
    "training": 3,
    "serving": 4,
    "workflow": 5,
    "web": 6,
    "cli": 7,
    "__main__": 8,
}
FORBIDDEN = {
    ("training", "evaluation"): "the caller passes a validation callback",
    ("serving", "training"): "a server needs no trainer",
}
NOT_BY_IMPORTING_THE_PACKAGE = ("twotower.web", "twotower.cli", "fastapi", "uvicorn", "ray")


def files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each module of ours that a file imports, wherever in the file."""
    package = ("twotower", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            if module == "twotower":
                yield from ((node.lineno, f"twotower.{alias.name}") for alias in node.names)


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for line, module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "twotower" and len(parts) > 1 and not parts[1].startswith("__version"):
            yield line, parts[1]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    own = room(path.relative_to(SOURCE).parts)
    assert own in FLOORS, f"{path} stands on no floor: put it into a folder of the design"
    for line, other in imported_rooms(path):
        where = f"{path.relative_to(SOURCE)}:{line} imports twotower.{other}"
        assert other in FLOORS, f"{where}, which stands on no floor"
        reason = FORBIDDEN.get((own, other))
        assert reason is None, f"{where}: {reason}"
        assert (
            other == own or FLOORS[other] < FLOORS[own] or {own, other} == {"errors", "config"}
        ), f"{where}, which is not below it"


def test_errors_imports_nothing_of_ours() -> None:
    assert list(imported_rooms(SOURCE / "errors.py")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import twotower.evaluation.metrics", "evaluation"),
        ("from twotower.web import app", "web"),
        ("from twotower import index", "index"),
        ("from ..serving import bundle", "serving"),
        ("from .. import models", "models"),
        ("from . import engine", "training"),
        ("def late() -> None:\n    from twotower.cli import main", "cli"),
    ],
)
def test_the_walk_sees_every_form_of_import(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training" / "imaginary.py"
    path.parent.mkdir()
    path.write_text(text)
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    assert expected in [name for _, name in imported_rooms(path)]


def test_importing_the_package_has_no_side_effect() -> None:
    program = f"""
import sys, random, os, logging, warnings
import faiss, numpy, polars, psutil, pyarrow.parquet, rich.console, scipy.stats, sqlalchemy, torch
before = (
    numpy.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist(),
    random.getstate(), dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(),
    list(logging.root.handlers), list(warnings.filters), sorted(os.listdir()),
)
import twotower
for name in getattr(twotower, "__all__", ()):
    getattr(twotower, name)
after = (
    numpy.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist(),
    random.getstate(), dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(),
    list(logging.root.handlers), list(warnings.filters), sorted(os.listdir()),
)
changed = [place for place, pair in enumerate(zip(before, after)) if pair[0] != pair[1]]
loaded = [name for name in {NOT_BY_IMPORTING_THE_PACKAGE!r} if name in sys.modules]
print(changed, loaded)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(SOURCE.parent), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stderr == ""
    assert done.stdout == "[] []\n"
