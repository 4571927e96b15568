"""The config file: defaults, unknown keys, overrides, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twotower.config import Config, FormatConfig, load_config, parse_config
from twotower.errors import ConfigError

DATA = {"interactions": "train.csv"}


def write(folder: Path, text: str) -> Path:
    path = folder / "twotower.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(document, file="t.toml")
    return str(caught.value).splitlines()


def test_a_config_that_only_names_a_file_has_ids_on_both_sides() -> None:
    config = parse_config({"data": DATA})
    assert list(config.features.enabled("user")) == ["id"]
    assert list(config.features.enabled("item")) == ["id"]
    assert config.features.enabled("context") == {}


def test_round_trip() -> None:
    config = parse_config(
        {"data": DATA, "features": {"item": {"genres": {"type": "categories", "separator": "|"}}}}
    )
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_unknown_keys_name_the_nearest_known_one() -> None:
    assert problems(
        {
            "data": {"interactions": "x", "itms": "y"},
            "features": {"item": {"genres": {"type": "categories", "sep": "|"}}},
            "traning": {},
        }
    ) == [
        "t.toml: unknown key 'data.itms', did you mean 'items'?",
        "t.toml: unknown key 'features.item.genres.sep', did you mean 'separator'?",
        "t.toml: unknown key 'traning', did you mean 'training'?",
    ]


def test_a_feature_of_a_type_that_there_is_not() -> None:
    assert problems({"data": DATA, "features": {"item": {"year": {"type": "numeric"}}}}) == [
        "t.toml: features.item.year.type: there is no feature type 'numeric', did you mean "
        "'number'? There are: categories, category, image, number, text, timestamp, vector."
    ]


def test_a_feature_without_a_type() -> None:
    assert problems({"data": DATA, "features": {"item": {"year": {}}}}) == [
        "t.toml: features.item.year needs a 'type': categories, category, image, number, text, "
        "timestamp, vector."
    ]


def test_a_value_out_of_range_is_shown() -> None:
    assert problems({"data": DATA, "training": {"epochs": 0}}) == [
        "t.toml: training.epochs: Input should be greater than or equal to 1 (found 0)."
    ]


def test_a_tower_needs_a_feature() -> None:
    off = {"id": {"enabled": False}}
    assert "the item tower has no feature" in problems({"data": DATA, "features": {"item": off}})[0]
    assert (
        "the query tower has no feature" in problems({"data": DATA, "features": {"user": off}})[0]
    )
    with_context = {"user": off, "context": {"device": {"type": "category"}}}
    parse_config({"data": DATA, "features": with_context})


def test_given_needs_its_file() -> None:
    text = problems({"data": {**DATA, "split": {"method": "given"}}})[0]
    assert text.startswith(
        "t.toml: data.split: method = 'given' needs 'test', the file of the test part"
    )


def test_relative_paths_are_relative_to_the_config_file(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, '[data]\ninteractions = "a.csv"\nusers = "sqlite:///x.db#users"\n')
    )
    assert config.data.interactions == str(tmp_path / "a.csv")
    assert config.data.users == f"sqlite:///{tmp_path / 'x.db'}#users"


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, '[data]\ninteractions = "a.csv"\n')
    config = load_config(
        path, ["training.epochs=3", "retriever.hidden=[32, 16]", "training.device=cpu"]
    )
    assert config.training.epochs == 3
    assert config.retriever.hidden == (32, 16)
    assert config.training.device == "cpu"


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "epochs",
            "--set takes section.key=value (found 'epochs'). Fix: for example --set "
            "training.epochs=20.",
        ),
        (
            "data.interactions.x=1",
            "--set data.interactions.x: 'interactions' is a value, not a section.",
        ),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, '[data]\ninteractions = "a.csv"\n'), [override])
    assert str(caught.value) == text


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no.toml"
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == (f"{path}: no such config file. Fix: `twotower init` writes one.")


def test_not_toml(tmp_path: Path) -> None:
    path = write(tmp_path, "[data\n")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config(path)


def test_an_encoding_that_is_not_known() -> None:
    data = DATA | {"format": {"items": {"encoding": "latin-99"}}}
    assert problems({"data": data}) == [
        "t.toml: data.format.items.encoding: must be an encoding that Python knows, such as "
        "'utf-8', 'latin-1' or 'shift_jis' (found 'latin-99')."
    ]


def test_the_format_of_each_table() -> None:
    config = parse_config(
        {
            "data": DATA
            | {
                "separator": ";",
                "format": {"interactions": {"header": False}, "items": {"separator": "::"}},
            }
        }
    ).data
    assert config.format_of("interactions") == FormatConfig(header=False, separator=";")
    assert config.format_of("test") == config.format_of("interactions")
    assert config.format_of("users") == FormatConfig(separator=";")
    assert config.format_of("items") == FormatConfig(separator="::")


@pytest.mark.parametrize(
    ("key", "wrong", "part", "right", "known"),
    [
        (
            "retriever.loss",
            "softmx",
            "loss",
            "softmax",
            "softmax, in_batch_softmax, sampled_softmax, bsl, bpr, bce",
        ),
        ("retriever.query_tower", "mpl", "tower", "mlp", "mlp"),
        ("retriever.item_tower", "mpl", "tower", "mlp", "mlp"),
        (
            "features.user.history.encoder",
            "meen",
            "history encoder",
            "mean",
            "mean, attention, transformer",
        ),
    ],
)
def test_an_unknown_part_lists_the_known_ones(
    tmp_path: Path, key: str, wrong: str, part: str, right: str, known: str
) -> None:
    path = write(tmp_path, '[data]\ninteractions = "log.csv"\n')
    overrides = ['features.user.history.type="history"', f'{key}="{wrong}"']
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    text = str(error.value)
    start = (
        f"{path}: {key}: there is no {part} {wrong!r}, did you mean {right!r}? There are: {known}"
    )
    assert text.startswith(start)
    more, end = text.removeprefix(start), f" (found {wrong!r})."
    # Other tests of this process may have registered parts of their own.
    assert more == end or (more.startswith(", ") and more.endswith(end))
