from __future__ import annotations

import json
import tomllib

import pytest

from twotower.config import Config, SpaceRange, parse_config
from twotower.errors import ConfigError

START = '[data]\ninteractions = "x.csv"\n[tune.space]\n'


def read(text: str) -> Config:
    return parse_config(tomllib.loads(START + text), file="c.toml")


def test_keys_need_no_quotes_and_may_have_them() -> None:
    config = read(
        "retriever.temperature = {low = 0.05, high = 0.1, log = true}\n"
        '"retriever.loss" = ["softmax", "bsl"]\n'
        "retriever.cold_tower = [true, false]\n"
        "training.batch_size = false\n"
    )
    assert config.tune.space == {
        "retriever.temperature": SpaceRange(low=0.05, high=0.1, log=True),
        "retriever.cold_tower": (True, False),
        "training.batch_size": False,
        "retriever.loss": ("softmax", "bsl"),
    }
    assert Config.model_validate(config.model_dump()) == config
    assert parse_config(json.loads(config.model_dump_json())) == config


A_PLACE = (
    "must be a range such as {low = 0.05, high = 0.1, log = true}, a list of numbers, texts or "
    "booleans, or false"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x.y = {low = 2, high = 1}", "x.y: low = 2 must be below high = 1"),
        ("x.y = {low = 0, high = 1, log = true}", "x.y: low = 0 must be above 0 where log = true"),
        ("x.y = {low = 1}", "x.y.high is missing"),
        ("x.y = {low = 1, high = 2, lag = true}", "unknown key 'tune.space.x.y.lag'"),
        ("x.y = []", f"x.y: {A_PLACE}"),
        ("x.y = [[1], [2]]", f"x.y: {A_PLACE}"),
        ("x.y = true", f"x.y: {A_PLACE}"),
        ("x.y = 3", f"x.y: {A_PLACE}"),
    ],
)
def test_what_is_not_a_place_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    prefix = "" if problem.startswith("unknown") else "tune.space."
    assert str(raised.value).startswith(f"c.toml: {prefix}{problem}")
    assert "\n" not in str(raised.value)
