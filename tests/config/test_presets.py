"""Presets and renamed keys: which values a config ends up with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from twotower.config import Config, RetrieverConfig, load_config, parse_config
from twotower.config.presets import DESCRIPTIONS, NEED_TIMES, PRESETS
from twotower.errors import ConfigError

DATA = {"interactions": "train.csv"}


def with_preset(name: str, **sections: dict[str, Any]) -> Config:
    retriever = {"preset": name, **sections.pop("retriever", {})}
    return parse_config({"data": DATA, "retriever": retriever, **sections})


def written_out(name: str) -> Config:
    document: dict[str, Any] = {"data": DATA}
    for key, value in PRESETS[name].items():
        *sections, last = key.split(".")
        table = document
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = value
    return parse_config(document)


def without_name(config: Config) -> Config:
    retriever = config.retriever.model_copy(update={"preset": None})
    return config.model_copy(update={"retriever": retriever})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_equals_its_keys_written_out(name: str) -> None:
    config = with_preset(name)
    assert config.retriever.preset == name
    assert without_name(config) == written_out(name)


def test_the_default_is_two_tower() -> None:
    assert without_name(with_preset("two_tower")) == parse_config({"data": DATA})


def test_every_preset_is_described() -> None:
    assert DESCRIPTIONS.keys() == PRESETS.keys()
    assert PRESETS.keys() >= NEED_TIMES


def test_keys_of_the_config_file_win() -> None:
    config = with_preset(
        "sequential",
        retriever={"num_negatives": 64},
        features={"user": {"history": {"encoder": "mean"}, "age": {"type": "number"}}},
    )
    assert config.retriever.num_negatives == 64
    assert config.retriever.loss == "sampled_softmax"
    assert config.features.history is not None
    assert config.features.history.encoder == "mean"
    assert list(config.features.enabled("user")) == ["age"]
    linear = with_preset("linear", retriever={"hidden": [8]})
    assert linear.retriever.hidden == (8,)


def test_an_override_of_the_command_line_can_name_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "twotower.toml"
    file.write_text('[data]\ninteractions = "a.csv"\n[retriever]\ndropout = 0.5\n')
    config = load_config(file, ["retriever.preset=linear"])
    assert (config.retriever.hidden, config.retriever.dropout) == ((), 0.5)


def test_a_resolved_config_is_not_filled_again() -> None:
    """Models that a comparison derives from a config drop features of its preset."""
    document = with_preset("sequential").model_dump()
    del document["features"]["user"]["history"]
    document["features"]["user"]["id"]["enabled"] = True
    assert Config.model_validate(document).features.history is None


def test_a_retriever_without_a_config_file_takes_its_own_keys() -> None:
    made = RetrieverConfig.model_validate({"preset": "sequential", "num_negatives": 8})
    assert (made.loss, made.num_negatives) == ("sampled_softmax", 8)
    assert RetrieverConfig(preset="linear").hidden == ()
    assert RetrieverConfig(preset="linear", hidden=(4,)).hidden == (4,)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": DATA, "retriever": {"preset": "sequentail"}}, file="t.toml")
    assert str(caught.value) == (
        "t.toml: retriever.preset: there is no preset 'sequentail', did you mean 'sequential'? "
        "There are: two_tower, linear, matrix_factorization, sequential (found 'sequentail')."
    )


def test_matrix_factorization_reads_ids_only() -> None:
    features = {"item": {"genres": {"type": "categories"}, "id": {"num_oov": 2}}}
    with pytest.raises(ConfigError) as caught:
        parse_config(
            {
                "data": DATA,
                "features": features,
                "retriever": {"preset": "matrix_factorization", "widht": 8},
            },
            file="t.toml",
        )
    assert str(caught.value).splitlines() == [
        "t.toml: retriever.preset: 'matrix_factorization' reads ids only, but the config declares "
        "[features.item.genres]. Fix: remove these sections, or use the preset 'linear'.",
        "t.toml: unknown key 'retriever.widht'.",
    ]


@pytest.mark.parametrize(
    ("features", "key"), [(3, "features"), ({"user": {"history": 3}}, "history")]
)
def test_a_value_in_the_place_of_a_section(features: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: Input should be a valid dictionary"):
        parse_config({"data": DATA, "features": features, "retriever": {"preset": "sequential"}})


def test_a_renamed_key_is_accepted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="twotower"):
        config = parse_config({"data": DATA, "ranker": {"taken": False}}, file="t.toml")
    assert config.ranker is not None
    assert config.ranker.user_positives is False
    assert caplog.messages == [
        "t.toml: the key ranker.taken is now called ranker.user_positives; the old name will not "
        "work in the next version. Fix: rename it to ranker.user_positives."
    ]


def test_the_config_of_an_old_bundle_is_read_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    document = parse_config({"data": DATA, "ranker": {}}).model_dump(mode="json")
    document["ranker"]["taken"] = document["ranker"].pop("user_positives")
    assert Config.model_validate(document) == parse_config({"data": DATA, "ranker": {}})
    assert not caplog.messages


def test_an_old_key_beside_its_new_name_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": DATA, "ranker": {"taken": False, "user_positives": True}})
    assert str(caught.value) == "unknown key 'ranker.taken'."
