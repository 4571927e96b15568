"""Feature types from outside the package: registered, found by name, asked by `init`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from twotower.config.feature_type import (
    FEATURE_TYPES,
    Feature,
    FeatureConfig,
    SavedFeature,
    register_feature,
)
from twotower.models.layers.encoders import make_encoder
from twotower.registry import load_plugins
from twotower.workflow.setup.init.features import guess_feature
from twotower.workflow.setup.init.guess import Guess

ROOT = Path(__file__).resolve().parents[2]


def test_the_module_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "documented_parts.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins(["documented_parts"])
    geo = FEATURE_TYPES["geo"].model_validate({"type": "geo", "width": 8})
    feature = geo.fit("home", pl.Series(["0;0", "0;90", None]))
    again = geo.load("home", feature.save())
    encoded = np.asarray(again.encode(pl.Series(["0;0", "90;0", None])))
    assert encoded.round(6).tolist() == [[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]]
    assert make_encoder(again, 16)(torch.from_numpy(encoded)).shape == (3, 8)
    del sys.modules["documented_parts"]


class CodeConfig(FeatureConfig):
    """Codes of a shop, such as X-17."""

    type: Literal["shop_code"]

    def fit(self, name: str, column: pl.Series) -> Feature:
        raise NotImplementedError

    def load(self, name: str, saved: SavedFeature) -> Feature:
        raise NotImplementedError

    @classmethod
    def guess(cls, column: pl.Series) -> tuple[FeatureConfig, str] | None:
        if column.dtype == pl.String and column.str.contains(r"^X-\d+$").all():
            return cls(type="shop_code"), "codes of the shop"
        return None


def test_init_asks_the_types_of_plug_ins_first() -> None:
    register_feature(CodeConfig)
    codes, words = pl.Series("code", ["X-1", "X-2", "X-1"]), pl.Series("word", ["a", "b", "a"])
    assert guess_feature(codes) == Guess(CodeConfig(type="shop_code"), "codes of the shop")
    assert guess_feature(words).feature.type == "category"


def test_an_encoder_of_another_class_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd(Feature):
        def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[Any]:
            return np.zeros((len(column), 1), dtype=np.float32)

        def make_encoder(
            self, embedding_dim: int, generator: torch.Generator | None
        ) -> torch.nn.Module:
            return torch.nn.Linear(1, 2)

    with pytest.raises(TypeError) as error:
        make_encoder(Odd("odd", CodeConfig(type="shop_code")), 4)
    assert str(error.value) == (
        "make_encoder of feature type 'shop_code' must return a FeatureEncoder, not Linear"
    )


def test_a_type_must_be_narrowed_to_one_name() -> None:
    class Nameless(CodeConfig):
        type: str  # type: ignore[assignment]

    with pytest.raises(TypeError) as error:
        register_feature(Nameless)
    assert str(error.value) == 'Nameless needs a line such as: type: Literal["geo"]'
