"""What holds for every file of the tree: no pickle, no global seeds, files that can be read."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 500
LONGEST_FUNCTION = 60

UNSAFE = re.compile(
    r"\b(c?[Pp]ickle[sd]?|pickling|joblib|dill|marshal|torch\.load|torch\.save|np\.load|allow_pickle)\b"
)
GLOBAL_SEED = re.compile(r"\b(torch\.manual_seed|torch\.cuda\.manual_seed\w*|np\.random\.seed)\b")
ALLOWED = re.compile(
    r"\b(no|never|without|not) (a )?pickles?\b"
    r"|np\.load(?=\(.*allow_pickle=False)|allow_pickle=False"
    r"|^(joblib|dill)==[\d.]+$",
    re.IGNORECASE,
)
"""Saying that there is none, reading arrays that can hold none, and the pin of what another
package needs."""


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    """The files under version control, or all of them where there is none."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*")]


def lines_with(pattern: re.Pattern[str], path: Path) -> list[str]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if pattern.search(ALLOWED.sub("", line)):
            found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return found


def test_no_pickle_anywhere() -> None:
    code = [
        path
        for path in tracked_files()
        if path.suffix in {".py", ".toml", ".txt", ".cfg"}
        and path.is_file()
        and path != Path(__file__).resolve()
    ]
    assert code
    assert [line for path in code for line in lines_with(UNSAFE, path)] == []


def test_no_pickled_file_is_tracked() -> None:
    suffixes = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz"}
    assert [path for path in tracked_files() if path.suffix in suffixes] == []


def test_no_global_generator_is_seeded_but_inside_the_trainers_fork() -> None:
    # docs/decisions/0002: dropout draws from the global generator, in a step of several processes
    # from one of each.
    found = [line for path in python_files("src") for line in lines_with(GLOBAL_SEED, path)]
    files = [line.split(":")[0] for line in found]
    assert files == ["src/twotower/parallel/processes.py", "src/twotower/training/trainer.py"]


@pytest.mark.parametrize(
    "line", ["import pickle", "torch.load(path)", "np.load(p, allow_pickle=True)", "cPickle.loads"]
)
def test_the_pattern_finds_what_it_looks_for(line: str) -> None:
    assert UNSAFE.search(ALLOWED.sub("", line))


OF_THE_REPOSITORY = {
    "test_commands",
    "test_deploy",
    "test_docs",
    "test_doctests",
    "test_imports",
    "test_plugins",
    "test_tree",
}
"""Test files in `tests/` itself that read docs or all files, or run all layers with parts of a
plug-in, instead of testing one module."""
BY_WHAT_A_CLIENT_DOES = {
    "web": "requests to a running server, by the subject of the routes",
    "web/studio": "a browser on a page of a running server",
}
"""Folders whose test files are not named after a module -> what they test instead."""


def modules_and_folders(folder: Path) -> set[str]:
    """Names in a folder that a test file may be about: modules, folders, and the folder itself."""
    return {folder.name} | {
        path.stem
        for path in folder.glob("*")
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }


def is_about(test: str, names: set[str]) -> bool:
    """Whether a test file is named `test_X` or `test_X_ASPECT` for one of the names X."""
    subject = test.removeprefix("test_")
    return any(subject == name or subject.startswith(f"{name}_") for name in names)


def test_tests_mirror_the_source() -> None:
    lost = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        room = path.parent.relative_to(ROOT / "tests")
        source = ROOT / room if room.parts[:1] == ("benchmarks",) else ROOT / "src/twotower" / room
        is_exception = str(room) in BY_WHAT_A_CLIENT_DOES or (
            room == Path() and path.stem in OF_THE_REPOSITORY
        )
        if not is_exception and not is_about(path.stem, modules_and_folders(source)):
            lost.append(str(path.relative_to(ROOT)))
    assert lost == [], "name it test_MODULE or test_MODULE_ASPECT, in the folder of the module"


def test_the_exceptions_of_the_mirror_exist() -> None:
    assert all((ROOT / "tests" / f"{name}.py").is_file() for name in OF_THE_REPOSITORY)
    assert all(any((ROOT / "tests" / room).glob("test_*.py")) for room in BY_WHAT_A_CLIENT_DOES)


@pytest.mark.parametrize(
    ("test", "expected"),
    [("test_a", True), ("test_a_b", True), ("test_ab", False), ("test_b", False)],
)
def test_what_a_test_file_is_about(test: str, expected: bool) -> None:
    assert is_about(test, {"a"}) is expected


def test_a_class_name_means_one_thing() -> None:
    found: dict[str, list[str]] = {}
    for path in python_files("src"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_files_can_be_read_at_a_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): length
        for path in python_files("src")
        if (length := len(path.read_text(encoding="utf-8").splitlines())) >= LONGEST_FILE
    }
    assert long == {}, "a file of 400 lines usually holds two ideas; 500 are too many"


def test_functions_fit_on_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": length
        for path in python_files("src")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := _length(node)) > LONGEST_FUNCTION
    }
    assert long == {}


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring."""
    first = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - first[0].lineno + 1 if first else 0
