"""Imports go one way: a file imports from floors below it, or from its own folder; inside a folder,
too, neither files nor folders import each other in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "twotower"

FLOORS = {
    "_version": 0,
    "errors": 0,
    "html": 0,
    "atomic": 1,
    "registry": 1,
    "config": 2,
    "lessons": 2,
    "parallel": 2,
    "data": 3,
    "models": 4,
    "evaluation": 4,
    "index": 4,
    "features": 5,
    "training": 6,
    "serving": 7,
    "workflow": 8,
    "course": 9,
    "web": 10,
    "cli": 11,
    "__main__": 12,
}
FORBIDDEN = {
    ("training", "evaluation"): "the caller passes a validation callback",
    ("serving", "training"): "a server needs no trainer",
}
MOST_FILES = 16
"""In one folder, `__init__.py` among them."""
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
            if module != "twotower":
                yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for line, module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "twotower" and len(parts) > 1:
            yield line, parts[1]
        elif parts == ["twotower"]:
            yield line, "the package itself"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    own = room(path.relative_to(SOURCE).parts)
    assert own in FLOORS, f"{path} stands on no floor: put it into a folder of the design"
    for line, other in imported_rooms(path):
        where = f"{path.relative_to(SOURCE)}:{line} imports twotower.{other}"
        assert other in FLOORS, f"{where}, which is on no floor"
        reason = FORBIDDEN.get((own, other))
        assert reason is None, f"{where}: {reason}"
        assert other == own or FLOORS[other] < FLOORS[own], f"{where}, which is not below it"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("twotower", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, wherever in the file."""
    modules = {module_name(path): path for path in files()}
    graph = {}
    for name, path in modules.items():
        imported = {module for _, module in imported_modules(path)}
        graph[name] = {module for module in imported if module in modules} - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """One circle of the graph in words, if there is any."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def folder_graph(package: str, graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """What the files and folders that lie directly in a package import of each other."""

    def child(module: str) -> str | None:
        rest = module.removeprefix(f"{package}.")
        return None if rest == module else rest.split(".")[0]

    found: dict[str, set[str]] = {}
    for module, imported in graph.items():
        if (own := child(module)) is not None:
            others = {other for name in imported if (other := child(name)) is not None}
            found.setdefault(own, set()).update(others - {own})
    return found


@pytest.fixture(name="graph", scope="module")
def fixture_graph() -> dict[str, set[str]]:
    return import_graph()


def test_no_module_imports_itself_in_a_circle(graph: dict[str, set[str]]) -> None:
    assert len(graph) > 200
    assert circles(graph) == []


def packages() -> list[str]:
    return sorted(module_name(path) for path in files() if path.name == "__init__.py")


@pytest.mark.parametrize("package", packages())
def test_imports_go_one_way_inside_a_folder(package: str, graph: dict[str, set[str]]) -> None:
    assert circles(folder_graph(package, graph)) == []


def test_the_walk_sees_a_circle_of_folders_that_no_file_closes() -> None:
    graph = {"twotower.x.a.one": {"twotower.x.b.one"}, "twotower.x.b.two": {"twotower.x.a.two"}}
    assert circles(graph) == []
    assert set(circles(folder_graph("twotower.x", graph))) == {"a", "b"}


def test_a_folder_can_be_surveyed() -> None:
    folders = {path.parent for path in files()}
    crowded = {
        str(folder.relative_to(SOURCE)): count
        for folder in folders
        if (count := len(list(folder.glob("*.py")))) > MOST_FILES
    }
    assert crowded == {}, "group the files of one subject in a folder of their own"


def test_every_folder_of_source_is_a_package() -> None:
    assert [
        folder
        for folder in {path.parent for path in files()}
        if folder != SOURCE and not (folder / "__init__.py").exists()
    ] == []


def test_errors_imports_nothing_of_ours() -> None:
    assert list(imported_rooms(SOURCE / "errors.py")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import twotower.evaluation.metrics", "evaluation"),
        ("from twotower.web import app", "web"),
        ("from twotower import index", "index"),
        ("import twotower", "the package itself"),
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
