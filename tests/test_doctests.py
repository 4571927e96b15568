"""The examples in the docstrings of the public names run.

They may use these names: `tt` (the package), `interactions`, `users`, `items` (Polars frames of a
small shop), `data` (the `Dataset` of it), `train`, `validation`, `test`, `model` (a trained
`TwoTower`) and `recommender`. Their working directory holds `twotower.toml` and the shop's files.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import twotower as tt
from twotower.data.synthetic.shop import generate, write

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SETTINGS = ("retriever.embedding_dim=8", "training.epochs=3", "training.batch_size=64")
NAMES = sorted(set(tt.__all__) - {"__version__"})


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    generated = generate(num_users=120, num_items=60, num_interactions=1500, seed=1)
    (folder / "twotower.toml").write_text(write(generated, folder), encoding="utf-8")
    return folder


@pytest.fixture(name="namespace", scope="module")
def fixture_namespace(shop: Path) -> dict[str, Any]:
    """What examples may use; trained once."""
    data = tt.Dataset.read(tt.load_config(shop / "twotower.toml", SETTINGS))
    train, validation, test = data.split()
    model = tt.fit(
        tt.TwoTower(data.config.retriever, data.schema), train, validation, config=data.config
    )
    return {
        "tt": tt,
        "interactions": data.tables.interactions,
        "users": data.tables.users,
        "items": data.tables.items,
        "data": data,
        "train": train,
        "validation": validation,
        "test": test,
        "model": model,
        "recommender": tt.Recommender.build(model, train, data.config),
    }


def examples_of(name: str) -> list[doctest.DocTest]:
    """The examples of a public name and, of a class, of its methods: its own come first."""
    part = getattr(tt, name)
    found = doctest.DocTestFinder().find(part, name, module=inspect.getmodule(part))
    return sorted((each for each in found if each.examples), key=lambda each: each.name != name)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_of_each_public_name_has_examples_that_run(
    name: str, namespace: dict[str, Any], shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    examples = examples_of(name)
    assert examples, f"{name} has no example"
    assert examples[0].name == name, f"{name} itself has no example"
    for example in examples:
        example.globs = dict(namespace)
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append).failed
        assert failed == 0, "".join(said)


FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(text: str) -> list[tuple[str, str]]:
    """Each block of Python, and what the block of text right behind it says that it prints."""
    blocks = [(match[1], match[2]) for match in FENCED.finditer(text)]
    outputs = [*blocks[1:], ("", "")]
    return [
        (code, printed if kind == "text" else "")
        for (language, code), (kind, printed) in zip(blocks, outputs, strict=True)
        if language == "python"
    ]


def run_snippets(text: str, namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    checker = doctest.OutputChecker()
    for code, expected in snippets(text):
        exec(compile(code, "<snippet>", "exec"), namespace)
        printed = capsys.readouterr().out
        assert checker.check_output(expected, printed, FLAGS), f"{code}\nprinted\n{printed}"


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_the_snippets_of_the_pages_on_python_run(
    page: str,
    namespace: dict[str, Any],
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).resolve().parents[1] / page).read_text(encoding="utf-8")
    monkeypatch.chdir(shop)
    given = {name: namespace[name] for name in ("interactions", "users", "items")}
    if page == "README.md":  # it does not show what it prints
        given["print"] = lambda *_: None
    assert snippets(text)
    run_snippets(text, given, capsys)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("```python\nprint(1)\n```\n```text\n1\n```", True),
        ("```python\nprint(1)\n```\n```text\n2\n```", False),
        ("```python\nprint(1)\n```\nunsaid", False),
    ],
)
def test_a_snippet_that_prints_something_else_fails(
    text: str, passes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with nullcontext() if passes else pytest.raises(AssertionError, match="printed"):
        run_snippets(text, {}, capsys)


def test_a_wrong_example_fails() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(wrong, out=lambda _: None).failed == 1


def test_the_public_names_are_listed_alike_in_all_three_places() -> None:
    tree = ast.parse(Path(tt.__file__).read_text(encoding="utf-8"))
    for_checkers = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert sorted(for_checkers) == NAMES
    assert sorted(tt._HOMES) == NAMES
    assert dir(tt) == sorted(tt.__all__)
    assert len(tt.__all__) == len(set(tt.__all__))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'twotower' has no attribute 'Dataframe'$"):
        _ = tt.Dataframe
