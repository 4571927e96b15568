"""What the documents say is what the code says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.readme import BLOCK, table

ROOT = Path(__file__).resolve().parents[1]


def test_figures_in_the_readme_are_those_of_the_committed_results() -> None:
    found = BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == f"<!-- figures -->\n{table()}<!-- /figures -->"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_config_key_is_documented(build: ModuleType) -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == build.page()
    for _, model in build.SECTIONS:
        for name, field in model.model_fields.items():
            assert field.description or name == "type", f"{model.__name__}.{name} has no docstring"


def test_the_table_of_what_tune_searches_is_that_of_its_rules(build: ModuleType) -> None:
    found = build.SPACE.search((ROOT / "docs" / "tuning.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == build.space()


def test_the_page_of_keys_begins_with_about_thirty_that_exist(build: ModuleType) -> None:
    keys = [key for group in build.COMMON.values() for key in group]
    assert len(keys) == len(set(keys))
    assert 25 <= len(keys) <= 35
    page = build.page()
    common = page[: page.index("\n## Presets\n")]
    for key in keys:
        # `common_row` looks the key up in the config's models.
        assert common.count(f"\n{build.common_row(key)}\n") == 1
    assert "\n## All keys\n" not in common
    assert common.count("\n| `") == len(keys)


VERBS = ["demo", "init", "check", "train", "evaluate", "compare", "tune", "recommend", "similar"]
VERBS += ["add-items", "serve", "export-events", "ab-report", "doctor", "notebooks"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_is_in_the_readme(verb: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "twotower", verb, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1"},
    ).stdout
    assert re.search(rf"Example: twotower {verb}", shown)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"twotower {verb}" in readme or f"make {verb}" in readme


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Your own data\n\n## Recall@k, and more\n", encoding="utf-8")
    assert anchors(page) == {"your-own-data", "recallk-and-more"}


def test_the_tree_in_the_readme_is_the_tree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^  (\w+)/ ", readme, re.MULTILINE)
    actual = [
        p.name
        for p in (ROOT / "src" / "twotower").iterdir()
        if p.is_dir() and p.name != "__pycache__"
    ]
    assert sorted(rooms) == sorted(actual)


def tree_of_readme() -> set[str]:
    """The paths in README's tree, relative to the package, folders with a slash at the end."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text[text.index("src/twotower/\n") :].split("```")[0].splitlines()[1:]
    found, parents = set(), [""]
    for line in block:
        if not line.startswith("  "):
            break
        entry = re.fullmatch(r"( +)(\S+) +(\S.*)", line)
        assert entry is not None, f"{line!r}: each file and folder has a comment"
        depth = len(entry[1]) // 2
        path = parents[depth - 1] + entry[2]
        parents[depth:] = [path]
        found.add(path)
    return found


def test_readme_shows_each_folder_and_the_files_of_the_inner_rooms() -> None:
    source = ROOT / "src" / "twotower"
    in_full = ("data/", "features/", "models/", "serving/answer/")
    expected = set()
    for path in source.rglob("*.py"):
        name = path.relative_to(source).as_posix()
        if path.name == "__init__.py":
            expected.add(f"{Path(name).parent.as_posix()}/")
        elif "/" not in name or name.startswith(in_full):
            expected.add(name)
    assert tree_of_readme() == expected - {"./"}
