"""Registries: ours are loaded when first asked for, those of others by import."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.registry import Registry, load_plugins, registering

Part = Callable[[], str]


def registry() -> Registry[Part]:
    return Registry("greeting", {"json": "json"})


def hello() -> str:
    return "hello"


def test_a_part_is_found_by_its_name_and_says_which_module_brought_it() -> None:
    greetings = registry()
    registering(greetings, "hello")(hello)
    assert greetings["hello"]() == "hello"
    assert "hello" in greetings
    assert greetings.names() == ["json", "hello"]
    assert greetings.plugin_of("hello") == __name__
    assert greetings.plugin_of("json") is None


def test_a_name_of_another_module_is_refused() -> None:
    greetings = registry()
    greetings.register("hello", hello, "first")
    greetings.register("hello", hello, "first")  # a module that is imported again
    with pytest.raises(ConfigError) as error:
        greetings.register("hello", hello, "second")
    assert str(error.value) == (
        "the greeting 'hello' of second is already registered by first. Fix: give it another name."
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        registry()["jsno"]
    assert str(error.value) == ("there is no greeting 'jsno', did you mean 'json'? There are: json")


def test_a_plug_in_of_the_environment_is_loaded_when_a_name_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_greetings.py").write_text(
        "from tests.test_registry import OURS, hello\nOURS.register('shop', hello, __name__)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TWOTOWER_PLUGINS", "shop_greetings, ")
    assert OURS["shop"]() == "hello"
    assert OURS.plugin_of("shop") == "shop_greetings"
    del sys.modules["shop_greetings"]


def test_a_plug_in_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        load_plugins(["nowhere_at_all"])
    assert str(error.value) == (
        "the plug-in 'nowhere_at_all' cannot be imported: No module named 'nowhere_at_all'. "
        "Fix: install its package, or put its folder on PYTHONPATH."
    )


OURS = registry()
